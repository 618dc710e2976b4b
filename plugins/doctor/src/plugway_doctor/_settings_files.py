"""Read Claude Code's settings files, and find which one takes precedence. Does not check them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from plugway import as_list, as_object
from plugway_claude_client import claude_folder, managed_folder

_TRUE = frozenset(("1", "true", "yes", "on"))


@dataclass(frozen=True, slots=True)
class Setting:
    """A value, and where it is set."""

    name: str
    value: str = field(repr=False)
    file: Path | None
    """The settings file; None if the shell sets it."""
    managed: bool = False
    """Whether an administrator set it; the user's settings cannot override it."""

    @property
    def place(self) -> str:
        """The setting and where it is set, for a message."""
        return f"{self.name} in {self.file}" if self.file else f"the variable {self.name}"

    @property
    def is_on(self) -> bool:
        """Whether it is a switch that is on."""
        return self.value.strip().lower() in _TRUE

    def fix(self, otherwise: str) -> str:
        """`otherwise` if the user can change the setting, else advice to ask an administrator."""
        if not self.managed:
            return otherwise
        return f"ask this machine's administrator; your settings cannot override {self.file}"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """The settings of a session started in a folder, highest precedence first.

    Managed settings override the command line, then `.claude/settings.local.json`,
    `.claude/settings.json` and the user's settings (code.claude.com/docs/en/settings, "Settings
    precedence"); `env` in any of them overrides the shell's variable, even if it is empty (seen
    with 2.1.332).
    """

    documents: Mapping[Path, dict[str, Any]] = field(repr=False)
    """The files that can be read."""
    broken: Mapping[Path, str]
    """The files that cannot be read, and why; Claude Code ignores them (seen with 2.1.332)."""

    @classmethod
    def read(cls, folder: Path) -> ClientSettings:
        """Read the settings of a session started in `folder`."""
        managed = managed_folder()
        files = [
            *sorted((managed / "managed-settings.d").glob("*.json"), reverse=True),
            managed / "managed-settings.json",
            folder / ".claude/settings.local.json",
            folder / ".claude/settings.json",
            claude_folder() / "settings.json",
        ]
        documents: dict[Path, dict[str, Any]] = {}
        broken: dict[Path, str] = {}
        for file in dict.fromkeys(files):
            try:
                documents[file] = as_object(orjson.loads(_without_mark(file.read_bytes())))
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                broken[file] = f"cannot be read: {error.strerror}"
            except orjson.JSONDecodeError as error:
                broken[file] = f"is not valid JSON: line {error.lineno}, column {error.colno}"
        return cls(documents, broken)

    def variable(self, name: str) -> Setting | None:
        """The variable as Claude Code sees it; None if it is unset or empty."""
        for file, document in self.documents.items():
            value = as_object(document.get("env")).get(name)
            if isinstance(value, str | int):
                return Setting(name, str(value), file, _is_managed(file)) if value != "" else None
        value = os.environ.get(name, "")
        return Setting(name, value, None) if value else None

    def any_of(self, *names: str) -> Iterator[Setting]:
        """Those of the variables that are set."""
        for name in names:
            if found := self.variable(name):
                yield found

    def text(self, key: str) -> Setting | None:
        """A setting whose value is one string."""
        for file, document in self.documents.items():
            if isinstance(value := document.get(key), str):
                return Setting(f"`{key}`", value, file, _is_managed(file)) if value else None
        return None

    def texts(self, key: str) -> list[Setting]:
        """All entries of a list setting; Claude Code joins the lists of all files."""
        return [
            Setting(f"`{key}`", value, file, _is_managed(file))
            for file, document in self.documents.items()
            for value in as_list(document.get(key))
            if isinstance(value, str)
        ]

    def managed(self, *keys: str) -> Iterator[tuple[Path, str]]:
        """Those of the keys that an administrator has set, with the file."""
        for file, document in self.documents.items():
            if _is_managed(file):
                yield from ((file, key) for key in keys if document.get(key))

    def starts_gateway(self) -> bool:
        """Whether a hook starts the gateway before a session's first request."""
        groups = (
            as_object(group)
            for document in self.documents.values()
            for group in as_list(as_object(document.get("hooks")).get("SessionStart"))
        )
        commands = (
            str(as_object(hook).get("command", ""))
            for group in groups
            for hook in as_list(group.get("hooks"))
        )
        return any("plugway" in words and " up" in words for words in commands)


def _without_mark(raw: bytes) -> bytes:
    return raw.removeprefix(b"\xef\xbb\xbf")


def _is_managed(file: Path) -> bool:
    return managed_folder() in file.parents

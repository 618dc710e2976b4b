"""Resolves secret references: `{$env: NAME}`, `{$file: PATH}`, `{$keyring: NAME}`.

The values go only into the options; messages never contain one.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from plugway.config.document import Document, Place, did_you_mean
from plugway.config.key_store import SecretError, fetch
from plugway.config.settings import DEFAULT_STORE
from plugway.kept import user_id
from plugway.types.errors import Problem
from plugway_log import register_secret
from plugway_wire.json import as_object

_MAX_FILE = 64 * 1024
_FORBIDDEN = re.compile(r"[\r\n\0]")


@dataclass(slots=True)
class Resolution:
    """Options with their references replaced, and the problems found."""

    value: object = None
    problems: list[Problem] = field(default_factory=list[Problem])
    failed: set[Place] = field(default_factory=set[Place])
    """Places of references that could not be resolved; their value is a placeholder."""
    secrets: list[str] = field(default_factory=list[str], repr=False)

    def __repr__(self) -> str:
        return f"<Resolution: {len(self.secrets)} secrets, {len(self.problems)} problems>"

    def redact(self, text: str) -> str:
        """`text` without any of the secrets."""
        for value in self.secrets:
            text = text.replace(value, "***")
        return text


def resolve(node: object, document: Document, path: Place) -> Resolution:
    """Replace every reference in `node`, which is at `path` of `document`."""
    resolution = Resolution()
    resolution.value = _walk(node, document, path, resolution)
    return resolution


def is_reference(node: object) -> bool:
    """Whether a value is a secret reference, including a misspelt one."""
    return _reference(node) is not None


def _reference(node: object) -> tuple[str, object] | None:
    if not isinstance(node, Mapping):
        return None
    mapping = cast("Mapping[str, object]", node)
    known = [key for key in mapping if key in _SOURCES]
    if known:
        return known[0], mapping[known[0]]
    if len(mapping) == 1:
        key = next(iter(mapping))
        if key.startswith("$") and did_you_mean(key, list(_SOURCES)):
            return key, mapping[key]
    return None


def _walk(node: object, document: Document, path: Place, into: Resolution) -> object:
    if (reference := _reference(node)) is not None:
        return _fetch(cast("Mapping[str, object]", node), reference, document, path, into)
    if isinstance(node, Mapping):
        mapping = cast("Mapping[str, object]", node)
        return {key: _walk(item, document, (*path, key), into) for key, item in mapping.items()}
    if isinstance(node, list):
        items = cast("list[object]", node)
        return [_walk(item, document, (*path, i), into) for i, item in enumerate(items)]
    return node


def _fetch(
    node: Mapping[str, object],
    reference: tuple[str, object],
    document: Document,
    path: Place,
    into: Resolution,
) -> str:
    source, name = reference
    try:
        value = _checked(_read(node, source, name, document))
    except SecretError as error:
        into.problems.append(document.problem(path, error.reason, error.fix))
        into.failed.add(path)
        return ""
    register_secret(value)
    into.secrets.append(value)
    return value


def _read(node: Mapping[str, object], source: str, name: object, document: Document) -> str:
    if source not in _SOURCES:
        hint = did_you_mean(source, list(_SOURCES))
        raise SecretError(f"`{source}` is not a valid secret reference", hint)
    if len(node) > 1:
        others = ", ".join(f"`{key}`" for key in node if key != source)
        raise SecretError(f"`{source}` cannot be combined with {others}")
    if not isinstance(name, str) or not name.strip():
        raise SecretError(f"`{source}` needs a name", f"write `{{{source}: NAME}}`")
    return _SOURCES[source](name, document)


def _checked(value: str) -> str:
    if not value:
        raise SecretError("the secret is empty")
    if _FORBIDDEN.search(value):
        raise SecretError("the secret contains a line break or a NUL", "store it without them")
    return value


def _from_env(name: str, document: Document) -> str:
    if name not in os.environ:
        raise SecretError(
            f"the environment variable `{name}` is not set",
            f"run `export {name}=...` before starting, or use `{{$keyring: NAME}}`",
        )
    if not os.environ[name]:
        raise SecretError(f"the environment variable `{name}` is empty")
    return os.environ[name]


def _from_file(name: str, document: Document) -> str:
    path = Path(name).expanduser()
    if not path.is_absolute():
        if document.folder is None:
            raise SecretError(f"`{name}` is not an absolute path", "start it with `/` or `~/`")
        path = document.folder / path
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            _refuse_exposed(os.fstat(file.fileno()), path)
            raw = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        raise SecretError(f"there is no file `{path}`") from None
    except OSError as error:
        raise SecretError(f"cannot read `{path}`: {error.strerror}") from None
    if len(raw) > _MAX_FILE:
        raise SecretError(f"`{path}` is larger than 64 KiB, too large for a secret")
    try:
        return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"`{path}` is not UTF-8 text") from None


def _refuse_exposed(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"`{path}` is not a regular file")
    if (mine := user_id()) is None:
        return
    if status.st_mode & 0o007:
        mode = stat.S_IMODE(status.st_mode)
        raise SecretError(
            f"`{path}` is accessible to every user (mode {mode:04o})", f"run `chmod 600 {path}`"
        )
    if status.st_uid not in (mine, 0):
        raise SecretError(f"`{path}` belongs to another user (uid {status.st_uid})")


def _from_keyring(name: str, document: Document) -> str:
    return fetch(name, _store(document), document)


def _store(document: Document) -> str:
    """The name of the key store, from the raw file: keys are read before `server` is validated."""
    root = as_object(document.value)
    named = as_object(root.get("server")).get("key_store", DEFAULT_STORE)
    if not isinstance(named, str):
        raise SecretError("`server.key_store` should be the name of a key store")
    return named


_SOURCES: Mapping[str, Callable[[str, Document], str]] = {
    "$env": _from_env,
    "$file": _from_file,
    "$keyring": _from_keyring,
}

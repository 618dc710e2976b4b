"""Finds, reads and validates the configuration file.

`plugins/loader` validates the options of plugins.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import platformdirs
from pydantic import field_validator

from plugway.config.document import MAX_BYTES, Document, did_you_mean, in_order, read_document
from plugway.config.listen import exposure
from plugway.config.options import Built, OptionsT, build_options
from plugway.config.settings import ServerOptions
from plugway.kept import user_id
from plugway.types.errors import ConfigError, Problem
from plugway.types.options import Options

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class EntryOptions(Options):
    """One entry of `plugins`."""

    use: str
    """Name of an installed plugin, as `plugway plugins` lists it."""
    name: str | None = None
    """Name of this instance in routes, logs and errors; by default the plugin's name."""
    options: dict[str, object] | None = None
    """Options of the plugin."""

    @field_validator("name")
    @classmethod
    def _name_fits_a_route(cls, name: str | None) -> str | None:
        if name is not None and not _NAME.fullmatch(name):
            raise ValueError(
                "should be lower-case letters, digits, `.`, `_` and `-`, a letter or digit first"
            )
        return name


@dataclass(frozen=True, slots=True)
class PluginEntry:
    """One entry of `plugins` as written; secret references are not resolved yet."""

    use: str
    name: str
    options: Mapping[str, object] = field(repr=False)
    index: int


@dataclass(frozen=True, slots=True)
class Config:
    """A valid configuration file; the options of plugins are not validated yet."""

    path: Path | None
    """The file, or None for a stack from an installed package."""
    server: ServerOptions
    plugins: tuple[PluginEntry, ...]
    document: Document

    def options_of(self, entry: PluginEntry, kind: type[OptionsT]) -> Built[OptionsT]:
        """The validated options of a plugin, with their secrets."""
        place = ("plugins", entry.index, "options")
        return build_options(kind, entry.options, self.document, place, instance=entry.name)


class PartlyInvalid(ConfigError):
    """Parts of the file are invalid; `rest` is the remainder, which may have more problems."""

    def __init__(self, problems: Sequence[Problem], rest: Config) -> None:
        super().__init__(problems)
        self.rest = rest


class ExposedError(ConfigError):
    """The gateway would listen beyond this machine without protection."""


def default_config_path() -> Path:
    """The path of the configuration if no other is given."""
    return platformdirs.user_config_path("plugway", appauthor=False) / "config.yaml"


def find_config(explicit: Path | None = None) -> Path | None:
    """The configuration to use: the given one, `PLUGWAY_CONFIG`, the default path, or None.

    The current directory is never searched, because its files may come from anyone.
    """
    if explicit is not None:
        return explicit.expanduser()
    if named := os.environ.get("PLUGWAY_CONFIG"):
        return Path(named).expanduser()
    default = default_config_path()
    return default if default.exists() else None


def load_config(path: Path, overrides: Mapping[str, object] | None = None) -> Config:
    """Read and validate a file; `overrides` replace settings of `server`.

    Raises `ConfigError` with all problems.
    """
    document, mode = _read_document(path)
    return _build(document, path, mode, overrides or {})


def default_document() -> Document | None:
    """The configuration that is used if none is named; None if it does not exist or is not YAML."""
    with suppress(ConfigError):
        path = find_config()
        return _read_document(path)[0] if path else None
    return None


def parse_config(
    text: str, where: str = "config", overrides: Mapping[str, object] | None = None
) -> Config:
    """Like `load_config`, from text; `where` names it in messages."""
    return _build(read_document(text, where), None, 0o600, overrides or {})


def server_options(overrides: Mapping[str, object]) -> ServerOptions:
    """The settings of `server` without a file. Raises `ConfigError`."""
    options, problems = _server(Document("command line"), None, 0o600, overrides)
    if options is None:
        raise ConfigError(problems)
    return options


def _read_document(path: Path) -> tuple[Document, int]:
    where = str(path)
    raw, mode = _read_file(path, where)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        column = error.start - raw.rfind(b"\n", 0, error.start)
        problem = Problem(f"{where}:{line}:{column}", "", "not UTF-8 text", "save it as UTF-8")
        raise ConfigError([problem]) from None
    return read_document(text, where, path.absolute().parent), mode


def _read_file(path: Path, where: str) -> tuple[bytes, int]:
    try:
        link = path.lstat()
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError([Problem(where, "", "not a regular file")])
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        fix = f"run `plugway config example > {path}`"
        raise ConfigError([Problem(where, "", "there is no such file", fix)]) from None
    except OSError as error:
        raise ConfigError([Problem(where, "", f"cannot be read: {error.strerror}")]) from None
    if (mine := user_id()) is not None:
        _refuse_foreign(path, where, link.st_uid, status, mine)
    if len(raw) > MAX_BYTES:
        raise ConfigError([Problem(where, "", "larger than 1 MiB", "is it the right file?")])
    return raw, status.st_mode


def _refuse_foreign(
    path: Path, where: str, link_owner: int, status: os.stat_result, mine: int
) -> None:
    for owner in (link_owner, status.st_uid):
        if owner not in (mine, 0):
            reason = f"belongs to another user (uid {owner}), who could change what runs here"
            raise ConfigError([Problem(where, "", reason, f"run `sudo chown {mine} {path}`")])
    if status.st_mode & 0o002:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        reason = f"every user can write to it (mode {mode})"
        raise ConfigError([Problem(where, "", reason, f"run `chmod 600 {path}`")])


def _build(
    document: Document, path: Path | None, mode: int, overrides: Mapping[str, object]
) -> Config:
    if document.value is None:
        fix = "`plugway config example` prints one to start from"
        raise ConfigError([Problem(document.where, "", "the file is empty", fix)])
    value = document.value
    if not isinstance(value, Mapping):
        raise ConfigError([document.problem((), "should be a mapping with `server` and `plugins`")])
    root = cast("Mapping[str, object]", value)
    problems = [
        document.problem(
            (key,),
            "unknown section",
            did_you_mean(key, ("server", "plugins")) or "sections are `server` and `plugins`",
        )
        for key in root
        if key not in ("server", "plugins")
    ]
    server, found = _server(document, root.get("server"), mode, overrides)
    entries, more = _entries(document, root)
    problems += [*found, *more]
    exposed = exposure(server, document) if server else []
    if exposed and not problems:
        raise ExposedError(exposed)
    if server is None or problems:
        found = in_order([*problems, *exposed])
        raise PartlyInvalid(found, Config(path, server or ServerOptions(), entries, document))
    return Config(path, server, entries, document)


def _server(
    document: Document, section: object, mode: int, overrides: Mapping[str, object]
) -> tuple[ServerOptions | None, list[Problem]]:
    if section is not None and not isinstance(section, Mapping):
        return None, [document.problem(("server",), "should be a mapping of settings")]
    written = cast("Mapping[str, object]", section or {})
    place = ("server",)
    built = build_options(
        ServerOptions, {**written, **overrides}, document, place, plain_secrets=True
    )
    problems = [
        Problem("command line", problem.path, problem.reason, problem.fix)
        if problem.path.removeprefix("server.") in overrides
        else problem
        for problem in built.problems
    ]
    if user_id() is not None and isinstance(written.get("token"), str) and mode & 0o044:
        reason = "the token is in plain text in a file that other users can read"
        fix = f"run `chmod 600 {document.where}`, or use `{{$env: PLUGWAY_TOKEN}}`"
        problems.append(document.problem(("server", "token"), reason, fix))
    return built.options, problems


def _entries(
    document: Document, root: Mapping[str, object]
) -> tuple[tuple[PluginEntry, ...], list[Problem]]:
    stack = root.get("plugins")
    if "plugins" not in root:
        return (), [document.problem((), "missing `plugins` section: nothing would serve requests")]
    if not isinstance(stack, list):
        return (), [document.problem(("plugins",), "should be a list: `- use: NAME` for each")]
    entries: list[PluginEntry] = []
    problems: list[Problem] = []
    for index, item in enumerate(cast("list[object]", stack)):
        entry, found = _entry(document, index, item)
        problems += found
        if entry is None:
            continue
        first = next((other for other in entries if other.name == entry.name), None)
        if first is not None:
            line = document.position(("plugins", first.index)).removeprefix(f"{document.where}:")
            reason = f"the name `{entry.name}` is already used by the plugin at {line}"
            fix = "give each instance its own `name`"
            problems.append(document.problem(("plugins", index), reason, fix))
        entries.append(entry)
    return tuple(entries), problems


def _entry(
    document: Document, index: int, item: object
) -> tuple[PluginEntry | None, list[Problem]]:
    place = ("plugins", index)
    if not isinstance(item, Mapping):
        fix = f"write `- use: {item}`" if isinstance(item, str) else "write `- use: NAME`"
        return None, [document.problem(place, "should be a mapping", fix)]
    values = dict(cast("Mapping[str, object]", item))
    options = values.pop("options", None)  # the loader resolves secrets in them
    built = build_options(EntryOptions, values, document, place)
    problems = list(built.problems)
    if options is not None and not isinstance(options, Mapping):
        problems.append(document.problem((*place, "options"), "should be a mapping of options"))
        return None, problems
    if built.options is None:
        return None, problems
    use, name = built.options.use, built.options.name or built.options.use
    return PluginEntry(use, name, cast("Mapping[str, object]", options or {}), index), problems

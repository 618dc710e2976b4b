"""Tools as a server describes them, and the file of those that the user has seen.

A server that changes the text or the arguments of a tool after the user has seen it could make a
model do something else (a "rug pull"). So what was seen is kept, and anything else is not offered
until `plugway mcp accept`.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import orjson
import platformdirs

from plugway import as_list, as_object, write_file

MAX_TOOLS: Final = 250
MAX_BYTES: Final = 64 * 1024
"""Largest definition of a tool."""
_SHOWN: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


@dataclass(frozen=True)
class Definition:
    """A tool as its server describes it."""

    name: str
    raw: Mapping[str, Any] = field(repr=False)
    """The members that matter, by their names in the protocol."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the members that matter."""
        canonical = orjson.dumps(self.raw, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(canonical).hexdigest()

    @property
    def description(self) -> str:
        """What the server says that it does."""
        return str(self.raw.get("description") or self.raw.get("title") or "")

    @property
    def schema(self) -> Mapping[str, Any]:
        """JSON Schema of its arguments."""
        return {"type": "object", **as_object(self.raw.get("inputSchema"))}

    @property
    def hints(self) -> Mapping[str, Any]:
        """Its annotations."""
        return as_object(self.raw.get("annotations"))


Definitions = Mapping[str, Definition]


def read_definitions(tools: Iterable[Mapping[str, Any]]) -> tuple[Definitions, list[str]]:
    """The usable definitions by name, and what is wrong with each other one."""
    found: dict[str, Definition] = {}
    flaws: list[str] = []
    for tool in tools:
        name = str(tool.get("name") or "")
        raw = {key: tool[key] for key in _SHOWN if tool.get(key) is not None}
        if flaw := _flaw(name, raw, found):
            flaws.append(f"tool {name[:64]!r} is left out: {flaw}")
        else:
            found[name] = Definition(name, raw)
    return found, flaws


def _flaw(name: str, raw: Mapping[str, Any], found: Mapping[str, Definition]) -> str:
    if not name or len(name) > 128 or not name.isprintable():
        return "its name is empty, too long or unprintable"
    if name in found:
        return "another one has this name"
    if len(found) >= MAX_TOOLS:
        return f"the server has more than {MAX_TOOLS}"
    try:
        size = len(orjson.dumps(raw))
    except (TypeError, ValueError):  # a number too large, or half of a surrogate pair
        return "its definition cannot be written as JSON"
    if size > MAX_BYTES:
        return f"its definition has {size:,} bytes; at most {MAX_BYTES:,} are accepted"
    schema = raw.get("inputSchema", {})
    if not isinstance(schema, Mapping) or as_object(schema).get("type", "object") != "object":
        return "its arguments are not an object"
    return ""


@dataclass(frozen=True, slots=True)
class Difference:
    """What differs from the tools that the user has seen; names of tools, sorted."""

    new: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.new or self.changed)

    @property
    def text(self) -> str:
        """`2 new (a, b), 1 changed (c)`."""
        parts = (("new", self.new), ("changed", self.changed), ("gone", self.gone))
        return ", ".join(
            f"{len(names)} {what} ({', '.join(names[:8])}{', ...' if len(names) > 8 else ''})"
            for what, names in parts
            if names
        )


def difference(accepted: Definitions, listed: Definitions) -> Difference:
    """What differs in the list of a server from what was accepted."""
    both = accepted.keys() & listed.keys()
    return Difference(
        new=tuple(sorted(listed.keys() - accepted.keys())),
        changed=tuple(sorted(n for n in both if accepted[n].digest != listed[n].digest)),
        gone=tuple(sorted(accepted.keys() - listed.keys())),
    )


def lines_of(accepted: Definitions, listed: Definitions) -> list[str]:
    """The difference for a reader, line by line."""
    what = difference(accepted, listed)
    lines = [f"- {name} is gone" for name in what.gone]
    for name in what.new:
        lines += [f"+ {name} is new", *(f"+   {line}" for line in _pretty(listed[name]))]
    for name in what.changed:
        lines.append(f"~ {name} has changed")
        before, after = _pretty(accepted[name]), _pretty(listed[name])
        changes = list(difflib.unified_diff(before, after, lineterm="", n=1))[2:]
        lines += [f"  {line}" for line in changes]
    return lines


def _pretty(tool: Definition) -> list[str]:
    return orjson.dumps(tool.raw, option=orjson.OPT_INDENT_2).decode().splitlines()[1:-1]


class Store:
    """The files of accepted tools, one for each server, which only this user can read."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or state_folder()

    def accepted(self, server: str) -> Definitions | None:
        """The tools that the user has seen; None if there is no record, and none of them if it is
        damaged."""
        return self._read(self._path(server))

    def waiting(self, server: str) -> Definitions | None:
        """The list that differs and was not accepted yet; None if there is none."""
        return self._read(self._path(server, "waiting")) or None

    def accept(self, server: str, listed: Definitions) -> None:
        """Record that the user has seen this list. Raises `OSError`."""
        self._write(self._path(server), listed)
        self.settle(server)

    def wait(self, server: str, listed: Definitions) -> None:
        """Record a list that differs. Raises `OSError`."""
        self._write(self._path(server, "waiting"), listed)

    def settle(self, server: str) -> None:
        """Nothing waits any longer. Raises `OSError`."""
        self._path(server, "waiting").unlink(missing_ok=True)

    def forget(self, server: str) -> None:
        """Remove all records of a server. Raises `OSError`."""
        self._path(server).unlink(missing_ok=True)
        self.settle(server)

    def version(self, server: str) -> object:
        """Changes when the record of accepted tools does."""
        try:
            status = self._path(server).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino, status.st_size

    def _path(self, server: str, kind: str = "tools") -> Path:
        return self._folder / f"{server}.{kind}.json"

    def _read(self, path: Path) -> Definitions | None:
        try:
            document = as_object(orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, orjson.JSONDecodeError):
            return {}
        stored = [as_object(item) for item in as_list(document.get("tools"))]
        tools, _ = read_definitions(as_object(item.get("tool")) for item in stored)
        kept = {str(as_object(i.get("tool")).get("name")): i.get("sha256") for i in stored}
        return {name: tool for name, tool in tools.items() if kept.get(name) == tool.digest}

    def _write(self, path: Path, tools: Definitions) -> None:
        rows: Sequence[Mapping[str, Any]] = [
            {"sha256": tool.digest, "tool": tool.raw} for tool in tools.values()
        ]
        write_file(path, orjson.dumps({"tools": rows}, option=orjson.OPT_INDENT_2))


def state_folder() -> Path:
    """Where the records and the working folders of servers are."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "mcp"

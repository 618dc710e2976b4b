"""Edits another program's JSON file: strict parsing, atomic writing, unchanged formatting."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from plugway import PlugwayError, write_file

_BOM = b"\xef\xbb\xbf"
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)

PRIVATE = 0o600
"""Permissions of a file that contains a token."""


class NotEditable(PlugwayError):
    """The file cannot be edited safely; the message says where and why."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """The content of a file and its formatting."""

    path: Path
    """The path after following links."""
    raw: bytes | None
    """The file's bytes; None if it does not exist."""
    document: dict[str, Any]

    @property
    def mode(self) -> int:
        """Permissions; a new file is private, because it contains a token."""
        return stat.S_IMODE(self.path.stat().st_mode) if self.raw is not None else PRIVATE

    def render(self, document: Mapping[str, Any]) -> bytes:
        """Encode the document in the file's formatting."""
        raw = self.raw or b""
        text = raw.decode("utf-8-sig")
        found = _INDENT.search(text)
        flat = len(text.strip()) > 2 and "\n" not in text.strip()
        indent: str | int | None = found[1] if found else (None if flat else 2)
        rendered = json.dumps(document, indent=indent, ensure_ascii=False)
        if not text or text.endswith("\n"):
            rendered += "\n"
        if "\r\n" in text:
            rendered = rendered.replace("\n", "\r\n")
        return (_BOM if raw.startswith(_BOM) else b"") + rendered.encode("utf-8")


def read(path: Path) -> JsonFile:
    """Read the file at `path`; an empty document if it does not exist.

    Raises:
        NotEditable: it is not a strict JSON object, repeats a key, or is read-only.
    """
    target = path.resolve()
    try:
        raw = target.read_bytes()
        mode = target.stat().st_mode
    except FileNotFoundError:
        return JsonFile(target, None, {})
    except OSError as error:
        raise NotEditable(f"{path}: cannot be read: {error.strerror}") from None
    if not mode & stat.S_IWUSR:
        raise NotEditable(f"{path}: is read-only: run `chmod u+w {path}`, or use `plugway claude`")
    return JsonFile(target, raw, parse(path, raw))


def parse(path: Path, raw: bytes) -> dict[str, Any]:
    """Parse the JSON object in `raw`; raises `NotEditable` with line and column."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise NotEditable(f"{path}: is not UTF-8 text at byte {error.start}") from None
    if not text.strip():
        return {}
    try:
        document: object = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        if text[error.pos : error.pos + 2] in ("//", "/*"):
            raise NotEditable(
                f"{where}: has comments, which would be lost: add by hand what is printed here"
            ) from None
        raise NotEditable(f"{where}: is not valid JSON ({error.msg}): fix it first") from None
    except _Twice as error:
        raise NotEditable(f"{path}: has the key `{error}` twice: remove one of them") from None
    if not isinstance(document, dict):
        raise NotEditable(f"{path}: is not a JSON object")
    return cast("dict[str, Any]", document)


def write(file: JsonFile, raw: bytes | None, mode: int) -> None:
    """Replace the file's content and permissions atomically; None removes the file.

    Raises:
        NotEditable: the file was changed since it was read.
    """
    now = file.path.read_bytes() if file.path.exists() else None
    if now != file.raw:
        raise NotEditable(f"{file.path}: was changed by another program just now: try again")
    if raw is None:
        file.path.unlink(missing_ok=True)
        return
    write_file(file.path, raw, mode=mode)


class _Twice(Exception):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found

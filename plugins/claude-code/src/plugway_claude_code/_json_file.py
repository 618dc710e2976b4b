"""A JSON file that belongs to somebody else: read strictly, written whole, its look kept."""

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
"""Permissions of a file that a token is in."""


class Unfit(PlugwayError):
    """The file cannot be edited without a risk; the message says where and why."""


@dataclass(frozen=True, slots=True)
class JsonFile:
    """What a file holds, and how it looks."""

    path: Path
    """The file itself; a link has been followed."""
    raw: bytes | None
    """Its bytes, or None where there is no file."""
    document: dict[str, Any]

    @property
    def mode(self) -> int:
        """Permissions; a new file is the user's alone, because a token goes into it."""
        return stat.S_IMODE(self.path.stat().st_mode) if self.raw is not None else PRIVATE

    def render(self, document: Mapping[str, Any]) -> bytes:
        """The document as bytes that look like the file did."""
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
    """The file at `path`, or an empty document where there is none.

    Raises:
        Unfit: it is no strict JSON object, has a key twice, or may not be written.
    """
    target = path.resolve()
    try:
        raw = target.read_bytes()
        mode = target.stat().st_mode
    except FileNotFoundError:
        return JsonFile(target, None, {})
    except OSError as error:
        raise Unfit(f"{path}: cannot be read: {error.strerror}") from None
    if not mode & stat.S_IWUSR:
        raise Unfit(f"{path}: is read-only: run `chmod u+w {path}`, or use `plugway claude`")
    return JsonFile(target, raw, parse(path, raw))


def parse(path: Path, raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`; raises `Unfit` with its line and column."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unfit(f"{path}: is not UTF-8 text at byte {error.start}") from None
    if not text.strip():
        return {}
    try:
        document: object = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        if text[error.pos : error.pos + 2] in ("//", "/*"):
            raise Unfit(
                f"{where}: has comments, which would be lost: add by hand what is printed here"
            ) from None
        raise Unfit(f"{where}: is not JSON ({error.msg}): mend it first") from None
    except _Twice as error:
        raise Unfit(f"{path}: has the key `{error}` twice: take one of them away") from None
    if not isinstance(document, dict):
        raise Unfit(f"{path}: is no JSON object")
    return cast("dict[str, Any]", document)


def write(file: JsonFile, raw: bytes | None, mode: int) -> None:
    """Put `raw` in place of the file with these permissions, or remove it; whole or not at all.

    Raises:
        Unfit: somebody changed the file since it was read.
    """
    now = file.path.read_bytes() if file.path.exists() else None
    if now != file.raw:
        raise Unfit(f"{file.path}: was changed by another program just now: try again")
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

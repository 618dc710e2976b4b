"""Whether a text names a file by its full path, in the spelling of users, terminals or JSON."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from html import unescape
from typing import Final
from urllib.parse import unquote

_TERMINAL: Final = re.compile(
    r"(?:\x1b|\^\[)\][^\x07\x1b]{0,2000}(?:\x07|\x1b\\)"
    r"|(?:(?:\x1b|\^\[)\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]+[0-~]"
)
"""Links, colors and cursor movements (ECMA-48), also in the notation of `cat -v`."""
_TWO: Final = re.compile(r"\x1b[0-~]")
"""Escapes of two characters, of which the second may be the first letter of a name."""
_UNSEEN: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_ESCAPE: Final = re.compile(r"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_BYTES: Final = re.compile(r"(?:\\(?:[0-3][0-7]{2}|x[0-9a-fA-F]{2}))+")
_LETTERS: Final = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "e": "\x1b", "a": "\a"}
_NESTED: Final = 3
"""Maximum nesting of JSON in JSON."""
_LONG: Final = 300
"""Maximum characters of a path; the text before them is ignored."""


def may_name(text: str, path: str, folder: str) -> bool:
    """Whether the text may name the file `path` below `folder`; if unclear, True.

    A name without a path may come from a list of any folder, and `..` may lead anywhere.
    """
    full = _full(path, folder)
    return any(
        full.endswith(found)
        or found.endswith(full)
        or found.startswith("/proc/")
        or ".." in found.split("/")
        for found in _found(text, path)
    )


def names(text: str, path: str, folder: str) -> bool:
    """Whether the text names the file `path` below `folder`, with its folders."""
    full, least = _full(path, folder), len(path)
    return any(
        (full.endswith(found) and len(found) >= least) or found.endswith(full)
        for found in _found(text, path)
    )


def _full(path: str, folder: str) -> str:
    whole = _plain(f"{folder}/{path}").replace("\\", "/")
    return re.sub(r"^[a-z]:(?=/)", "", whole)


def _found(text: str, path: str) -> set[str]:
    """Paths in the text that end with the last part of `path`."""
    last = _plain(path.rpartition("/")[2])[::-1]
    # Scan backwards, so that each place is examined once however long the text is.
    ending = re.compile(rf"(?<!\w)(?<!\w\.){re.escape(last)}(?=([\w.+@~$/-]{{0,{_LONG}}}))")
    before = {hit[1] for view in _views(text) for hit in ending.finditer(view[::-1])}
    return {reading for one in before for reading in _readings((last + one)[::-1])}


def _readings(path: str) -> set[str]:
    """Interpretations of a path: after a mark or variable, or the `a/` of a diff."""
    bare = re.sub(r"^\$\w+", "~", path.lstrip("@+-"))
    absolute = bare.startswith(("/", "~"))
    parts = [part for part in bare.lstrip("~").split("/") if part not in ("", ".")]
    plain = ("/" if absolute else "") + "/".join(parts)
    return {path, plain, re.sub(r"^[ab]/", "", plain)}


def _views(text: str) -> Iterator[str]:
    """The text without colors, with and without decoding backslashes, percent signs and `&`."""
    for source in {text, unquote(text), unquote(unquote(text)), unescape(text)}:
        for _ in range(_NESTED):
            yield from {_plain(one).replace("\\", "/") for one in _uncolored(source)}
            if "\\" not in source:
                break
            source = _ESCAPE.sub(_unescaped, _BYTES.sub(_decoded, source))


def _uncolored(text: str) -> Iterator[str]:
    yield text
    if "\x1b" in text or "\x9b" in text or "^[" in text:
        for between in ("", " "):
            bare = _TERMINAL.sub(between, text)
            yield bare
            yield _TWO.sub("", bare)


def _decoded(found: re.Match[str]) -> str:
    codes = re.findall(r"\\(?:x(..)|(...))", found[0])
    data = bytes(int(hexa, 16) if hexa else int(octal, 8) for hexa, octal in codes)
    return data.decode("utf-8", "replace")


def _unescaped(found: re.Match[str]) -> str:
    code = found[0][1:]
    return chr(int(code[1:], 16)) if len(code) == 5 else _LETTERS.get(code, code)


def _plain(text: str) -> str:
    """The text in one Unicode form, without invisible characters."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", _UNSEEN.sub("", folded))

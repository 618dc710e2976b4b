"""Where a path is, judged by its text alone; nothing is looked up on a disk."""

from __future__ import annotations

import re
from typing import Literal

from plugway_auto_mode._finding import Place
from plugway_auto_mode._words import Word

Where = Literal["inside", "whole", "git", "device", "outside", "unknown"]
Moved = Literal["", "below", "outside", "unknown"]
"""Result of an earlier `cd`: none, into the working folder, out of it, or unknown."""

_DEVICES = frozenset(("/dev/null", "/dev/stdin", "/dev/stdout", "/dev/stderr", "/dev/tty"))
_HOMES = re.compile(r"^(?:~|\$\{?HOME\}?)(?=/|$)")
_DRIVE = re.compile(r"^([A-Za-z]):[\\/]")
_WHOLE = frozenset(("", "*", ".*", "*.*", "{*,.*}", "{.*,*}", "**", "**/*"))


def normalize(path: str) -> str:
    """`path` without `.`, `//` and, if they follow a named folder, `..`."""
    parts: list[str] = []
    for part in path.split("/"):
        if part in ("", "."):
            continue
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part != ".." or not path.startswith("/"):
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def posix(path: str) -> str:
    """A Windows path as a POSIX shell on Windows writes it; other paths unchanged."""
    drive = _DRIVE.match(path)
    if drive is None:
        return path
    return f"/{drive[1].lower()}/" + path[3:].replace("\\", "/")


def locate(path: str, place: Place, moved: Moved = "") -> Where:
    """The place of `path`; `whole` is the working folder itself or everything in it.

    `~`, `$HOME` and `$PWD` at the start are expanded; other variables make it `unknown`, unless
    they follow a folder that is outside.
    """
    home = posix(place.home).rstrip("/")
    path = posix(path)
    if path in _DEVICES or re.fullmatch(r"/dev/fd/\d+", path):
        return "device"
    if _HOMES.match(path):
        path = _HOMES.sub(lambda _: home or "/~", path)
    elif path.startswith("~"):
        return "outside"
    path = re.sub(r"^\$\{?PWD\}?(?=/|$)", lambda _: "." if not moved else "$PWD", path)
    if path.startswith("/"):
        return _absolute(normalize(path), place.roots)
    return _relative(path, place, moved)


def _absolute(path: str, roots: tuple[str, ...]) -> Where:
    for root in map(posix, roots):
        if path == root:
            return "whole"
        if path.startswith(root + "/"):
            return _below(path[len(root) + 1 :])
    return "outside"


def _relative(path: str, place: Place, moved: Moved) -> Where:
    cwd = posix(place.cwd).rstrip("/")
    if moved == "outside":
        return "outside"
    if path.startswith("$") or moved == "unknown" or not path or not cwd or "\\" in path:
        return "unknown" if not path.startswith("../") or moved else "outside"
    rest = normalize(path)
    if rest == ".." or rest.startswith("../"):
        back = _absolute(normalize(f"{cwd}/{rest}"), place.roots)
        return "unknown" if moved else back
    if moved:
        return "unknown" if rest in _WHOLE or ".." in path else _below(rest)
    return _below(rest)


def _below(rest: str) -> Where:
    if rest in _WHOLE:
        return "whole"
    first = rest.split("/", 1)[0].casefold()
    if first == ".git":
        return "git"
    return "unknown" if "$" in rest and "/.." in rest else "inside"


def glob_matches(pattern: str, name: str) -> bool:
    """Whether a shell pattern (`*`, `?`, `[...]`) matches all of `name`, in quadratic time at most.

    A leading dot is matched only by a dot, as in the shell.
    """
    if name.startswith(".") and not pattern.startswith((".", "[", "?")):
        return False
    at, star, back, place = 0, -1, 0, 0
    tokens = re.findall(r"\[!?\]?[^\]]*\]|.", pattern, re.DOTALL)
    while place < len(name):
        token = tokens[at] if at < len(tokens) else None
        if token == "*":
            star, back = at, place
            at += 1
        elif token is not None and _fits(token, name[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            back += 1
            at, place = star + 1, back
        else:
            return False
    return all(token == "*" for token in tokens[at:])


def _fits(token: str, letter: str) -> bool:
    return token in ("?", letter) or (len(token) > 2 and token[0] == "[")


class Secrets:
    """Places that contain credentials, as patterns of the ends of paths.

    `*` stands for part of a name; paths below a match also match.
    """

    def __init__(
        self, anywhere: tuple[str, ...], local: tuple[str, ...], safe: tuple[str, ...]
    ) -> None:
        self._anywhere = _ends(anywhere)
        self._local = _ends(local)
        self._safe = _ends(safe)
        self._names = tuple(pattern.strip("/").split("/") for pattern in (*anywhere, *local))

    def find(self, word: Word) -> Literal["", "anywhere", "local"]:
        """Whether the word names such a place; `local` for files such as `.env` in a project."""
        text = word.text
        if len(text) > 4096 or (("." not in text) and ("/" not in text) and not word.glob):
            return ""
        return self.in_text(text, word.glob or word.dynamic or word.brace)

    def in_text(self, text: str, wild: bool = False) -> Literal["", "anywhere", "local"]:
        for path in {text, *re.split(r"[=:@,{}]", text)}:
            tidy = normalize(path.replace("\\", "/").replace('"', ""))
            if not tidy or self._safe.search(tidy):
                continue
            if self._anywhere.search(tidy):
                return "anywhere"
            if self._local.search(tidy):
                return "local"
            if wild and self._could_be(tidy):
                return "anywhere" if tidy.startswith(("/", "~", "..", "$")) else "local"
        return ""

    def _could_be(self, path: str) -> bool:
        """Whether a path with wildcards or variables can stand for one of the names."""
        parts = [re.sub(r"\$\(\)|\$\w*", "*", part) for part in path.split("/")]
        if all(part in ("*", "**", "~") for part in parts[-1:]):
            return False
        return any(
            len(parts) >= len(names)
            and all(
                _overlap(one, name) for one, name in zip(parts[-len(names) :], names, strict=True)
            )
            for names in self._names
        )


def _overlap(pattern: str, name: str) -> bool:
    if not re.search(r"[*?\[]", pattern):
        return glob_matches(name, pattern)
    sample = name.replace("*", "x" if name.startswith(".") else "a")
    return glob_matches(pattern, name.replace("*", "")) or glob_matches(pattern, sample)


def _ends(patterns: tuple[str, ...]) -> re.Pattern[str]:
    each = (re.escape(one.strip("/")).replace(r"\*", "[^/]*") for one in patterns)
    return re.compile(rf"(?i)(?:^|/|[\"'\s])(?:{'|'.join(each) or '(?!)'})(?:/|$|[\"'\s;)])")

"""The files that a call of a file tool names, and whether a path rule applies to them.

The patterns are those of `.gitignore`, as Anthropic's page on permissions (code.claude.com,
"Configure permissions") defines them: `//x` starts at the root of the file system, `~/x` at the
home, `/x` at the folder of the settings, `x` and `./x` at the working folder. Paths and patterns
are normalized by their text alone; symbolic links are not followed.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, Literal

import pathspec

from plugway_auto_mode._context import READ_OTHERWISE, Rule, absolute
from plugway_auto_mode._finding import Place

Speaks = Literal["yes", "maybe", "no"]

READERS: Final[Mapping[str, str]] = {
    "Glob": "path",
    "Grep": "path",
    "LS": "path",
    "NotebookRead": "notebook_path",
    "Read": "file_path",
}
EDITORS: Final[Mapping[str, str]] = {
    "Edit": "file_path",
    "MultiEdit": "file_path",
    "NotebookEdit": "notebook_path",
    "Write": "file_path",
}
"""File tools, by the argument that contains their path."""
FILE_TOOLS: Final[Mapping[str, str]] = {**READERS, **EDITORS}
_SEARCHES: Final = frozenset(("Glob", "Grep", "LS"))
"""Tools that start at the working folder if they get no path."""
_PATTERNS: Final = {"Glob": "pattern", "Grep": "glob"}
"""Arguments that further select the files of a search."""
_ESCAPES: Final = re.compile(r"[*?\[{(].*\.\.|[{,(|][/~]")
"""A wildcard before `..`, or an absolute path as one of several alternatives."""
_MAC_LINK: Final = re.compile(r"(?:/private)?(?=/(?:etc|tmp|var)(?:/|\Z))")
"""On macOS the second is a link to the first."""
_WINDOWS_MOUNT: Final = re.compile(r"/mnt/[A-Za-z](?:/|\Z)")


def named_files(name: str, given: Mapping[str, Any], place: Place) -> tuple[str, ...] | None:
    """Absolute paths that a call of a file tool names; None if one of them is unknown."""
    value = given.get(FILE_TOOLS[name], "." if name in _SEARCHES else None)
    folder = absolute(value, place)
    pattern = given.get(_PATTERNS.get(name, ""), "")
    if folder is None or pattern == "":
        return None if folder is None else (folder,)
    if not isinstance(pattern, str) or _ESCAPES.search(pattern):
        return None
    found = absolute(pattern if pattern[:1] in ("/", "~") else f"{folder}/{pattern}", place)
    return None if found is None else (folder, found)


def allowed_by(rule: Rule, what: str, paths: tuple[str, ...] | None, place: Place) -> bool:
    """Whether the rule matches every path, interpreted strictly."""
    root, pattern = rule.root or place.cwd, rule.pattern or what
    if pattern.startswith("//"):
        root, pattern = "/", pattern[1:]
    elif pattern.startswith("~/"):
        root, pattern = place.home, pattern[1:]
    pattern = pattern.removeprefix("./")
    spec = _spec(pattern)
    if not root or not paths or spec is None:
        return False
    return all((rest := _below(path, root)) and spec.match_file(rest) for path in paths)


def forbidden_by(rule: Rule, what: str, paths: tuple[str, ...] | None, place: Place) -> Speaks:
    """Whether the rule matches one of the paths, interpreted broadly.

    `maybe` if a path or the rule is unknown, or if they differ only in case and the file system
    may or may not be case-sensitive.
    """
    if paths is None:
        return "maybe"
    linked = [link for path in paths for link in _links(path, place)]
    found: set[Speaks] = {
        _named(path, root, pattern, place)
        for root, pattern in _readings(rule, what, place)
        for path in linked
    }
    return "yes" if "yes" in found else "maybe" if "maybe" in found else "no"


def _named(path: str, root: str, pattern: str, place: Place) -> Speaks:
    spec, folded = _spec(pattern), _spec(_folded(pattern))
    if not root or spec is None or folded is None or path.startswith("/proc/"):
        return "maybe"
    if _matches(spec, _below(path, root)):
        return "yes"
    if not _matches(folded, _below(_folded(path), _folded(root))):
        return "no"
    return "maybe" if place.platform == "linux" and not _WINDOWS_MOUNT.match(path) else "yes"


def _readings(rule: Rule, what: str, place: Place) -> Iterator[tuple[str, str]]:
    """Folders and patterns that the rule may mean; an empty folder if it is unknown."""
    text = (rule.pattern or what).strip()
    here = (rule.root,) if rule.root else (place.start, *place.roots)
    if text == "~" or text.startswith("~/"):
        folders, text = (place.home,), "/" + text[1:]
    elif text.startswith("//"):
        folders = ("/",)
    else:
        folders = (*here, "/") if text.startswith("/") else here
    if READ_OTHERWISE.match(text):
        folders = ()
    known = [posixpath.normpath(folder) for folder in folders if folder.startswith("/")]
    if not known:
        yield "", ""
    for folder in known:
        yield _normal(folder, text)


def _normal(folder: str, pattern: str) -> tuple[str, str]:
    """Both without `.`, `..` and `//`; no folder if `..` follows a variable number of folders."""
    anchored = pattern.startswith("/")
    parts: list[str] = []
    for part in pattern.split("/"):
        if part == ".." and parts and parts[-1] == "**":
            return "", ""
        if part == "..":
            anchored = True
            folder = folder if parts else posixpath.dirname(folder)
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    text = "/".join(parts) or "**"
    return folder, "/" + text if anchored else re.sub(r"^(?=[#!])", r"\\", text)


def _links(path: str, place: Place) -> set[str]:
    """The path, and the same file under other names of a working folder."""
    found = {path}
    for names in place.links:
        rests = [rest for name in names if (rest := _below(path, name)) is not None]
        found |= {posixpath.join(name, rest) for name in names for rest in rests[:1]}
    mac = {_MAC_LINK.sub("", one, count=1) for one in found if _MAC_LINK.match(one)}
    return found | mac | {"/private" + one for one in mac}


def _below(path: str, folder: str) -> str | None:
    """The path relative to `folder`: empty if equal, None if it is not inside."""
    folder = folder.rstrip("/")
    if path == folder or not folder:
        return path[len(folder) :].lstrip("/")
    return path[len(folder) + 1 :] if path.startswith(folder + "/") else None


def _folded(text: str) -> str:
    """The same text for names that a file system may treat as equal: case and composed letters."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", text).casefold())


def _matches(spec: pathspec.GitIgnoreSpec, rest: str | None) -> bool:
    """Whether a pattern matches the path, as a file or as a folder."""
    return rest is not None and (spec.match_file(rest) or spec.match_file(rest + "/"))


@lru_cache(maxsize=8_192)
def _spec(pattern: str) -> pathspec.GitIgnoreSpec | None:
    try:
        return pathspec.GitIgnoreSpec.from_lines([pattern])
    except ValueError:
        return None

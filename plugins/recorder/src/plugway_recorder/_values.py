"""When two arguments of tool calls mean the same. Pure functions.

Paths, commands and addresses are compared in a normal form. Free text (descriptions, contents,
patches, whatever is long or has several words) is not compared: two good answers differ in it.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Mapping
from typing import Any, Final, Literal, cast

from plugway import as_list, as_object


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


Same = Literal["same", "different", "free"]
"""`free`: text that is not compared."""

_FREE: Final = _words(
    "activeform answer body code comment content contents description details edits explanation"
    " file_text goal input instructions justification message new_source new_str new_string"
    " new_text note notes old_str old_string old_text patch plan prompt question questions"
    " rationale reason reasoning replacement steps subject summary text thought thoughts title"
    " todos"
)
"""Names of arguments that are text for people, or contents of files."""
_UNIMPORTANT: Final = re.compile(r"timeout|max_?(?:tokens|output)", re.IGNORECASE)
_PATH: Final = re.compile(r"(?:^|_)(?:path|file|dir|directory|folder|cwd|root|filename)s?$|Path$")
_COMMAND: Final = re.compile(r"^(?:cmd|commands?|script|shell_command)$")
_ADDRESS: Final = re.compile(r"^(?:url|uri|href)s?$", re.IGNORECASE)
_WORDS: Final = 6
"""From so many words on, a text is free."""
_LONG: Final = 200
_LONGEST_COMMAND: Final = 4000
_WORKING_IN: Final = re.compile(
    r"(?:working directory|<cwd>|\bcwd)\s*:?\s*[`\"]?(/[^\n`\"<]{1,300})", re.IGNORECASE
)


def compare(name: str, one: Any, other: Any, folder: str) -> Same:
    """Whether two values of the argument `name` mean the same; `folder` is the working folder."""
    if one == other and isinstance(one, bool) == isinstance(other, bool):
        return "same"
    if name.casefold() in _FREE or _UNIMPORTANT.search(name):
        return "free"
    if isinstance(one, str) and isinstance(other, str):
        return _compare_texts(name, one, other, folder)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return compare_objects(
            cast("Mapping[str, Any]", one), cast("Mapping[str, Any]", other), folder
        )[0]
    if isinstance(one, list) and isinstance(other, list):
        return _compare_lists(name, as_list(one), as_list(other), folder)
    return "different"


def compare_objects(
    one: Mapping[str, Any],
    other: Mapping[str, Any],
    folder: str,
    defaults: Mapping[str, Any] | None = None,
) -> tuple[Same, str, list[str]]:
    """Whether two objects mean the same, the first member that differs, and those that were not
    compared. A member that is missing is the same as one with its default, or an empty one."""
    free: list[str] = []
    for name in dict.fromkeys((*one, *other)):
        default = (defaults or {}).get(name)
        found = compare(name, _given(one, name, default), _given(other, name, default), folder)
        if found == "different":
            return "different", name, free
        if found == "free":
            free.append(name)
    return ("free" if free else "same"), "", free


def defaults_of(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The defaults of a tool's arguments."""
    properties = as_object(schema.get("properties"))
    return {
        name: part["default"]
        for name, value in properties.items()
        if "default" in (part := as_object(value))
    }


def folder_of(body: Mapping[str, Any]) -> str:
    """The working folder that a request names; empty if none."""
    first = as_object(next(iter(as_list(body.get("messages"))), None))
    for part in (body.get("system"), first.get("content")):
        texts = (
            [part] if isinstance(part, str) else [as_object(b).get("text") for b in as_list(part)]
        )
        for text in texts:
            found = _WORKING_IN.search(text) if isinstance(text, str) else None
            if found is not None:
                return found[1].strip().rstrip("/")
    return ""


def normal_path(path: str, folder: str) -> str:
    """A path without `.`, `..`, doubled slashes, and relative to nothing if the folder is known."""
    path = path.strip().replace("\\", "/") if re.match(r"[A-Za-z]:\\", path) else path.strip()
    if folder and not path.startswith(("/", "~")) and ":" not in path[:3]:
        path = f"{folder}/{path}"
    return posixpath.normpath(path) if path else path


def normal_command(command: str, folder: str) -> tuple[str, ...]:
    """The words of a shell command, without quotes, extra spaces, `./`, the working folder and a
    leading `cd` into it."""
    if len(command) > _LONGEST_COMMAND or "<<" in command:
        return tuple(command.split())
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split, lexer.commenters = True, ""
    try:
        words = [_normal_word(word, folder) for word in lexer]
    except ValueError:
        return tuple(command.split())
    if len(words) > 2 and words[0] == "cd" and words[1] in (".", "") and words[2] in ("&&", ";"):
        words = words[3:]
    return tuple(words[:-1] if words and words[-1] == ";" else words)


def _normal_word(word: str, folder: str) -> str:
    if folder and (word == folder or word.startswith(f"{folder}/")):
        word = word[len(folder) + 1 :] or "."
    return word.removeprefix("./") or "."


def _compare_texts(name: str, one: str, other: str, folder: str) -> Same:
    if _COMMAND.search(name):
        same = normal_command(one, folder) == normal_command(other, folder)
    elif _PATH.search(name):
        same = normal_path(one, folder) == normal_path(other, folder)
    elif _ADDRESS.search(name):
        same = one.strip().rstrip("/") == other.strip().rstrip("/")
    elif _is_free(one) and _is_free(other):
        return "free"
    else:
        same = one.split() == other.split()
    return "same" if same else "different"


def _compare_lists(name: str, one: list[Any], other: list[Any], folder: str) -> Same:
    if len(one) != len(other):
        return "different"
    if _COMMAND.search(name) and all(isinstance(word, str) for word in (*one, *other)):
        return "same" if [*map(str.strip, one)] == [*map(str.strip, other)] else "different"
    found = {compare(name, a, b, folder) for a, b in zip(one, other, strict=True)}
    return "different" if "different" in found else "free" if "free" in found else "same"


def _is_free(text: str) -> bool:
    return len(text) > _LONG or "\n" in text.strip() or len(text.split()) >= _WORDS


def _given(values: Mapping[str, Any], name: str, default: Any) -> Any:
    value = values.get(name)
    empty = value is None or value is False or value in ("", [], {})
    return None if empty or (default is not None and value == default) else value

"""The only shell write that is known to be harmless: append plain text to a text file.

`printf '\\n%s' 'another line' >> notes.txt`, and nothing else in the command. The file must be in
the working folder itself, and its name one that no program runs, loads or obeys. A name does not
show whether it is a symbolic link; Claude Code follows links itself and, whatever the verdict, does
not write through one that leads out of the working folder or to a sensitive file (2.1.332).
"""

from __future__ import annotations

import re
from typing import Final

from plugway_auto_mode._finding import Place
from plugway_auto_mode._rules import known, name_pattern
from plugway_auto_mode._shell import parse
from plugway_auto_mode._words import Word

MOST_TEXT: Final = 1_000
"""Maximum characters of the whole command."""
_PROGRAMS: Final = frozenset(("echo", "printf"))
_NAME: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,63})(\.[a-z]{2,4})")
_UNQUOTED: Final = re.compile(r"[A-Za-z0-9.,:+@/_-]*")
_FORMAT: Final = re.compile(r"(?:[^%\\]|%s|%%|\\n)+")


def appended_file(command: str, place: Place) -> str:
    """The name of the text file that a command appends plain words to; empty if the command does
    more, or the file may be more than text."""
    script = parse(command) if len(command) <= MOST_TEXT else None
    if script is None or script.unclear or len(script.commands) != 1:
        return ""
    (only,) = script.commands
    if not only.words or only.assignments or len(only.redirects) != 1:
        return ""
    (target,) = (redirect.target.source for redirect in only.redirects)
    # The parser leaves text around a command, such as `&` or a loop, out of its source.
    if re.fullmatch(rf"{re.escape(only.source)} *>> *{re.escape(target)}", command.strip()) is None:
        return ""
    return target if _prints(only.words) and _is_text(target, place) else ""


def _prints(words: tuple[Word, ...]) -> bool:
    program, *texts = words
    if program.source not in _PROGRAMS or not texts or not all(map(_is_plain, texts)):
        return False
    if texts[0].text.startswith("-"):
        return False
    if program.source == "printf":
        return _FORMAT.fullmatch(texts[0].text) is not None
    return not any("\\" in word.text for word in texts)


def _is_plain(word: Word) -> bool:
    """Whether every shell takes the word literally."""
    return (
        word.static
        and all(part.kind in ("plain", "quoted") for part in word.parts)
        and all(_UNQUOTED.fullmatch(part.text) for part in word.parts if part.kind == "plain")
        and word.text.isprintable()
    )


def _is_text(name: str, place: Place) -> bool:
    """Whether it is a text file that no program runs, loads or obeys, in the working folder."""
    found, rules = _NAME.fullmatch(name), known().appends
    hidden = any(part.startswith(".") for part in place.cwd.split("/"))
    if found is None or found[2] not in rules.endings or place.cwd not in place.roots or hidden:
        return False
    return name_pattern(rules.never).fullmatch(found[1].lower()) is None

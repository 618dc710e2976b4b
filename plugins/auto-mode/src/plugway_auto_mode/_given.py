"""Split the words of a reader into options and operands, and check which options are allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from plugway_auto_mode._rules import Reader
from plugway_auto_mode._words import Word, plain_word


@dataclass(slots=True)
class Given:
    """The words of a call, by kind."""

    operands: list[Word] = field(default_factory=list[Word])
    paths: list[Word] = field(default_factory=list[Word])
    """Values of options that are paths."""
    options: set[str] = field(default_factory=set[str])
    problem: str = ""
    """Why the call may do more than read; empty if it only reads."""


def given_words(reader: Reader, args: Sequence[Word]) -> Given:
    """Options and operands of a call, with a problem if an option is not allowed."""
    given = Given()
    words = list(args)
    while words:
        word = words.pop(0)
        text = word.text
        if text == "--" and word.static:
            given.operands += words
            break
        any_text = reader.operands == "text" and (reader.any_option or "--" in reader.options)
        if not text.startswith("-") or text == "-" or any_text:
            given.operands.append(word)
        elif word.dynamic:
            given.problem = given.problem or "an option is unknown before it runs"
        elif reader.any_option:
            _any_option(reader, text, words, given)
        else:
            given.problem = given.problem or _strict_option(reader.options, text, words, given)
    return given


def _any_option(reader: Reader, text: str, words: list[Word], given: Given) -> None:
    """An option of a program whose options all only read; its value is text or a path."""
    name, equals, value = text.partition("=")
    if text.startswith("--"):
        given.options.add(name)
        if equals:
            if name + ":" not in reader.texts:
                given.paths.append(plain_word(value))
        elif words and (name + ":" in reader.texts or name in reader.patterns):
            taken = words.pop(0)
            given.paths += [] if name + ":" in reader.texts else [taken]
        return
    for at, letter in enumerate(text[1:], start=2):
        option = f"-{letter}"
        given.options.add(option)
        is_text = option + ":" in reader.texts
        if is_text or option in reader.patterns:
            rest = text[at:]
            taken = plain_word(rest) if rest else words.pop(0) if words else None
            given.paths += [taken] if taken is not None and not is_text else []
            return
    if "/" in text or "~" in text:
        given.paths.append(plain_word(text[2:]))


def _strict_option(allowed: frozenset[str], text: str, words: list[Word], given: Given) -> str:
    if text in allowed or (re.fullmatch(r"-\d+", text) and "-1" in allowed):
        given.options.add(text)
        return ""
    unknown = f"the option `{text[:40]}` is not known to only read"
    name, equals, value = text.partition("=")
    given.options.add(name)
    if text.startswith("--"):
        for mark in (":", "="):
            if name + mark in allowed:
                word = plain_word(value) if equals else words.pop(0) if words else None
                if mark == "=" and word is not None:
                    given.paths.append(word)
                return ""
        return unknown
    return _short_options(allowed, text, words, given, unknown)


def _short_options(
    allowed: frozenset[str], text: str, words: list[Word], given: Given, unknown: str
) -> str:
    for at, letter in enumerate(text[1:], start=2):
        option = f"-{letter}"
        given.options.add(option)
        if option in allowed:
            continue
        for mark in (":", "="):
            if option + mark in allowed:
                rest = text[at:]
                word = plain_word(rest) if rest else words.pop(0) if words else None
                if mark == "=" and word is not None:
                    given.paths.append(word)
                return ""
        return unknown
    return ""

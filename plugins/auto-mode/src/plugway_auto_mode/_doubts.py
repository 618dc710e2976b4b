"""Shell syntax that makes a command's effect unknown, whatever its program.

Bash runs commands inside a subscript (`a[$(id)]`) wherever it evaluates a name or a number, and an
unquoted variable can expand to several words, including options.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from plugway_auto_mode._rules import known
from plugway_auto_mode._words import Command, Word

_NUMBERS = frozenset("?#!$")
"""Special parameters whose value is a number."""
_NUMBER = re.compile(r"[-+]?\d+")
_RUNS = re.compile(r"\$\(|`|\$\{")


def command_doubt(command: Command) -> str:
    """Why the effect of a simple command is unknown, whatever its program; empty if it is known."""
    for assignment in command.assignments:
        if assignment.name == "IFS" and not command.words:
            return "it changes how words are split"
        if _RUNS.search(_literal(assignment.value)):
            return "a variable holds text that could be run"
    targets = (redirect.target for redirect in command.redirects)
    values = (assignment.value for assignment in command.assignments)
    return words_doubt((*command.words, *targets, *values))


def words_doubt(words: Iterable[Word]) -> str:
    """Why words are unknown: bash computes them, or a variable may contain a secret."""
    for word in words:
        if not word.dynamic:
            continue
        for part, after in zip(word.parts, (*word.parts[1:], None), strict=True):
            subscript = part.kind == "variable" and after is not None and after.text[:1] == "["
            if part.kind == "unclear" or subscript:
                return "some of its words are unknown before it runs"
            if part.kind == "variable" and known().secret_variables.search(part.text):
                return "it may print a variable that contains a secret"
    return ""


def splits(word: Word) -> bool:
    """Whether the expansion can become several words, or an option."""
    return word.dynamic and not _quoted(word)


def can_be_option(word: Word) -> bool:
    """Whether a program can read the expansion as an option."""
    if not word.dynamic or _process(word):
        return False
    first = next((part for part in word.parts if part.text or part.kind != "quoted"), None)
    if first is not None and first.kind == "loop" and len(word.parts) <= 3:
        return not all(_plain_value(value) for value in first.values) or _rest_splits(word)
    return splits(word) or first is None or first.kind not in ("plain", "quoted")


def _rest_splits(word: Word) -> bool:
    return any(part.kind not in ("plain", "quoted", "loop") for part in word.parts)


def _plain_value(value: Word) -> bool:
    return value.static and re.match(r"-|.*\s|$", value.text, re.DOTALL) is None


def _process(word: Word) -> bool:
    return len(word.parts) == 1 and word.parts[0].text == "process_substitution"


def _quoted(word: Word) -> bool:
    """Whether it is one double-quoted string with no quotes inside."""
    source = word.source
    if len(source) < 2 or source[0] != '"' or source[-1] != '"':
        return False
    inner = source[1:-1].replace('\\"', "")
    return '"' not in inner


def _literal(word: Word) -> str:
    return "".join(part.text for part in word.parts if part.kind in ("plain", "quoted", "ansi"))


def test_doubt(program: str, args: Sequence[Word]) -> str:
    """Why a `[`, `test` or `[[` may have an effect; empty if it has none."""
    rules = known()
    texts = [word.text for word in args if not word.dynamic]
    others = [
        text for text in texts
        if text not in rules.tests | rules.comparisons and not _NUMBER.fullmatch(text)
    ]  # fmt: skip
    if any(text[:1] == "-" and len(text) > 1 for text in others):
        return "an unknown test"
    if any(_RUNS.search(_literal(word)) for word in args):
        return "a test of text that bash may run"
    filled = [word for word in args if word.dynamic and not _is_number(word)]
    if (filled or others) and any(text in rules.comparisons for text in texts):
        return "a test with unknown numbers"
    if program == "[[" or not filled:
        return ""
    if any(splits(word) for word in filled):
        return "a test with unknown words"
    return "" if _operator_is_known(args) else "a test with an unknown operator"


def _is_number(word: Word) -> bool:
    parts = [part for part in word.parts if part.text or part.kind != "quoted"]
    return len(parts) == 1 and parts[0].kind == "variable" and parts[0].text in _NUMBERS


def _operator_is_known(args: Sequence[Word]) -> bool:
    """Whether the operator of a comparison is at a place that no value can take."""
    words = [word for word in args if word.text not in ("]", "!")]
    tests = known().tests | known().comparisons
    if len(words) == 1:
        return True
    at = len(words) - 2
    return at in (0, 1) and not words[at].dynamic and words[at].text in tests

"""Whether what the user typed last requests another model. Pure functions.

Precision over recall: a missed sentence goes to the model, which may have the gateway's MCP tools;
a sentence that is matched wrongly costs the user a turn. So a sentence counts only as a whole
message (or as the opening clause with `for this`), in a few forms, and only if it says `my …`,
`… model` or for how long. The line `@plugway …` always works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from plugway_endpoints import line_of

Verb = Literal["use", "list", "recommend", "help"]
Span = Literal["session", "turn", "agents"]

MAX_SENTENCE: Final = 120
MAX_NAME_WORDS: Final = 4
"""In a sentence: more words describe something other than a model."""
_PRONOUNS: Final = frozenset(
    [
        "a",
        "an",
        "any",
        "another",
        "it",
        "one",
        "same",
        "some",
        "that",
        "the",
        "these",
        "this",
        "those",
    ]
)
_MAX_LOOKED_AT: Final = 4000
"""Characters of a message that are searched for a wish."""

_LINE_USE: Final = re.compile(
    r"(?:use|switch to)\s+(?P<name>.+?)"
    r"(?:\s+for\s+(?P<span>this|(?:this\s+)?(?:turn|one|task|question)|(?:sub)?agents))?[.!]?",
    re.IGNORECASE,
)

_OPENING: Final = r"(?:(?:please|ok(?:ay)?|now)[, ]\s*)*(?:let'?s\s+)?"
_ASK: Final = (
    r"(?:use|try|change\s+to|continue\s+(?:with|on)|answer\s+with|go\s+(?:back\s+|over\s+)?to"
    r"|switch\s+(?:back\s+|over\s+)?to)\s+"
)
_NAME: Final = r"(?P<name>[\w][\w .:/+-]{0,79}?)"
_FOR_THIS: Final = r"\s+for\s+this(?:\s+(?:one|turn|question|task|message))?"
_REST: Final = r"for\s+the\s+rest(?:\s+of\s+(?:this|the)\s+(?:chat|conversation|session))?"
_FOR_LONG: Final = rf"\s+(?:from\s+now\s+on|{_REST})"
_END: Final = r"(?:,?\s+(?:please|now))?\s*"
_WHOLE: Final = re.compile(
    f"{_OPENING}{_ASK}{_NAME}(?P<this>{_FOR_THIS})?(?P<long>{_FOR_LONG})?{_END}[.!]?", re.IGNORECASE
)
_CLAUSE: Final = re.compile(
    rf"{_OPENING}{_ASK}{_NAME}(?P<this>{_FOR_THIS})(?P<long>\b){_END}(?:[:.!;,]\s|[:.]?\s*\n)\s*\S",
    re.IGNORECASE,
)
_BACK: Final = re.compile(rf"{_OPENING}switch\s+back{_END}[.!]?", re.IGNORECASE)
_ARTICLE: Final = re.compile(r"(my|the)\s+", re.IGNORECASE)
_NOUN: Final = re.compile(r"\s+(?:one|model|llm|backend|endpoint)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wish:
    """A user's request to the gateway in one turn."""

    verb: Verb
    name: str = ""
    """The model's name as the user typed it."""
    span: Span = "session"
    sure: bool = True
    """Whether it was written as a line for the gateway: an unknown name is then reported."""
    alone: bool = True
    """Whether the turn asks for nothing else."""


def wish_of(text: str) -> Wish | None:
    """The wish in `text`; None if it is meant for the model."""
    head = text[:_MAX_LOOKED_AT].strip()
    return _line(head) or _sentence(head)


def _line(head: str) -> Wish | None:
    line = line_of(head)
    if line is None:
        return None
    said, alone = line
    if said.casefold() in ("list", "models", "endpoints"):
        return Wish("list", alone=alone)
    if said.casefold() == "recommend":
        return Wish("recommend", alone=alone)
    use = _LINE_USE.fullmatch(said)
    if use is None:
        return Wish("help", alone=alone)
    span = (use["span"] or "").casefold()
    kind: Span = "agents" if span.endswith("agents") else "turn" if span else "session"
    return Wish("use", _stripped(use["name"])[0], kind, alone=alone)


def _sentence(head: str) -> Wish | None:
    if "\n" not in head and len(head) <= MAX_SENTENCE:
        if _BACK.fullmatch(head):
            return Wish("use", "default", sure=False)
        found = _WHOLE.fullmatch(head)
        wish = _meant(found, alone=True) if found is not None else None
        if wish is not None:
            return wish
    found = _CLAUSE.match(head[: MAX_SENTENCE * 2])
    return _meant(found, alone=False) if found is not None else None


def _meant(found: re.Match[str], *, alone: bool) -> Wish | None:
    name, marked = _stripped(found["name"])
    words = name.casefold().split()
    if not words or len(words) > MAX_NAME_WORDS or words[0] in _PRONOUNS:
        return None
    if not (marked or found["this"] or found["long"]):
        return None
    return Wish("use", name, "turn" if found["this"] else "session", sure=False, alone=alone)


def _stripped(name: str) -> tuple[str, bool]:
    """A name without `my` and `model`, and whether one of them was there."""
    name = name.strip()
    article = _ARTICLE.match(name)
    bare = name[article.end() :] if article else name
    short = _NOUN.sub("", bare)
    marked = short != bare or (article is not None and article[1].casefold() == "my")
    return short.strip(), marked

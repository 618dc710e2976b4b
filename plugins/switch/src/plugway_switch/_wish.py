"""What a user typed last, and whether it asks for another model. Pure functions.

Precision over recall: a sentence that is missed goes to the model, which may have the gateway's MCP
tools; a sentence that is taken wrongly costs the user a turn. So a sentence counts only as a whole
message (or as the opening clause with `for this`), in a few forms, and only if it says `my …`,
`… model` or for how long. The line `@plugway …` is the sure way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from plugway import MessagesRequest, as_list, as_object

Verb = Literal["use", "list", "recommend", "help"]
Span = Literal["session", "turn", "agents"]

MAX_SENTENCE: Final = 120
MAX_NAME_WORDS: Final = 4
"""In a sentence: more words describe something else than a model."""
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

_SLIPPED_IN: Final = re.compile(
    r"<(system-reminder|command-[\w-]+|local-command-[\w-]+|ide_[\w-]+|user-prompt-submit-hook)>"
)
"""What the client adds to a turn by itself."""

_INTERRUPTED: Final = "[Request interrupted by user"

_LINE: Final = re.compile(r"@plugway(?:[ \t]+(?P<rest>[^\r\n]{0,200}))?[ \t]*", re.IGNORECASE)
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
class Turn:
    """What the user typed last."""

    text: str
    fresh: bool
    """It is the end of the conversation: no model has answered it and no tool has run."""
    clear: bool = True
    """It is the only text of its turn. Otherwise it is the last one, and another may be a file or
    what a client adds to results of tools: then only a line for the gateway counts."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a turn asks of the gateway."""

    verb: Verb
    name: str = ""
    """The model, as the user calls it."""
    span: Span = "session"
    sure: bool = True
    """It was written as a line for the gateway: a name that nothing has is then answered."""
    alone: bool = True
    """Nothing else was asked in the same turn."""


def turn_of(body: Mapping[str, Any]) -> Turn | None:
    """The last turn that a user typed; None where there is none.

    Results of tools, reminders, the output of commands and notes of an interruption are not typed.
    """
    fresh = True
    for message in map(as_object, reversed(as_list(body.get("messages")))):
        role, content = message.get("role"), message.get("content")
        if role == "system":
            continue
        texts = list(_typed(content)) if role == "user" else []
        results = any(as_object(b).get("type") == "tool_result" for b in as_list(content))
        if texts and (fresh or not results):
            return Turn(texts[-1], fresh, clear=len(texts) == 1 and not results)
        fresh = fresh and role == "user" and not results
    return None


def wish_of(text: str) -> Wish | None:
    """What `text` asks of the gateway, or None where it is meant for the model."""
    head = text[:_MAX_LOOKED_AT].strip()
    return _line(head) or _sentence(head)


def _line(head: str) -> Wish | None:
    first, _, rest = head.partition("\n")
    found = _LINE.fullmatch(first.strip())
    if found is None:
        return None
    alone = not rest.strip()
    said = (found["rest"] or "").strip()
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
    """A name without `my` and `model`, and whether one of them says that a model is meant."""
    name = name.strip()
    article = _ARTICLE.match(name)
    bare = name[article.end() :] if article else name
    short = _NOUN.sub("", bare)
    marked = short != bare or (article is not None and article[1].casefold() == "my")
    return short.strip(), marked


def _typed(content: object) -> Iterator[str]:
    if isinstance(content, str):
        texts = [content]
    else:
        blocks = map(as_object, as_list(content))
        texts = [
            t for b in blocks if b.get("type") == "text" and isinstance(t := b.get("text"), str)
        ]
    for text in texts:
        left = _without_slipped_in(text) if "<" in text else text
        if left.strip() and not left.startswith(_INTERRUPTED):
            yield left


def _without_slipped_in(text: str) -> str:
    """`text` without what stands in such tags, in time linear in its length."""
    pieces: list[str] = []
    last: dict[str, int] = {}
    at = 0
    for opening in _SLIPPED_IN.finditer(text):
        closing = f"</{opening[1]}>"
        if closing not in last:
            last[closing] = text.rfind(closing)
        if at <= opening.start() < last[closing]:
            pieces.append(text[at : opening.start()])
            at = text.index(closing, opening.end()) + len(closing)
    return "".join([*pieces, text[at:]])


def is_formatted(request: MessagesRequest) -> bool:
    """The answer must have a form: a question of the client's own, such as a title."""
    config: Any = request.body.get("output_config")
    return isinstance(config, Mapping) and "format" in config

"""What the user typed last, and lines in it that are meant for the gateway. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from plugway import Exchange, MessagesRequest, as_list, as_object

_SLIPPED_IN: Final = re.compile(
    r"<(system-reminder|command-[\w-]+|local-command-[\w-]+|ide_[\w-]+|user-prompt-submit-hook)>"
)
"""Text that the client adds to a turn."""

_INTERRUPTED: Final = "[Request interrupted by user"

REPLAY_HEADER: Final = "plugway-replay"
"""Marks a recorded request that is sent again, with the conversation that it is from."""

_NAME: Final = b"@plugway"
_LINE: Final = re.compile(r"@plugway(?:[ \t]+(?P<rest>[^\r\n]{0,200}))?[ \t]*", re.IGNORECASE)


@runtime_checkable
class ReadsLines(Protocol):
    """A plugin with lines `@plugway …` of its own, which it finds with `typed_line`."""

    def reads_line(self, line: GatewayLine) -> bool:
        """Whether a line is for this plugin; `switch` then leaves it alone."""
        ...


class GatewayLine(NamedTuple):
    """A line `@plugway …`."""

    said: str
    """The text after `@plugway`."""
    alone: bool
    """Whether the turn asks for nothing else."""

    @property
    def word(self) -> str:
        """The first word, in lower case."""
        return self.said.partition(" ")[0].casefold()


@dataclass(frozen=True, slots=True)
class Turn:
    """What the user typed last."""

    text: str
    fresh: bool
    """Whether it ends the conversation: no model has replied to it and no tool has run."""
    clear: bool = True
    """Whether it is the only text of its turn. Otherwise it is the last one, and another may be a
    file or text that a client adds to tool results: then only a line for the gateway counts."""


def turn_of(body: Mapping[str, Any]) -> Turn | None:
    """The last turn that the user typed; None if there is none.

    Tool results, reminders, command output and interruption notes are not typed.
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


def line_of(text: str) -> GatewayLine | None:
    """The line for the gateway with which a text begins, or None."""
    first, _, rest = text.lstrip().partition("\n")
    found = _LINE.fullmatch(first.strip())
    if found is None:
        return None
    return GatewayLine((found["rest"] or "").strip(), not rest.strip())


def typed_line(request: MessagesRequest, exchange: Exchange) -> GatewayLine | None:
    """The line for the gateway that the user typed just now, or None.

    It is the first of a message, and no model has replied to it. In a turn of several texts, of
    which one may be a file, it must be all of the last one.
    """
    if not _may_hold_line(request) or not is_typed(request, exchange):
        return None
    turn = turn_of(request.body)
    line = line_of(turn.text) if turn is not None and turn.fresh else None
    return line if turn and line and (turn.clear or line.alone) else None


def is_typed(request: MessagesRequest, exchange: Exchange) -> bool:
    """Whether a user types in this request, so that lines in it are for the gateway.

    A model wrote the prompt of a subagent, and the client its own requests, such as one for a
    title. Lines in a request that is replayed were for the gateway of that time.
    """
    own = exchange.agent_id is None and request.header(REPLAY_HEADER) is None
    return own and not is_formatted(request.body)


def is_formatted(body: Mapping[str, Any]) -> bool:
    """Whether a reply format is set: the client's own request, such as a title."""
    return "format" in as_object(body.get("output_config"))


def _may_hold_line(request: MessagesRequest) -> bool:
    """Whether a request can contain a line for the gateway, without parsing it."""
    original = request.original
    raw = original.body if original is not None and original.body else request.raw
    at = raw.find(b"@")  # a search for one byte is ten times as fast
    while at >= 0 and raw[at : at + len(_NAME)].lower() != _NAME:
        at = raw.find(b"@", at + 1)
    return at >= 0


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
    """`text` without the content of such tags, in time linear in its length."""
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

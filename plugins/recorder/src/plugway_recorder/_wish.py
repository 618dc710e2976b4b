"""How the person of a conversation asks for its recording: a line in the prompt, or a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from plugway import InvalidRequest, MessagesRequest
from plugway_endpoints import turn_of

HEADER: Final = "plugway-record"
REPLAY_HEADER: Final = "plugway-replay"
"""Marks a request that is replayed, with the conversation that it is from."""
_MENTIONED: Final = re.compile(rb"@plugway", re.IGNORECASE)
"""Only requests with it are parsed; the search takes 30 us per 100 KB."""
_LINE: Final = re.compile(
    r"@plugway[ \t]+(?:record(?:[ \t]+(?P<word>on|off|stop))?|stop[ \t]+recording)[ \t]*[.!]?",
    re.IGNORECASE,
)
_MOST: Final = 4000


@dataclass(frozen=True, slots=True)
class Wish:
    """Whether the conversation is to be recorded."""

    on: bool
    alone: bool = False
    """Whether the turn asks for nothing else, so that no model has to answer."""
    line: bool = True
    """Whether it was typed; otherwise it came as a header."""


def typed_wish(request: MessagesRequest) -> Wish | None:
    """The wish in the line that the user typed just now.

    A line counts if no model has replied to it, and if it is the first of a message. In a turn of
    several texts, of which one may be a file, it must be all of the last one.
    """
    source = request.raw if request.original is None else request.original.body
    if not _MENTIONED.search(source):
        return None
    turn = turn_of(request.body)
    if turn is None or not turn.fresh:
        return None
    first, _, rest = turn.text[:_MOST].strip().partition("\n")
    found = _LINE.fullmatch(first.strip())
    if found is None or (rest.strip() and not turn.clear):
        return None
    on = found["word"] is None and "stop" not in first.casefold()
    on = on or (found["word"] or "").casefold() == "on"
    return Wish(on, alone=not rest.strip())


def header_wish(request: MessagesRequest) -> Wish | None:
    """The wish in the header. Raises `InvalidRequest` for another value than `on` and `off`."""
    word = request.header(HEADER)
    if word is None:
        return None
    if word.strip().lower() not in ("on", "off"):
        raise InvalidRequest(f"{HEADER}: use `on` or `off`", retry=False, record=True)
    return Wish(word.strip().lower() == "on", line=False)

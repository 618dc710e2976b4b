"""How the person of a conversation asks for its recording: a line in the prompt, or a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from plugway import InvalidRequest, MessagesRequest
from plugway_endpoints import GatewayLine

HEADER: Final = "plugway-record"
_SAID: Final = re.compile(
    r"(?:record(?:[ \t]+(?P<word>on|off|stop))?|stop[ \t]+recording)[ \t]*[.!]?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Wish:
    """Whether the conversation is to be recorded."""

    on: bool
    alone: bool = False
    """Whether the turn asks for nothing else, so that no model has to answer."""
    line: bool = True
    """Whether it was typed; otherwise it came as a header."""


def wish_in(line: GatewayLine) -> Wish | None:
    """The wish in a line; None if it is about something else."""
    found = _SAID.fullmatch(line.said)
    if found is None:
        return None
    word = (found["word"] or "").casefold()
    on = word == "on" or (not word and line.word.startswith("record"))
    return Wish(on, alone=line.alone)


def header_wish(request: MessagesRequest) -> Wish | None:
    """The wish in the header. Raises `InvalidRequest` for another value than `on` and `off`."""
    word = request.header(HEADER)
    if word is None:
        return None
    if word.strip().lower() not in ("on", "off"):
        raise InvalidRequest(f"{HEADER}: use `on` or `off`", retry=False, record=True)
    return Wish(word.strip().lower() == "on", line=False)

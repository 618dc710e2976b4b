"""Late instructions of clients of other APIs, where Claude models take them. Pure functions.

The Messages API has the roles `user` and `assistant`, and wants each call followed by its result:
https://platform.claude.com/docs/en/api/messages, `messages`. A role `system` between turns is a
beta of a few models, with rules for its place: all of them take a reminder in the user's turn.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import blocks_of, is_blank, reminder, said_in

Blocks = list[Any]


def reminded(request: MessagesRequest) -> MessagesRequest:
    """The request with each system turn as a reminder in a user turn, and without blank texts of
    the assistant, which are refused; the same object where there are none."""
    messages = as_list(request.get("messages"))
    reasons: list[str] = []
    turns = map(_without_blanks, map(as_object, messages))
    kept = [turn for turn in turns if turn.get("content") or turn.get("role") != "assistant"]
    if kept != messages:
        reasons.append("blank texts left out")
    if any(turn.get("role") == "system" for turn in kept):
        reasons.append("late instructions sent as reminders in a user turn")
        kept = _placed(kept)
    if not reasons or not kept:
        return request
    return request.replace(because="; ".join(reasons), messages=kept)


_BLANK: Final = re.compile(rb'"text"\s*:\s*"(?:\s|\\[ntr])*"')


def without_blanks(request: MessagesRequest) -> MessagesRequest:
    """The request without blank texts of the assistant; the same object where there are none."""
    raw = request.unparsed("messages")
    if not _BLANK.search(request.raw if raw is None else bytes(raw)):
        return request
    messages = as_list(request.get("messages"))
    turns = list(map(_without_blanks, map(as_object, messages)))
    kept = [turn for turn in turns if turn.get("content") or turn.get("role") != "assistant"]
    if kept == messages or not kept:
        return request
    return request.replace(because="blank assistant texts left out", messages=kept)


def without_prefill(request: MessagesRequest) -> MessagesRequest:
    """The request without a last turn of the assistant, the beginning of the answer."""
    messages = list(as_list(request.get("messages")))
    while messages and as_object(messages[-1]).get("role") == "assistant":
        messages.pop()
    if len(messages) in (0, len(as_list(request.get("messages")))):
        return request
    because = "the model does not accept a prefilled reply"
    return request.replace(because=because, messages=messages)


def _without_blanks(turn: dict[str, Any]) -> dict[str, Any]:
    blocks = blocks_of(turn.get("content"))
    if turn.get("role") != "assistant" or not any(is_blank(as_object(b)) for b in blocks):
        return turn
    return {**turn, "content": [b for b in blocks if not is_blank(as_object(b))]}


def _placed(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The turns with those of the system in the user turn before or after them."""
    found: list[dict[str, Any]] = []
    waiting: Blocks = []
    """Reminders that stand after an assistant turn."""
    for turn in turns:
        blocks = blocks_of(turn.get("content"))
        if turn.get("role") == "system":
            told: Blocks = [{"type": "text", "text": reminder(text)} for text in _texts(blocks)]
            if found and found[-1].get("role") == "user":
                found[-1] = {**found[-1], "content": [*blocks_of(found[-1]["content"]), *told]}
            else:
                waiting += told
            continue
        if waiting and turn.get("role") == "user":
            turn, waiting = {**turn, "content": _after_results(blocks, waiting)}, []
        elif waiting:
            found.append({"role": "user", "content": waiting})
            waiting = []
        found.append(turn)
    return [*found, {"role": "user", "content": waiting}] if waiting else found


def _after_results(blocks: Blocks, told: Blocks) -> Blocks:
    """Results come first in their turn: a call without one right after it is refused."""
    results = [block for block in blocks if as_object(block).get("type") == "tool_result"]
    return [*results, *told, *(block for block in blocks if block not in results)]


def _texts(blocks: Blocks) -> list[str]:
    texts = [as_object(block).get("text") or said_in(as_object(block)) for block in blocks]
    return [text for text in texts if isinstance(text, str) and text.strip()]

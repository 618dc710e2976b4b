"""Late instructions and blank texts of clients of other APIs, as Claude models take them. Pure
functions.

The Messages API has the roles `user` and `assistant`, and wants each call followed by its result:
https://platform.claude.com/docs/en/api/messages, `messages`. A role `system` between turns is a
beta of a few models, with rules for its place: all of them take a reminder in the user's turn.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import blocks_of, is_blank, readable_text, reminder

Blocks = list[Any]


NO_TEXT: Final = "[no text]"
"""What stands in a turn of the user in which there is nothing else than blanks."""


def reminded(request: MessagesRequest) -> MessagesRequest:
    """The request with each system turn as a reminder in a user turn; the same object where there
    is none."""
    turns = list(map(as_object, as_list(request.get("messages"))))
    if not any(turn.get("role") == "system" for turn in turns):
        return request
    because = "late instructions sent as reminders in a user turn"
    return request.replace(because=because, messages=_placed(turns))


def plain_texts(request: MessagesRequest) -> MessagesRequest:
    """A request of a client of another API without blank texts, and without a blank at the end of
    an answer that is begun: both are refused. A turn of the user that has nothing else says so.

    The words of the refusals: "text content blocks must contain non-whitespace text", "all messages
    must have non-empty content except for the optional final assistant message", "final assistant
    content cannot end with trailing whitespace".
    """
    messages = as_list(request.get("messages"))
    turns = [_worded(turn) for turn in map(as_object, messages)]
    kept = [turn for turn in turns if turn.get("content")]
    reasons = ["blank texts left out"] if kept != messages else []
    if kept and (last := without_end(kept[-1])) is not kept[-1]:
        kept[-1] = last
        reasons.append("blanks at the end of an answer that is begun left out")
    if not reasons or not kept:
        return request
    return request.replace(because="; ".join(reasons), messages=kept)


def _worded(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn without blank texts, also in results; with a text where the user has nothing."""
    blocks = blocks_of(turn.get("content"))
    kept = [_result_worded(block) for block in blocks if not is_blank(as_object(block))]
    if not kept and turn.get("role") == "user":
        kept = [{"type": "text", "text": NO_TEXT}]
    return turn if kept == blocks else {**turn, "content": kept}


def _result_worded(block: Any) -> Any:
    inner = as_object(block)
    parts = as_list(inner.get("content"))
    if inner.get("type") != "tool_result" or not any(is_blank(as_object(part)) for part in parts):
        return block
    return {**inner, "content": [part for part in parts if not is_blank(as_object(part))]}


def without_end(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn of the assistant without blanks at its end; any other one as it is."""
    blocks = blocks_of(turn.get("content"))
    final = as_object(blocks[-1])
    text = final.get("text")
    if turn.get("role") != "assistant" or not isinstance(text, str) or text.rstrip() == text:
        return turn
    return {**turn, "content": [*blocks[:-1], {**final, "text": text.rstrip()}]}


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
    texts = [as_object(block).get("text") or readable_text(as_object(block)) for block in blocks]
    return [text for text in texts if isinstance(text, str) and text.strip()]

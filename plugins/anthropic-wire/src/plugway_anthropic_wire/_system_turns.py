"""Adapts late instructions and blank texts from other APIs to Claude models. Pure functions.

The Messages API has the roles `user` and `assistant`, and requires the result right after each
call: https://platform.claude.com/docs/en/api/messages, `messages`. The role `system` between turns
is a beta of a few models, with rules for its position; all models accept a reminder in a user turn.
"""

from __future__ import annotations

import re
from typing import Any, Final

from plugway import MessagesRequest, as_list, as_object
from plugway_translation import blocks_of, is_blank, readable_text, reminder
from plugway_wire.pieces import Mark

Blocks = list[Any]


NO_TEXT: Final = "[no text]"
"""Text of a user turn that contains only blanks."""


def with_reminders(request: MessagesRequest) -> MessagesRequest:
    """Turn each system turn into a reminder in a user turn.

    Returns the same object if there is none.
    """
    turns = list(map(as_object, as_list(request.get("messages"))))
    if not any(turn.get("role") == "system" for turn in turns):
        return request
    because = "late instructions sent as reminders in a user turn"
    return request.replace(because=because, messages=_placed(turns))


def plain_texts(request: MessagesRequest) -> MessagesRequest:
    """Remove blank texts, and trailing blanks of a prefilled reply, which the API rejects.

    For requests of other APIs. A user turn without other content gets a placeholder. The errors:
    "text content blocks must contain non-whitespace text", "all messages must have non-empty
    content except for the optional final assistant message", "final assistant content cannot end
    with trailing whitespace".
    """
    messages = as_list(request.get("messages"))
    turns = [_worded(turn) for turn in map(as_object, messages)]
    kept = [turn for turn in turns if turn.get("content")]
    reasons = ["blank texts left out"] if kept != messages else []
    if kept and (last := without_end(kept[-1])) is not kept[-1]:
        kept[-1] = last
        reasons.append("trailing blanks of a prefilled reply left out")
    if not reasons or not kept:
        return request
    return request.replace(because="; ".join(reasons), messages=kept)


def _worded(turn: dict[str, Any]) -> dict[str, Any]:
    """The turn without blank texts, also in results; with a placeholder if a user turn is empty."""
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
    """An assistant turn without trailing blanks; other turns unchanged."""
    blocks = blocks_of(turn.get("content"))
    final = as_object(blocks[-1])
    text = final.get("text")
    if turn.get("role") != "assistant" or not isinstance(text, str) or text.rstrip() == text:
        return turn
    return {**turn, "content": [*blocks[:-1], {**final, "text": text.rstrip()}]}


_BLANK: Final = Mark(re.compile(rb'"text"\s*:\s*"(?:\s|\\[ntr])*"'))


def without_blanks(request: MessagesRequest) -> MessagesRequest:
    """Remove blank assistant texts; returns the same object if there are none."""
    if not _BLANK.may_be_in(request, "messages"):
        return request
    messages = as_list(request.get("messages"))
    turns = list(map(_without_blanks, map(as_object, messages)))
    kept = [turn for turn in turns if turn.get("content") or turn.get("role") != "assistant"]
    if kept == messages or not kept:
        return request
    return request.replace(because="blank assistant texts left out", messages=kept)


def without_prefill(request: MessagesRequest) -> MessagesRequest:
    """Remove a last assistant turn, which would be continued."""
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
    """Move system turns into the user turn before or after them."""
    found: list[dict[str, Any]] = []
    waiting: Blocks = []
    """Reminders after an assistant turn, for the next user turn."""
    for turn in turns:
        blocks = blocks_of(turn.get("content"))
        if turn.get("role") == "system":
            reminders: Blocks = [
                {"type": "text", "text": reminder(text)} for text in _texts(blocks)
            ]
            if found and found[-1].get("role") == "user":
                blocks = [*blocks_of(found[-1]["content"]), *reminders]
                found[-1] = {**found[-1], "content": blocks}
            else:
                waiting += reminders
            continue
        if waiting and turn.get("role") == "user":
            turn, waiting = {**turn, "content": _after_results(blocks, waiting)}, []
        elif waiting:
            found.append({"role": "user", "content": waiting})
            waiting = []
        found.append(turn)
    return [*found, {"role": "user", "content": waiting}] if waiting else found


def _after_results(blocks: Blocks, reminders: Blocks) -> Blocks:
    """Insert reminders after the results, which must come first in their turn."""
    results = [block for block in blocks if as_object(block).get("type") == "tool_result"]
    return [*results, *reminders, *(block for block in blocks if block not in results)]


def _texts(blocks: Blocks) -> list[str]:
    texts = [as_object(block).get("text") or readable_text(as_object(block)) for block in blocks]
    return [text for text in texts if isinstance(text, str) and text.strip()]

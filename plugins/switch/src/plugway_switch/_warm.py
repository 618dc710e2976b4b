"""The next turn of a conversation ahead of time: to warm the cache, or to find its target."""

from __future__ import annotations

import logging
from typing import Any

from plugway import REMOVE, Caller, Gateway, MessagesRequest, PlugwayError, as_list, as_object

NEXT_TURN = "."
WARM_HEADER = "plugway-warm"
"""Marks the request, so that it is not mistaken for a turn of the conversation."""


def warm_request(request: MessagesRequest, model: str, said: str) -> MessagesRequest:
    """`request` with the confirmation and a next turn, for one token: its prefix is that of the
    request to come.

    The next turn is not a wish, so warming does not switch again.
    """
    turns = _turns(request, said)
    fields: dict[str, Any] = {"model": model, "messages": turns, "max_tokens": 1, "stream": False}
    if as_object(request.body.get("thinking")).get("type") == "enabled":
        fields["thinking"] = REMOVE  # its budget must be below `max_tokens`
    headers = {WARM_HEADER: "1"}
    return request.replace(because="read before the next turn comes", headers=headers, **fields)


async def warm(
    gateway: Gateway, request: MessagesRequest, caller: Caller, log: logging.Logger
) -> None:
    """Have its model read the request; a failure is only logged."""
    try:
        await gateway.ask(request, caller=caller)
    except PlugwayError as error:
        log.info("could not warm `%s`: %s", request.model, error.record)


def next_request(request: MessagesRequest, model: str) -> MessagesRequest:
    """The request that is expected after `request` was answered here: with the model id that the
    client sends, and a turn that asks for nothing in particular."""
    turns = _turns(request, NEXT_TURN)
    return request.replace(because="who would get the next turn", model=model, messages=turns)


def _turns(request: MessagesRequest, said: str) -> list[Any]:
    return [
        *as_list(request.body.get("messages")),
        {"role": "assistant", "content": [{"type": "text", "text": said}]},
        {"role": "user", "content": [{"type": "text", "text": NEXT_TURN}]},
    ]

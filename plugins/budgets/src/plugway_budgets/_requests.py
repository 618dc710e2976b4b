"""Requests as budgets see them: how large they are, and with a shorter reply. Pure functions."""

from __future__ import annotations

import re
from typing import Final

from plugway import MessagesRequest
from plugway_budgets._limits import Demand
from plugway_prices import LONG, Price, media_in, replies_in
from plugway_wire.reply_limit import reply_limit

_TOOLS: Final = 600
"""Most tokens that a server adds for tools; Anthropic adds up to 499:
https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing."""
_OWN_TOOL: Final = 2000
"""The same for the description of a tool that the server knows by its type; up to 735."""
_OWN_TOOLS: Final = re.compile(rb'_20\d{6}"')
_NO_LIMIT: Final = 32_000
"""Tokens of a reply for which the client gave no limit."""


def demand_of(request: MessagesRequest, price: Price | None, choices: frozenset[str]) -> Demand:
    """The most that a request can use, without knowing how many tokens its prompt has."""
    most = request.get("max_tokens")
    known = isinstance(most, int) and not isinstance(most, bool) and most >= 0
    return Demand(
        len(raw_of(request)) + beyond_bytes(request),
        most if known else _NO_LIMIT,
        price,
        LONG in choices,
        replies_in(request),
    )


def beyond_bytes(request: MessagesRequest) -> int:
    """Tokens that a prompt can have besides one for each byte: of media, and those that a server
    adds for tools."""
    raw, tokens = raw_of(request), media_in(request).tokens
    return tokens + (_TOOLS + _OWN_TOOL * len(_OWN_TOOLS.findall(raw)) if b"tools" in raw else 0)


def raw_of(request: MessagesRequest) -> bytes:
    """The body that makes up the prompt."""
    return request.raw if request.original is None else request.original.body


def is_open_ended(request: MessagesRequest) -> bool:
    """Whether the client gave no limit for the reply."""
    original = request.original
    if original is not None:
        return "max_tokens" in original.made_up
    return request.get("max_tokens") is None


def limited(request: MessagesRequest, most: int) -> MessagesRequest:
    """The request with a limit that is sent to the server too."""
    if request.original is not None:
        request.original.made_up.discard("max_tokens")  # otherwise it would not be sent
    return request.replace(max_tokens=most, because="a budget limits replies")


def shorter(request: MessagesRequest, most: int, because: str) -> MessagesRequest:
    """The request with a shorter reply, and its thinking budget below that."""
    return request.replace(because=because, **reply_limit(request.get("thinking"), most))

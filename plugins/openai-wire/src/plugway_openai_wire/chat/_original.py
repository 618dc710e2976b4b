"""Whether a server accepts a client's own conversation unchanged, according to known facts.

The conversation is not decoded, and is inspected only if a known fact may apply.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import orjson

from plugway import Original, as_list, as_object
from plugway_capabilities import Facts
from plugway_openai_wire.chat._policy import Quirks
from plugway_openai_wire.chat._thinking import FIELDS, is_refused

_BLANK_BYTES: Final = 1000
"""Size limit of a content that is checked for being blank."""


class _Message(msgspec.Struct):
    role: str | None = None
    content: msgspec.Raw = msgspec.Raw(b"null")
    tool_calls: msgspec.Raw = msgspec.Raw(b"null")
    prefix: bool | None = None


_NEVER: Final = frozenset((("user", "tool"), ("user", "user"), ("assistant", "assistant")))
"""Pairs of consecutive roles that strict templates reject."""
_NESTED: Final = re.compile(rb'"(?:function|custom)"\s*:')
"""In a tool of Chat, before its name."""
_FLAT: Final = re.compile(rb'"type"\s*:\s*"(?:function|custom)"')
_MESSAGES: Final = msgspec.json.Decoder(list[_Message])


def accepts_original(original: Original, quirks: Quirks, facts: Facts) -> bool:
    """Whether the server is not known to reject anything in `original`."""
    back = quirks.reasoning_back and facts.reasoning_back != "rejected"
    thoughts = [name for name in FIELDS if is_refused(name, facts) or not back]
    if any(_has(original, name) for name in thoughts) or _has_flat_tools(original):
        return False
    strict = quirks.strict_order or facts.turn_order == "strict"
    if not strict and facts.prefill != "rejected":
        return True
    try:
        messages = _MESSAGES.decode(_messages(original))
    except msgspec.DecodeError:
        return True  # not a list of messages: the server decides
    last = messages[-1] if messages else _Message()
    if last.role == "assistant" and (facts.prefill == "rejected" or not last.prefix):
        return False
    return not strict or _is_ordered(messages)


def _has(original: Original, name: str) -> bool:
    """Whether a message has a field of that name; in a text its quotes would be escaped."""
    key = b'"%b"' % name.encode()
    if key not in original.body:
        return False
    return re.search(key + rb"\s*:", _messages(original)) is not None


def _has_flat_tools(original: Original) -> bool:
    """Whether the tools are written as in the Responses API, which only a translation accepts."""
    raw = _field(original, "tools")
    return _FLAT.search(raw) is not None and _NESTED.search(raw) is None


def _messages(original: Original) -> bytes:
    return _field(original, "messages")


def _field(original: Original, name: str) -> bytes:
    raw = original.unparsed(name)
    return orjson.dumps(original.get(name)) if raw is None else bytes(raw)


def _is_ordered(messages: Sequence[_Message]) -> bool:
    """Whether a strict chat template accepts these roles (see `_order`)."""
    before = ""
    for message in messages:
        role = message.role or ""
        if role == "developer" or (role == "system" and before) or (role, before) in _NEVER:
            return False
        uncalled = bytes(message.tool_calls) in (b"null", b"[]")
        if role == "assistant" and uncalled and _is_blank(bytes(message.content)):
            return False
        before = role
    return True


def _is_blank(content: bytes) -> bool:
    if len(content) > _BLANK_BYTES:
        return False
    value = orjson.loads(content)
    parts = as_list(value) if isinstance(value, list) else [{"text": value or ""}]
    texts = [as_object(part).get("text") for part in parts]
    return all(isinstance(text, str) and not text.strip() for text in texts)

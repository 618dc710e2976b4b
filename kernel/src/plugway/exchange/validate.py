"""Validates requests before plugins see them, with the error messages of the API.

Only what all backends need is checked; backends validate the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from plugway.types.request import MessagesRequest
from plugway_wire.errors import InvalidRequest
from plugway_wire.json import as_list, as_object
from plugway_wire.shape import wrong_choice

MAX_MODEL_CHARACTERS: Final = 256
MAX_TOKENS: Final = 2**31 - 1


def validate(request: MessagesRequest, *, counting: bool = False) -> None:
    """Raise `InvalidRequest` for the first invalid field; `counting` needs no `max_tokens`."""
    problem = (
        _model(request.get("model", ...))
        or ("" if _has_messages(request) else _messages(request.get("messages", ...)))
        or ("" if counting else _max_tokens(request.get("max_tokens", ...)))
        or _stream(request.get("stream", ...))
    )
    if problem:
        raise InvalidRequest(problem, retry=False, record=True)


def _model(value: Any) -> str:
    if value is ...:
        return "model: Field required"
    if not isinstance(value, str):
        return "model: Input should be a valid string"
    if not value.strip():
        return "model: String should have at least 1 character"
    if len(value) > MAX_MODEL_CHARACTERS:
        return f"model: String should have at most {MAX_MODEL_CHARACTERS} characters"
    if not value.isprintable():
        return "model: String should have printable characters only"
    return ""


def validate_blocks(body: Mapping[str, Any]) -> None:
    """Validate what a backend for another API could not translate. Raises `InvalidRequest` for the
    first list item that is not an object, block without a `type`, or invalid `tool_choice`."""
    problem = _blocks(body.get("system"), "system") or _objects(body.get("tools"), "tools")
    problem = problem or wrong_choice(body)
    for index, message in enumerate(as_list(body.get("messages"))):
        problem = problem or _blocks(message["content"], f"messages.{index}.content")
    if problem:
        raise InvalidRequest(problem, retry=False)


def _blocks(value: Any, place: str) -> str:
    if problem := _objects(value, place):
        return problem
    for index, block in enumerate(as_list(value)):
        if not isinstance(block.get("type"), str):
            return f"{place}.{index}.type: Field required"
        if block["type"] == "tool_result":
            inner = block.get("content")
            if not (inner is None or isinstance(inner, str | list)):
                return f"{place}.{index}.content: Input should be a string or a list of blocks"
            if problem := _blocks(inner, f"{place}.{index}.content"):
                return problem
    return ""


def _objects(value: Any, place: str) -> str:
    for index, item in enumerate(as_list(value)):
        if not isinstance(item, dict):
            return f"{place}.{index}: Input should be an object"
    return ""


class _Message(msgspec.Struct):
    role: str
    content: msgspec.Raw


_MESSAGES: Final = msgspec.json.Decoder(list[_Message])


def _has_messages(request: MessagesRequest) -> bool:
    """Whether `messages` are valid, checked without parsing their content."""
    raw = request.unparsed("messages")
    if raw is None:
        return False
    try:
        messages = _MESSAGES.decode(raw)
    except msgspec.DecodeError:
        return False
    return bool(messages) and all(memoryview(item.content)[0] in b'"[' for item in messages)


def _messages(value: Any) -> str:
    if value is ...:
        return "messages: Field required"
    if not isinstance(value, list):
        return "messages: Input should be a valid list"
    if not value:
        return "messages: at least one message is required"
    for index, item in enumerate(as_list(value)):
        if not isinstance(item, dict):
            return f"messages.{index}: Input should be an object"
        message = as_object(item)
        if not isinstance(message.get("role"), str):
            return f"messages.{index}.role: Field required"
        if not isinstance(message.get("content"), str | list):
            return f"messages.{index}.content: Input should be a string or a list of blocks"
    return ""


def _max_tokens(value: Any) -> str:
    if value is ...:
        return "max_tokens: Field required"
    if not isinstance(value, int) or isinstance(value, bool):
        return "max_tokens: Input should be a valid integer"
    if not 0 <= value <= MAX_TOKENS:
        return f"max_tokens: Input should be between 0 and {MAX_TOKENS}"
    return ""


def _stream(value: Any) -> str:
    return "" if value is ... or isinstance(value, bool) else "stream: Input should be a boolean"

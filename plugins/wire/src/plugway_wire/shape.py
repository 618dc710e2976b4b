"""Checks the types in an upstream's events and messages, and the `tool_choice` of a request.

Only members that the gateway's code relies on are checked; unknown types and members pass. Source:
`types/raw_message_stream_event.py`, `types/message.py` and `types/tool_choice_param.py` of the
`anthropic` SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, Final

from plugway_wire.json import as_list, as_object

_TEXTS: Final = {
    "text_delta": "text",
    "thinking_delta": "thinking",
    "signature_delta": "signature",
    "text": "text",
    "thinking": "thinking",
}
"""The text member of a delta or block, by its type."""
_NAMES: Final = ("id", "type", "role", "model")


def wrong_in_event(type_: str, data: Mapping[str, Any]) -> str:
    """The first invalid member of an event; empty if all are valid."""
    check = _CHECKS.get(type_)
    if check is None:
        return ""
    return "type" if data.get("type", type_) != type_ else check(data)


def wrong_in_message(message: Mapping[str, Any]) -> str:
    """The first invalid member of a whole message; empty if all are valid."""
    content = message.get("content")
    if not isinstance(content, list):
        return "content"
    for index, block in enumerate(content):  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        if wrong := _typed(block, f"content.{index}", texts=True):
            return wrong
    return _head(message, "") or _reasons(message, "")


def wrong_choice(body: Mapping[str, Any]) -> str:
    """Why the `tool_choice` of a request is invalid, as the API reports it; empty if it is valid
    or missing. Servers of other vendors would silently ignore it."""
    choice = body.get("tool_choice")
    if choice is None:
        return ""
    kind = as_object(choice).get("type")
    if kind not in ("any", "auto", "none", "tool"):
        return "tool_choice.type: Input should be 'auto', 'any', 'none' or 'tool'"
    if kind == "tool" and not isinstance(choice.get("name"), str):
        return "tool_choice.tool.name: Field required"
    if kind in ("any", "tool") and not as_list(body.get("tools")):
        return f"tool_choice: `{kind}` demands a call, and `tools` has none"
    return ""


def _message_start(data: Mapping[str, Any]) -> str:
    message = data.get("message")
    return _head(message, "message.") if isinstance(message, dict) else "message"  # pyright: ignore[reportUnknownArgumentType]


def _block_start(data: Mapping[str, Any]) -> str:
    return _index(data) or _typed(data.get("content_block"), "content_block", texts=False)


def _block_delta(data: Mapping[str, Any]) -> str:
    delta = data.get("delta")  # some servers send `null`
    return _index(data) or ("" if delta is None else _typed(delta, "delta", texts=True))


def _message_delta(data: Mapping[str, Any]) -> str:
    delta = data.get("delta")
    if delta is None:
        return _object(data, "usage", "")
    if not isinstance(delta, dict):
        return "delta"
    return _reasons(delta, "delta.") or _object(data, "usage", "")  # pyright: ignore[reportUnknownArgumentType]


def _index(data: Mapping[str, Any]) -> str:
    return "" if type(data.get("index", 0)) is int else "index"


def _no_members(_: Mapping[str, Any]) -> str:
    return ""


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "message_start": _message_start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": _index,
    "message_delta": _message_delta,
    "message_stop": _no_members,
    "ping": _no_members,
}


_MEMBERS: Final[Mapping[str, tuple[str, Any]]] = {
    "input_json_delta": ("partial_json", (str, NoneType)),
    "citations_delta": ("citation", dict),
    "text": ("citations", (list, NoneType)),
    "thinking": ("signature", (str, NoneType)),
}
"""Another checked member of a delta or block, by its type; items of a list must be objects."""


def _typed(value: Any, place: str, *, texts: bool) -> str:
    if not isinstance(value, dict):
        return place
    kind: Any = value.get("type")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(kind, str):
        return f"{place}.type"
    member, fits = _MEMBERS.get(kind, ("", object))
    inner: Any = value.get(member)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(inner, fits):
        return f"{place}.{member}"
    if isinstance(inner, list) and not all(isinstance(item, dict) for item in as_list(inner)):
        return f"{place}.{member}"
    name = _TEXTS.get(kind)
    if name is None:
        return ""
    text: Any = value.get(name, None if texts else "")  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return "" if isinstance(text, str) else f"{place}.{name}"


def _head(message: Mapping[str, Any], place: str) -> str:
    for name in _NAMES:
        if not isinstance(message.get(name, ""), str):
            return place + name
    return _object(message, "usage", place)


def _reasons(holder: Mapping[str, Any], place: str) -> str:
    for name in ("stop_reason", "stop_sequence"):
        if not isinstance(holder.get(name), (str, NoneType)):
            return place + name
    return ""


def _object(holder: Mapping[str, Any], name: str, place: str) -> str:
    return "" if isinstance(holder.get(name), (dict, NoneType)) else place + name

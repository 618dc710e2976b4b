"""The conversation after a bad call: the call, and its problems as its result."""

from __future__ import annotations

from typing import Any, Final

import orjson

from plugway import MessagesRequest, as_list, new_id
from plugway_tool_repair._blocks import BadCall
from plugway_tool_repair._tools import Toolbox, is_object

_AGAIN: Final = "Call again with arguments that fit the schema."
_BESIDE: Final = (
    "The call was not made, because another call of the same reply is invalid. Make it again, too."
)
_MOST_SHOWN: Final = 2000
"""Characters of unreadable arguments that are shown to the model."""
_UNREAD: Final = (
    "The call was not made, because it cannot be parsed. Make it again, with nothing before it. In "
    "JSON, quotes, backslashes and line breaks inside strings are escaped."
)


def problems_of(bad: BadCall) -> str:
    return f"`{bad.name}`: " + "; ".join(bad.problems)


def recorded(bad: BadCall, toolbox: Toolbox) -> str:
    """The same for the receipt, without text of the model."""
    count = len(bad.problems)
    return f"{toolbox.called(bad.name)} has {count} problem{'s'[: count > 1]}"


def extended(request: MessagesRequest, bad: BadCall) -> MessagesRequest:
    """The conversation with the calls of the reply, and the problems of the bad one."""
    said, results = list[Any](), list[Any]()
    for name, arguments in bad.others:
        _add_call(name, arguments, _BESIDE, said, results)
    if bad.source:
        said.insert(0, {"type": "text", "text": bad.source.strip()})
        results.append({"type": "text", "text": _UNREAD})
    else:
        text = f"The call was not made. {problems_of(bad)}. {_AGAIN}"
        if not is_object(bad.arguments):  # the call in the conversation cannot show them
            text += f" Its arguments were: {bad.arguments[:_MOST_SHOWN]}"
        _add_call(bad.name, bad.arguments, text, said, results)
    messages = [
        *as_list(request.body.get("messages")),
        {"role": "assistant", "content": said},
        {"role": "user", "content": results},
    ]
    return request.replace(messages=messages, because="the model gets the problems of its call")


def _add_call(name: str, arguments: str, text: str, said: list[Any], results: list[Any]) -> None:
    """Add a call that was not made, and why."""
    given: Any = orjson.loads(arguments) if is_object(arguments) else {}
    identifier = new_id("toolu")
    said.append({"type": "tool_use", "id": identifier, "name": name, "input": given})
    result = {"type": "tool_result", "tool_use_id": identifier, "is_error": True, "content": text}
    results.append(result)

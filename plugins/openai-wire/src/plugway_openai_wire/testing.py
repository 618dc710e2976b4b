"""Chat Completions responses for `ScriptedUpstream`, as documented by OpenAI. For tests.

Needs `plugway[testing]`. Shapes: `types/chat/chat_completion_chunk.py` of the `openai` SDK.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from plugway.testing import ReceivedRequest, respond, sse

USAGE = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17}

ToolCall = tuple[str, str, str]
"""Id, name, and arguments as JSON text."""


def data(payload: Mapping[str, Any]) -> bytes:
    """Encode one event of a stream."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def chunk(delta: Mapping[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Build one chunk."""
    choice = {"index": 0, "delta": dict(delta), "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice], **more}


def tool_delta(index: int, arguments: str = "", **more: Any) -> dict[str, Any]:
    """Build a delta with a piece of a call; pass `id` and `name` in `more`."""
    function = {"arguments": arguments}
    if "name" in more:
        function["name"] = more.pop("name")
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def chat_chunks(
    text: str = "Hello.",
    *,
    tool_calls: Sequence[ToolCall] = (),
    thinking: str = "",
    field: str = "reasoning_content",
    finish: str = "",
    usage: Mapping[str, Any] | None = USAGE,
) -> list[dict[str, Any]]:
    """The chunks of a reply: role, thinking, text word by word, calls in two pieces, usage."""
    chunks = [chunk({"role": "assistant", "content": "", "refusal": None})]
    chunks += [chunk({field: word, "content": None}) for word in _words(thinking)]
    chunks += [chunk({"content": word}) for word in _words(text)]
    for index, (call_id, name, arguments) in enumerate(tool_calls):
        half = len(arguments) // 2
        first = tool_delta(index, arguments[:half], id=call_id, type="function", name=name)
        chunks += [chunk(first), chunk(tool_delta(index, arguments[half:]))]
    chunks.append(chunk({}, finish or ("tool_calls" if tool_calls else "stop")))
    if usage is not None:
        chunks.append({"id": "chatcmpl-1", "choices": [], "usage": dict(usage)})
    return chunks


def chat_stream(text: str = "Hello.", **more: Any) -> list[Any]:
    """The events of a reply, including `[DONE]`; takes the arguments of `chat_chunks`."""
    return [*map(data, chat_chunks(text, **more)), b"data: [DONE]\n\n"]


def chat_message(
    text: str | None = "Hello.",
    *,
    tool_calls: Sequence[ToolCall] = (),
    finish: str = "",
    usage: Mapping[str, Any] | None = USAGE,
    **members: Any,
) -> dict[str, Any]:
    """A complete response; `members` are added to its message."""
    message: dict[str, Any] = {"role": "assistant", "content": text, **members}
    if tool_calls:
        message["tool_calls"] = [
            {"id": i, "type": "function", "function": {"name": n, "arguments": a}}
            for i, n, a in tool_calls
        ]
    reason = finish or ("tool_calls" if tool_calls else "stop")
    choice = {"index": 0, "message": message, "finish_reason": reason}
    answer = {"id": "chatcmpl-1", "object": "chat.completion", "model": "up", "choices": [choice]}
    return answer if usage is None else {**answer, "usage": dict(usage)}


def chat_server(text: str = "Hello.", **more: Any) -> Callable[[ReceivedRequest], list[Any]]:
    """A server that answers every request alike, streaming if requested, and lists one model."""

    def answer(request: ReceivedRequest) -> list[Any]:
        if request.method == "GET":
            return respond(200, {"object": "list", "data": [{"id": "up", "object": "model"}]})
        if request.json.get("stream"):
            return sse(chat_stream(text, **more))
        return respond(200, chat_message(text, **more))

    return answer


def _words(text: str) -> list[str]:
    return [word + " " for word in text.split(" ")[:-1]] + text.split(" ")[-1:] if text else []

"""Calls in the text of a reply that is relayed to a client of Chat Completions.

Events without a call pass byte for byte; others are rewritten in the format of
`types/chat/chat_completion_chunk.py` of the `openai` SDK. Calls that the server parsed are not
checked, and nothing is retried. `_mend` interprets the text.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from plugway import (
    MAX_EVENT_BYTES,
    BackendProtocolError,
    InvalidRequest,
    Original,
    StreamEvent,
    as_list,
    as_object,
    event,
    new_id,
)
from plugway_tool_repair._mend import Mender
from plugway_tool_repair._tools import Verdict
from plugway_tool_repair._wire import Decoder

Delta = dict[str, Any]
"""The `delta` of a choice."""
DIALECT: Final = "openai-chat"
"""The dialect of clients that speak Chat Completions."""
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_DONE: Final = b"[DONE]"


def may_hold_calls(original: Original) -> bool:
    """Whether the client accepts a `function` call of each of its tools, and only one choice."""
    try:
        kinds = {as_object(tool).get("type") for tool in as_list(original.get("tools"))}
        return kinds == {"function"} and original.get("n") in (None, 1)
    except InvalidRequest:
        return False


class ChatText:
    """The text of one reply, and the deltas for the client."""

    def __init__(self, mender: Mender, note: Callable[[str], None]) -> None:
        mender.judged = True
        self._mender = mender
        self._note = note
        self._open = False
        self._index = -1
        """Index of the last block of the Messages API."""
        self._calls: list[list[str]] = []
        """Name and arguments of the calls found so far. They are sent last, because the server may
        have parsed them too."""
        self._native: dict[int, list[str]] = {}
        """The same for calls that the server parsed, by index."""
        self._size = 0

    def feed(self, text: str) -> list[Delta]:
        """The deltas for a piece of text."""
        found: list[Delta] = []
        if not self._open:
            self._open, self._index = True, self._index + 1
            block = {"type": "text", "text": ""}
            found += self._fed(event("content_block_start", index=self._index, content_block=block))
        delta = {"type": "text_delta", "text": text}
        return found + self._fed(event("content_block_delta", index=self._index, delta=delta))

    def parsed(self, calls: Iterable[Any]) -> list[Delta]:
        """The deltas before pieces of calls that the server parsed."""
        for number, item in enumerate(map(as_object, calls)):
            function = as_object(item.get("function"))
            name, arguments = (str(function.get(key) or "") for key in ("name", "arguments"))
            index = item.get("index", number)
            known = self._native.setdefault(index if isinstance(index, int) else 0, ["", ""])
            known[0] = known[0] or name
            self._size += len(arguments)
            if self._size <= MAX_EVENT_BYTES:
                known[1] += arguments
        return self._leave()

    def end(self, reason: Any) -> list[Delta]:
        """The last deltas of a reply that ends with this `finish_reason`."""
        ending = {"stop_reason": _REASONS.get(reason, reason)}
        deltas = self._leave() + self._fed(event("message_delta", delta=ending))
        twice = [_key(*call) for call in self._native.values()]
        index = max(self._native, default=-1)
        for name, arguments in self._calls:
            if _key(name, arguments) in twice:
                self._note(f"the call to `{name}` was sent twice, as text and as a call")
                continue
            index += 1
            function = {"name": name, "arguments": arguments}
            call = {"index": index, "id": new_id("call"), "type": "function"}
            deltas.append({"tool_calls": [{**call, "function": function}]})
        return deltas

    def reason(self, received: Any) -> Any:
        """The matching `finish_reason`."""
        if self._native:
            return received
        if self._mender.cut is not None:
            return "length"
        return "tool_calls" if self._calls and received in ("stop", None) else received

    def _leave(self) -> list[Delta]:
        if not self._open:
            return []
        self._open = False
        return self._fed(event("content_block_stop", index=self._index))

    def _fed(self, item: StreamEvent) -> list[Delta]:
        deltas = (self._delta(made) for made in self._mender.feed(item))
        return [delta for delta in deltas if delta]

    def _delta(self, made: StreamEvent) -> Delta:
        block, delta = (as_object(made.data.get(name)) for name in ("content_block", "delta"))
        match block.get("type") or delta.get("type"):
            case "tool_use":
                self._calls.append([str(block.get("name")), ""])
            case "input_json_delta":
                self._calls[-1][1] += str(delta.get("partial_json"))
            case "text_delta":
                return {"content": delta.get("text")}
            case "thinking_delta":
                return {"reasoning_content": delta.get("thinking")}
            case _:
                pass
        return {}


def _key(name: str, arguments: str) -> tuple[str, bytes]:
    return Verdict(name, arguments).key


async def read_stream(chunks: AsyncIterator[bytes], text: ChatText) -> AsyncIterator[bytes]:
    """The bytes of a stream, with calls in its text converted.

    Raises:
        BackendError: the stream broke off, or an event is larger than `MAX_EVENT_BYTES`.
    """
    decoder, reader = Decoder(), _Events(text)
    async for chunk in chunks:
        if out := b"".join(reader.read(item) for item in decoder.feed(chunk)):
            yield out
    if rest := decoder.rest:
        yield rest


class _Events:
    """The events of one stream."""

    def __init__(self, text: ChatText) -> None:
        self._text = text
        self._frame: Mapping[str, Any] = {}
        """Fields that all events of the reply have."""
        self._over = False

    def read(self, item: StreamEvent) -> bytes:
        """The client's bytes for an event."""
        raw = item.encode()
        if _DONE in raw and not self._over:
            return self._ended(None) + raw
        if b'"choices"' not in raw or self._over:
            return raw
        try:
            data = item.data
        except BackendProtocolError:
            return raw  # the client reports the invalid event
        choices = as_list(data.get("choices"))
        choice = as_object(choices[0]) if len(choices) == 1 else {}
        if not choice or choice.get("index", 0) != 0:
            return raw
        self._frame = {key: data[key] for key in data if key not in ("choices", "usage")}
        return self._chosen(raw, data, choice)

    def _chosen(self, raw: bytes, data: Mapping[str, Any], choice: dict[str, Any]) -> bytes:
        delta, finish = as_object(choice.get("delta")), choice.get("finish_reason")
        out, changed = b"", False
        if (content := delta.get("content")) and isinstance(content, str):
            deltas = self._text.feed(content)
            if deltas != [{"content": content}]:
                out += self._written(deltas)
                delta, changed = {k: delta[k] for k in delta if k != "content"}, True
        if native := as_list(delta.get("tool_calls")):
            out += self._written(self._text.parsed(native))
        if finish is not None:
            out += self._ended(finish)
            if (reason := self._text.reason(finish)) != finish:
                finish, changed = reason, True
        if not changed:
            return out + raw
        if not delta and finish is None and not data.get("usage"):
            return out
        new = {**choice, "delta": delta, "finish_reason": finish}
        return out + _event({**data, "choices": [new]})

    def _ended(self, reason: str | None) -> bytes:
        self._over = True
        return self._written(self._text.end(reason))

    def _written(self, deltas: Iterable[Mapping[str, Any]]) -> bytes:
        choices = ({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas)
        return b"".join(_event({**self._frame, "choices": [choice]}) for choice in choices)


def read_whole(body: bytes, text: ChatText) -> bytes:
    """A complete reply, with calls in its text converted; the same bytes if there are none."""
    data: dict[str, Any] = {}
    with suppress(orjson.JSONDecodeError):
        data = as_object(orjson.loads(body))
    choices = as_list(data.get("choices"))
    choice = as_object(choices[0]) if len(choices) == 1 else {}
    message, finish = as_object(choice.get("message")), choice.get("finish_reason")
    content = message.get("content")
    if not content or not isinstance(content, str):
        return body
    native = as_list(message.get("tool_calls"))
    deltas = [*text.feed(content), *text.parsed(native), *text.end(finish)]
    if deltas == [{"content": content}]:
        return body
    new = {**message, "content": _joined(deltas, "content") or None}
    if thought := _joined(deltas, "reasoning_content"):
        new["reasoning_content"] = str(message.get("reasoning_content") or "") + thought
    made = [as_object(call) for delta in deltas for call in as_list(delta.get("tool_calls"))]
    calls = [*native, *({key: call[key] for key in call if key != "index"} for call in made)]
    if calls:
        new["tool_calls"] = calls
    chosen = {**choice, "message": new, "finish_reason": text.reason(finish)}
    return orjson.dumps({**data, "choices": [chosen]})


def _joined(deltas: Iterable[Mapping[str, Any]], name: str) -> str:
    return "".join(str(delta[name]) for delta in deltas if name in delta)


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"

"""The bytes of a chat reply that is relayed, with calls in its text converted; see `_chat`.

Events without a call pass byte for byte, but a piece of text that may begin one is sent with the
next piece; others are rewritten in the format of
`types/chat/chat_completion_chunk.py` of the `openai` SDK.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

from plugway import BackendError, BackendProtocolError, as_list, as_object
from plugway_tool_repair._chat import ChatText, Delta
from plugway_tool_repair._wire import Decoder, event_of

_REASONED: Final = {"reasoning_content": True}
_DONE: Final = re.compile(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:[\r\n]|$)")
"""The event that ends a stream. The same text inside JSON is not a line of its own."""
_NOTHING: Final = rb'"\w+": ?(?:null|"")'
_IN_CHOICE: Final = rb'(?:"index": ?0|%b)' % _NOTHING
_IN_DELTA: Final = rb'(?:"role": ?"assistant"|%b)' % _NOTHING
_STRING: Final = rb'"((?:[^"\\]|\\.)++)"'
_PLAIN: Final = re.compile(
    rb'"choices": ?\[\{(?:%b, ?)*"delta": ?\{(?:%b, ?)*' % (_IN_CHOICE, _IN_DELTA)
    + rb'(?:"content": ?%b|"reasoning(?:_content)?": ?%b)' % (_STRING, _STRING)
    + rb"(?:, ?%b)*\}(?:, ?%b)*\}\]" % (_IN_DELTA, _IN_CHOICE)
)
"""The only choice, if it has nothing but a piece of text or of reasoning."""


class ChatStream:
    """The bytes of one stream, with calls in its text converted."""

    def __init__(self, text: ChatText) -> None:
        self._decoder, self._events = Decoder(), _Events(text)

    @property
    def over(self) -> bool:
        """Whether the reply has ended."""
        return self._events.over

    def feed(self, chunk: bytes) -> bytes:
        """The client's bytes for the next ones of the server.

        Raises:
            BackendProtocolError: an event is larger than `MAX_EVENT_BYTES`.
        """
        return b"".join([self._events.read(raw) for raw in self._decoder.feed(chunk)])

    def end(self) -> bytes:
        """The client's bytes for what is held back when the stream has ended."""
        rest, self._decoder = self._decoder.rest, Decoder()
        return self._events.broken() + rest

    async def read(self, chunks: AsyncIterator[bytes], head: bytes = b"") -> AsyncIterator[bytes]:
        """`head`, and the client's bytes for all that follows.

        Raises:
            BackendError: the stream broke off, or an event is larger than `MAX_EVENT_BYTES`.
        """
        if head:
            yield head
        try:
            async for chunk in chunks:
                if out := self.feed(chunk):
                    yield out
        except BackendError:
            if out := self._events.broken():
                yield out
            raise
        if out := self.end():
            yield out


class _Events:
    """The events of one stream."""

    def __init__(self, text: ChatText) -> None:
        self._text = text
        self._last: Mapping[str, Any] = {}
        """The last event with content."""
        self.over = False
        self._reason: Any = None
        """The `finish_reason` sent, once the reply is over."""
        self._held: list[tuple[bytes, Delta]] = []
        """Events with calls that the server parsed, and what else is in their deltas."""

    def read(self, raw: bytes) -> bytes:
        """The client's bytes for an event."""
        if b"[DONE]" in raw and _DONE.search(raw) is not None:
            return raw if self.over else self._done() + raw
        at = raw.find(b'"choices"')
        if (at < 0 and b'"error"' not in raw) or (not self.over and self._is_plain(raw, at)):
            return raw
        try:
            data = event_of(raw).data
        except BackendProtocolError:
            return raw  # the client reports the invalid event
        if data.get("error"):
            return self.broken() + raw
        choices = as_list(data.get("choices"))
        choice = as_object(choices[0]) if len(choices) == 1 else {}
        if not choice or choice.get("index", 0) != 0:
            return raw
        if self.over:
            return self._after(raw, data, choice)
        self._last = data
        return self._chosen(raw, data, choice)

    def broken(self) -> bytes:
        """The client's bytes for what is held back, if the reply has not ended."""
        if self.over:
            return b""
        self.over = True
        deltas = self._text.broken()
        return self._released() + self._written(deltas)

    def _done(self) -> bytes:
        """The client's bytes at `[DONE]`, if there was no `finish_reason`."""
        out = self._ended(None)
        if self._reason is None:
            return out
        ending: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": self._reason}
        return out + _event({**self._frame, "choices": [ending]})

    def _after(self, raw: bytes, data: Mapping[str, Any], choice: dict[str, Any]) -> bytes:
        """An event behind the end; a second `finish_reason` says the same as the first."""
        finish = choice.get("finish_reason")
        if as_object(choice.get("delta")).get("tool_calls"):
            return b""  # no client expects a call here, and it was not checked
        if not finish or self._reason is None or finish == self._reason:
            return raw
        return _event({**data, "choices": [{**choice, "finish_reason": self._reason}]})

    def _is_plain(self, raw: bytes, at: int) -> bool:
        """Whether an event whose choices are at `at`, seen without parsing it, has only a piece of
        reasoning, or of text that passes."""
        found = _PLAIN.match(raw, at)
        if found is None or not self._last or b'"error"' in raw:
            return False
        if raw.find(b'"choices"', found.end()) >= 0:
            return False
        said = found[1]
        if said is None:
            self._text.shows(_REASONED)
            return True
        try:
            text = orjson.loads(b'"%b"' % said) if b"\\" in said else said.decode()
        except ValueError:  # of UTF-8, and of JSON
            return False
        return self._text.passes(text)

    def _chosen(self, raw: bytes, data: Mapping[str, Any], choice: dict[str, Any]) -> bytes:
        delta, finish = as_object(choice.get("delta")), choice.get("finish_reason") or None
        self._text.shows(delta)
        out, changed = b"", False
        content, others = _split(delta.get("content"))
        self._text.shows({"others": others})
        if content:
            deltas = None if self._text.passes(content) else self._text.feed(content)
            if deltas is not None and deltas != [{"content": content}]:
                out += self._written(deltas)
                delta, changed = {k: delta[k] for k in delta if k != "content"}, True
                delta |= {"content": others} if others else {}
        if native := as_list(delta.get("tool_calls")):
            out += self._written(self._text.parsed(native))
            rest = {key: delta[key] for key in delta if key != "tool_calls"}
            if finish is None and not content and not data.get("usage"):
                self._held.append((raw, rest))
                return out
            self._held.append((self._written([{"tool_calls": native}]), {}))
            delta, changed = rest, True
        if finish is not None:
            out += self._ended(finish)
            changed = changed or self._reason != finish
            finish = self._reason
        if not changed:
            return out + raw
        if not delta and finish is None and not data.get("usage"):
            return out
        new = {**choice, "delta": delta, "finish_reason": finish}
        return out + _event({**data, "choices": [new]})

    def _ended(self, reason: str | None) -> bytes:
        self.over = True
        deltas = self._text.end(reason)
        self._reason = self._text.reason(reason)
        return self._released() + self._written(deltas)

    def _released(self) -> bytes:
        """The events with calls; of those that are sent differently, what else was in them."""
        if self._text.as_they_came:
            return b"".join(raw for raw, _ in self._held)
        return self._written(rest for _, rest in self._held if any(rest.values()))

    @property
    def _frame(self) -> dict[str, Any]:
        return {key: self._last[key] for key in self._last if key not in ("choices", "usage")}

    def _written(self, deltas: Iterable[Mapping[str, Any]]) -> bytes:
        frame = self._frame
        choices = ({"index": 0, "delta": delta, "finish_reason": None} for delta in deltas)
        return b"".join(_event({**frame, "choices": [choice]}) for choice in choices)


def read_whole(body: bytes, text: ChatText) -> bytes:
    """A complete reply, with calls in its text converted; the same bytes if there are none."""
    data: dict[str, Any] = {}
    with suppress(orjson.JSONDecodeError):
        data = as_object(orjson.loads(body))
    choices = as_list(data.get("choices"))
    choice = as_object(choices[0]) if len(choices) == 1 else {}
    message, finish = as_object(choice.get("message")), choice.get("finish_reason") or None
    content, others = _split(message.get("content"))
    native = as_list(message.get("tool_calls"))
    if not content and not native:
        return body
    deltas = [*(text.feed(content) if content else ()), *text.parsed(native, whole=True)]
    deltas += text.end(finish)
    same = text.as_they_came and text.reason(finish) == finish
    if same and deltas == ([{"content": content}] if content else []):
        return body
    said: Any = _joined(deltas, "content") or None
    if others:
        said = [*others, *([{"type": "text", "text": said}] if said else [])]
    new = {**message, "content": said}
    if thought := _joined(deltas, "reasoning_content"):
        new["reasoning_content"] = str(message.get("reasoning_content") or "") + thought
    made = [as_object(call) for delta in deltas for call in as_list(delta.get("tool_calls"))]
    new.pop("tool_calls", None)
    native = native if text.as_they_came else []
    calls = [*native, *({key: call[key] for key in call if key != "index"} for call in made)]
    if calls:
        new["tool_calls"] = calls
    chosen = {**choice, "message": new, "finish_reason": text.reason(finish)}
    return orjson.dumps({**data, "choices": [chosen]})


def _split(content: Any) -> tuple[str, list[Any]]:
    """The text of a `content`, which some servers send as a list of parts, and the other parts."""
    if isinstance(content, str):
        return content, []
    texts, others = list[str](), list[Any]()
    for part in as_list(content):
        text = as_object(part).get("text")
        if isinstance(text, str) and as_object(part).get("type") == "text":
            texts.append(text)
        else:
            others.append(part)
    return "".join(texts), others


def _joined(deltas: Iterable[Mapping[str, Any]], name: str) -> str:
    return "".join(str(delta[name]) for delta in deltas if name in delta)


def _event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"

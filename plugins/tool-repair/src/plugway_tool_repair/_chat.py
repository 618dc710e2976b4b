"""Calls in the text of a reply that is relayed to a client of Chat Completions.

Events without a call pass byte for byte, but a piece of text that may begin one is sent with the
next piece; others are rewritten in the format of
`types/chat/chat_completion_chunk.py` of the `openai` SDK. Events of calls that the server parsed
wait for the end, and pass if the calls are valid (`_native`). `_mend` interprets the text, and
`_stream` retries.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import orjson

from plugway import (
    BackendError,
    BackendProtocolError,
    InvalidRequest,
    Original,
    StreamEvent,
    as_list,
    as_object,
    event,
    new_id,
)
from plugway_tool_repair._blocks import BadCall
from plugway_tool_repair._mend import Mender
from plugway_tool_repair._native import NativeCalls
from plugway_tool_repair._tools import Toolbox, Verdict
from plugway_tool_repair._wire import Decoder, event_of
from plugway_wire.events import cut_notice

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
_HIDDEN: Final = frozenset(("role", "content", "tool_calls"))
_REASONING: Final = frozenset(("reasoning", "reasoning_content"))
"""Members of a delta that are no content by themselves, and those with reasoning."""
_REASONED: Final = {"reasoning_content": True}
_OWN_END: Final = frozenset(("stop", "tool_calls", "function_call"))
"""The `finish_reason` of a reply that the model ended itself."""
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


def own_names(original: Original) -> list[str]:
    """The client's names of its tools; empty if it does not accept a `function` call of each of
    them, or wants several choices."""
    try:
        tools = list(map(as_object, as_list(original.get("tools"))))
        if original.get("n") not in (None, 1):
            return []
    except InvalidRequest:
        return []
    if any(tool.get("type") != "function" for tool in tools):
        return []
    return [str(as_object(tool.get("function")).get("name")) for tool in tools]


class ChatText:
    """The text of one reply, and the deltas for the client."""

    def __init__(
        self,
        mender: Mender,
        toolbox: Toolbox,
        note: Callable[[str], None],
        *,
        whole: bool = False,
        hold_thinking: bool = False,
    ) -> None:
        """`whole`: nothing is sent before the end. `hold_thinking`: reasoning may wait, too."""
        self._mender = mender
        self._whole = whole
        self._hidden = _HIDDEN | _REASONING if hold_thinking else _HIDDEN
        self.shown = False
        """Whether the client gets content now, so that nothing is requested again."""
        self._note = note
        self._open = False
        self._index = -1
        """Index of the last block of the Messages API."""
        self._calls: list[list[str]] = []
        """Name and arguments of the calls found so far. They are sent last, because the server may
        have parsed them too."""
        self._native = NativeCalls(toolbox, note)
        """Those that the server parsed."""
        self.as_they_came = True
        """Whether those are sent as received; known at the end."""
        self.repeatable = False
        """Whether there is nothing besides a call that was cut off; known at the end."""

    @property
    def bad(self) -> BadCall | None:
        """The first bad call, unless bad calls are passed on."""
        bad = self._native.bad or self._mender.bad
        if bad is None:
            return None
        others = [*bad.others, *self._native.kept, *((name, text) for name, text in self._calls)]
        return replace(bad, others=tuple({_key(*call): call for call in others}.values()))

    @property
    def cut(self) -> str | None:
        """Name of the first call that was cut off and removed."""
        return self._mender.cut if self._mender.cut is not None else self._native.cut

    def passes(self, text: str) -> bool:
        """Whether a piece of text goes out as it is; it is then taken note of."""
        return self._open and self._mender.passes(text)

    def shows(self, delta: Mapping[str, Any]) -> None:
        """Take note of a delta that is sent as it came, but for its text and calls."""
        if not self.shown and any(delta[key] for key in delta if key not in self._hidden):
            self._show()

    def _show(self) -> None:
        self.shown = not self._whole
        self._mender.judged = self._mender.judged or self.shown

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
        self._native.add(calls)
        return self._leave()

    def end(self, reason: Any) -> list[Delta]:
        """The last deltas of a reply that ends with this `finish_reason`."""
        native, ending = self._native, {"stop_reason": _REASONS.get(reason, reason)}
        deltas = self._leave() + self._fed(event("message_delta", delta=ending))
        settled = native.settle(cut=reason not in _OWN_END, judged=self._mender.judged)
        self.as_they_came = settled is None
        if native.left_out:
            deltas.append({"content": native.left_out})
        nothing = not (native.kept or self._calls or self._mender.seen & {"text", "tool_use"})
        self.repeatable = nothing and not (self.shown or self._mender.broken)
        if native.cut is not None and nothing and not self._mender.broken:
            deltas.append({"content": cut_notice(native.cut, str(ending["stop_reason"]))})
        deltas += [{"tool_calls": [call]} for call in settled or ()]
        twice = [_key(*call) for call in native.kept]
        index = native.last
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
        if self._mender.cut is not None and not self._native.kept and not self._mender.stopped:
            return "length"
        if received == "tool_calls" and self._native and not (self._native.kept or self._calls):
            return "stop"
        return "tool_calls" if self._calls and received in ("stop", None) else received

    def broken(self) -> list[Delta]:
        """The deltas of what is held back when the reply breaks off: text, and whole calls."""
        self._mender.broken = self._mender.judged = True
        return self.end(None)

    def _leave(self) -> list[Delta]:
        if not self._open:
            return []
        self._open = False
        return self._fed(event("content_block_stop", index=self._index))

    def _fed(self, item: StreamEvent) -> list[Delta]:
        deltas = [delta for made in self._mender.feed(item) if (delta := self._delta(made))]
        if any("content" in delta or self._hidden == _HIDDEN for delta in deltas):
            self._show()
        return deltas

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
    deltas = [*(text.feed(content) if content else ()), *text.parsed(native), *text.end(finish)]
    if text.as_they_came and deltas == ([{"content": content}] if content else []):
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

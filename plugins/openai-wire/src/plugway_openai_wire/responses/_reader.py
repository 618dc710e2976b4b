"""An answer of the Responses API as events of the Messages API, piece by piece. No I/O.

Events: `types/responses/response_stream_event.py` of the `openai` SDK. Items may be told side by
side there (`output_index`); here they are told one after the other, in their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import (
    BackendProtocolError,
    Emitter,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
    event,
    new_id,
)
from plugway_openai_wire.responses._failure import failure_in
from plugway_openai_wire.responses._items import reasoning_text
from plugway_openai_wire.responses._stop import StopCut
from plugway_openai_wire.responses._told import (
    arguments_told,
    citation_of,
    finish_of,
    usage_told,
    whole_of,
)
from plugway_translation import IdCodec, Reasoning, ToolNames

_STARTS: Final = frozenset(("response.created", "response.in_progress", "response.queued"))
_ENDS: Final = frozenset(("response.completed", "response.incomplete", "response.done"))
_FAILS: Final = frozenset(("error", "response.failed", "response.cancelled"))
_DONE: Final = "response.output_item.done"
_KINDS: Final = {
    "response.output_text.delta": "message",
    "response.output_text.done": "message",
    "response.refusal.delta": "message",
    "response.output_text.annotation.added": "message",
    "response.function_call_arguments.delta": "function_call",
    "response.function_call_arguments.done": "function_call",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_summary_part.added": "reasoning",
    "response.reasoning_text.delta": "reasoning",
    "response.output_item.added": "",
    _DONE: "",
}
"""Events that are read, and the kind of item that they belong to. Others say nothing new."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer is read with: the model's name for the client, and the request's codecs."""

    model: str
    names: ToolNames
    ids: IdCodec
    reasoning: Reasoning
    stops: tuple[str, ...] = ()
    input_estimate: int = 0
    """Tokens of the prompt as estimated, told where the answer has no usage."""


@dataclass(slots=True)
class _Item:
    """An item that is being told."""

    kind: str
    fields: Mapping[str, Any]
    part: int = 0
    """Index of the part of a message, or of a summary, that was told last."""
    sent: dict[int, int] = field(default_factory=dict[int, int])
    """Characters told of each part; of arguments under 0."""
    text: list[str] = field(default_factory=list[str])
    cited: int = 0
    open: bool = False
    """Something of it was told."""
    held: str = ""
    """Arguments that came before the name."""
    spoken: str = ""
    """`summary` or `content`: which of the two a reasoning item is told by."""


class Reader:
    """Reads one answer. `feed` takes the data of one event and returns what to send now."""

    def __init__(self, reading: Reading) -> None:
        self._with = reading
        self._emitter: Emitter | None = None
        self._cut = StopCut(reading.stops)
        self._telling: int | None = None
        self._items: dict[int, _Item] = {}
        self._by_id: dict[str, int] = {}
        self._waiting: dict[int, list[Mapping[str, Any]]] = {}
        self._told: set[int] = set()
        self._block = -1
        self._written = 0
        """Characters of the answer."""
        self._refusal: str | None = None
        self.ended = False
        """The end was told: nothing that still comes is of interest."""

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """The events for the data of one event.

        Raises:
            BackendRefused: the answer failed, with the upstream's own words.
            BackendProtocolError: it ended without having said anything.
        """
        kind = str(data.get("type"))
        if self.ended:
            return []
        if kind in _FAILS:
            raise failure_in(data)
        if kind in _KINDS:
            events = [*self._start({}), *self._sorted(data, kind)]
        elif kind in _STARTS:
            events = self._start(as_object(data.get("response")))
        elif kind in _ENDS:
            response = as_object(data.get("response"))
            events = [*self._start(response), *self._end(response)]
        else:
            events = []
        return events

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """All events for an answer that came whole. Raises as `feed` does."""
        if answer.get("status") in {"failed", "cancelled"} or answer.get("error"):
            raise failure_in({"response": answer})
        return self.feed({"type": "response.completed", "response": answer})

    def end(self) -> list[StreamEvent]:
        """Nothing, where the answer was whole. Raises `StreamInterrupted` where it was not."""
        if self.ended:
            return []
        raise StreamInterrupted("the upstream's stream stopped before the answer was complete")

    # ── order ────────────────────────────────────────────────────────────────────────────────

    def _start(self, response: Mapping[str, Any]) -> list[StreamEvent]:
        if self._emitter is not None:
            return []
        given = str(response.get("id") or "")
        message_id = f"msg_{given.removeprefix('resp_')}" if given else new_id("msg")
        self._emitter = Emitter(model=self._with.model, message_id=message_id)
        usage = {"input_tokens": self._with.input_estimate, "output_tokens": 0}
        return self._emitter.start(usage)

    @property
    def _out(self) -> Emitter:
        if self._emitter is None:
            raise RuntimeError("the message has not started")
        return self._emitter

    def _sorted(self, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        """What `data` says, now or when it is its item's turn."""
        index = self._index(data)
        if index in self._told:
            return []
        if self._telling is None:
            self._telling = index
        if index != self._telling:
            self._waiting.setdefault(index, []).append(data)
            return []
        events = self._tell(index, data, kind)
        return [*events, *self._next()] if kind == _DONE else events

    def _next(self) -> list[StreamEvent]:
        """The item that was told is finished: those that wait, in their order."""
        events: list[StreamEvent] = []
        if self._telling is not None:
            events += self._left(self._items[self._telling])
            self._told.add(self._telling)
            self._telling = None
        while self._waiting and self._telling is None and not self.ended:
            index = min(self._waiting)
            self._telling = index
            for data in self._waiting.pop(index):
                kind = str(data.get("type"))
                events += self._tell(index, data, kind)
                if kind == _DONE:
                    self._told.add(index)
                    self._telling = None
        return events

    def _left(self, item: _Item) -> list[StreamEvent]:
        """What is still to be said of an item, finished or not, when it is no longer its turn."""
        if item.kind != "function_call":
            return self._flush()
        return self._arguments(item, "{}") if item.open and not item.sent.get(0) else []

    def _count(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """The events of the emitter, their blocks counted."""
        self._block += sum(item.type == "content_block_start" for item in events)
        return events

    def _index(self, data: Mapping[str, Any]) -> int:
        """The item's place; by its id, or the one that is told, where a server leaves it out."""
        index = data.get("output_index")
        item_id = data.get("item_id") or as_object(data.get("item")).get("id")
        if not isinstance(index, int):
            index = self._by_id.get(str(item_id), self._telling)
        if index is None:
            index = max(self._told, default=-1) + 1
        if item_id:
            self._by_id[str(item_id)] = index
        return index

    def _tell(self, index: int, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        if self.ended:
            return []
        given = as_object(data.get("item"))
        item = self._items.get(index)
        if item is None:
            item = _Item(_KINDS[kind] or str(given.get("type")), given)
            self._items[index] = item
        if given:
            item.fields = given
        match item.kind:
            case "message":
                return self._message(item, data, kind)
            case "function_call":
                return self._call(item, data, kind)
            case "reasoning":
                return self._thought(item, data, kind)
            case _:
                return []

    # ── messages ─────────────────────────────────────────────────────────────────────────────

    def _message(self, item: _Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        part = data.get("content_index")
        part = part if isinstance(part, int) else item.part
        match kind:
            case "response.output_text.delta":
                return self._text(item, part, _str(data.get("delta")))
            case "response.output_text.done":
                return self._text(item, part, _rest(item, part, _str(data.get("text"))))
            case "response.refusal.delta":
                return self._refused(item, part, _str(data.get("delta")))
            case "response.output_text.annotation.added":
                return self._cited(item, [data.get("annotation")])
            case "response.output_item.done":
                return self._message_done(item)
            case _:
                return []

    def _message_done(self, item: _Item) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        contents = [as_object(content) for content in as_list(item.fields.get("content"))]
        for part, content in enumerate(contents[item.part :], item.part):
            if refusal := _str(content.get("refusal")):
                events += self._refused(item, part, _rest(item, part, refusal))
            else:
                events += self._text(item, part, _rest(item, part, _str(content.get("text"))))
                events += self._cited(item, as_list(content.get("annotations"))[item.cited :])
        if self.ended:
            return events
        return [*events, *self._flush(), *self._out.close_block()]

    def _text(self, item: _Item, part: int, text: str) -> list[StreamEvent]:
        if not text or self.ended:
            return []
        events = self._turned(item, part)
        item.sent[part] = item.sent.get(part, 0) + len(text)
        item.text.append(text)
        self._written += len(text)
        told, stop = self._cut.feed(text)
        events += self._count(self._out.text(told))
        if stop is not None:
            self.ended = True
            usage = usage_told({}, self._with.input_estimate, self._written)
            events += self._out.finish("stop_sequence", usage, stop_sequence=stop)
        return events

    def _turned(self, item: _Item, part: int) -> list[StreamEvent]:
        """Another part of a message is another block."""
        if item.part == part:
            return []
        events = [*self._flush(), *self._out.close_block()]
        item.part, item.text, item.cited = part, [], 0
        return events

    def _flush(self) -> list[StreamEvent]:
        return self._count(self._out.text(self._cut.flush())) if self._emitter else []

    def _refused(self, item: _Item, part: int, text: str) -> list[StreamEvent]:
        if not text or self.ended:
            return []
        events = self._turned(item, part)
        item.sent[part] = item.sent.get(part, 0) + len(text)
        self._refusal = (self._refusal or "") + text
        self._written += len(text)
        return [*events, *self._count(self._out.text(text))]

    def _cited(self, item: _Item, annotations: list[Any]) -> list[StreamEvent]:
        """Sources of the text that is open. What names a file there has no form here."""
        if self.ended or not item.text:
            return []
        item.cited += len(annotations)
        text = "".join(item.text)
        found = [citation_of(as_object(annotation), text) for annotation in annotations]
        deltas = [
            {"type": "citations_delta", "citation": citation} for citation in found if citation
        ]
        events = self._flush() if deltas else []
        return [
            *events,
            *(event("content_block_delta", index=self._block, delta=delta) for delta in deltas),
        ]

    # ── calls of tools ───────────────────────────────────────────────────────────────────────

    def _call(self, item: _Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        match kind:
            case "response.output_item.added":
                return self._call_opened(item)
            case "response.function_call_arguments.delta":
                return self._arguments(item, _str(data.get("delta")))
            case "response.function_call_arguments.done":
                whole = _str(data.get("arguments"))
                return self._arguments(item, _rest(item, 0, whole))
            case _:
                return self._call_done(item)

    def _call_opened(self, item: _Item) -> list[StreamEvent]:
        """The start of a call, as soon as the tool's name is known."""
        name = _str(item.fields.get("name"))
        if item.open or not name:
            return []
        item.open = True
        call_id = _str(item.fields.get("call_id") or item.fields.get("id"))
        tool_id = self._with.ids.back(call_id) if call_id else None
        events = self._count(self._out.tool_start(self._with.names.back(name), tool_id=tool_id))
        if item.held:
            events += self._out.tool_arguments(item.held)
            item.held = ""
        return events

    def _arguments(self, item: _Item, fragment: str) -> list[StreamEvent]:
        if not fragment:
            return []
        item.sent[0] = item.sent.get(0, 0) + len(fragment)
        self._written += len(fragment)
        if item.open:
            return self._out.tool_arguments(fragment)
        item.held += fragment
        return []

    def _call_done(self, item: _Item) -> list[StreamEvent]:
        whole = _str(item.fields.get("arguments"))
        if not item.open and not arguments_told(item.fields, item.held or whole):
            return []
        events = self._call_opened(item)
        if not item.open:
            raise BackendProtocolError("the model called a tool without naming it")
        events += self._arguments(item, _rest(item, 0, whole))
        return [*events, *self._left(item), *self._out.close_block()]

    # ── reasoning ────────────────────────────────────────────────────────────────────────────

    def _thought(self, item: _Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        match kind:
            case "response.reasoning_summary_text.delta":
                return self._thinking(item, "summary", data.get("summary_index"), data)
            case "response.reasoning_text.delta":
                return self._thinking(item, "content", data.get("content_index"), data)
            case "response.output_item.done":
                return self._thought_done(item)
            case _:
                return []

    def _thinking(
        self, item: _Item, kind: str, part: Any, data: Mapping[str, Any]
    ) -> list[StreamEvent]:
        text = _str(data.get("delta"))
        item.spoken = item.spoken or kind
        if not text or item.spoken != kind:
            return []
        joint = "\n\n" if item.open and isinstance(part, int) and part > item.part else ""
        item.part = part if isinstance(part, int) else item.part
        item.open = True
        self._written += len(text)
        return self._count(self._out.thinking(joint + text))

    def _thought_done(self, item: _Item) -> list[StreamEvent]:
        told = {"summary": None} if item.spoken == "content" else {}
        text, state = reasoning_text({**item.fields, **told})
        if not item.open:
            block = self._with.reasoning.block(text, state)
            return self._count(self._out.block(block)) if whole_of(text, state) else []
        self._out.thinking("", signature=self._with.reasoning.sign(state))
        return self._out.close_block()

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _end(self, response: Mapping[str, Any]) -> list[StreamEvent]:
        events = self._next()
        while self._waiting and not self.ended:
            events += self._next()
        if self._out.empty:
            # Nothing was streamed: all of it is in the last event, or it is a whole answer.
            for index, item in enumerate(as_list(response.get("output"))):
                data = {"type": _DONE, "output_index": index, "item": item}
                events += self._tell(index, data, _DONE)
        if self.ended:
            return events
        events += self._flush()
        reason, details = finish_of(response, self._refusal, self._out.tool_calls)
        if self._out.empty and reason == "end_turn":
            raise BackendProtocolError("it answered with nothing: neither text nor a call")
        self.ended = True
        usage = usage_told(response, self._with.input_estimate, self._written)
        ending = self._out.finish(reason, usage)
        return [*events, *(_detailed(item, details) for item in ending)]


def _detailed(item: StreamEvent, details: Mapping[str, Any] | None) -> StreamEvent:
    """The `message_delta` with what it says about a refusal."""
    if details is None or item.type != "message_delta":
        return item
    delta = {**as_object(item.data.get("delta")), "stop_details": details}
    return StreamEvent(item.type, {**item.data, "delta": delta})


def _rest(item: _Item, part: int, whole: str) -> str:
    """What of a part that is now known whole was not told yet."""
    return whole[item.sent.get(part, 0) :]


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""

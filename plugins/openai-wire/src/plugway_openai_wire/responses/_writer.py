"""Writes the items of a Responses reply as blocks of the Messages API. No I/O.

`_reader` decides the order of items.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import BackendProtocolError, Emitter, StreamEvent, as_list, as_object, event, new_id
from plugway_openai_wire.responses._items import reasoning_text
from plugway_openai_wire.responses._outcome import (
    citation_of,
    finish_of,
    search_blocks,
    usage_or_estimate,
    whole_of,
)
from plugway_openai_wire.responses._positions import DONE
from plugway_openai_wire.responses._stop import StopCut
from plugway_translation import Arguments, FreshIds, IdCodec, Reasoning, ToolNames, arguments_of
from plugway_wire.arguments import is_json
from plugway_wire.gather import Gathered

_MOST_CITED: Final = 2**20
"""Citations are added only within this many characters of a part."""


@dataclass(frozen=True, slots=True)
class ReplyContext:
    """What is needed to read a reply: the client's model name, and the request's codecs."""

    model: str
    names: ToolNames
    ids: IdCodec
    reasoning: Reasoning
    stops: tuple[str, ...] = ()
    input_estimate: int = 0
    """Estimated tokens of the prompt, reported if the reply has no usage."""
    silent: bool = False
    """Write only usage: the client requested no output (`max_tokens: 0`)."""
    used_ids: frozenset[str] = frozenset()
    """Call ids in the conversation, which new calls must not reuse."""


@dataclass(slots=True)
class Item:
    """An item being written."""

    kind: str
    fields: Mapping[str, Any]
    part: int = 0
    """Index of the last written part of a message or summary."""
    sent: dict[int, int] = field(default_factory=dict[int, int])
    """Characters written of each part."""
    arguments: Arguments = field(default_factory=Arguments)
    text: Gathered = field(default_factory=lambda: Gathered("a part"))
    """Text written of the current part, up to the limit for citations."""
    cited: int = 0
    open: bool = False
    """Whether anything of it was written."""
    source: str = ""
    """Which field of a reasoning item is written: `summary` or `content`."""


class BlockWriter:
    """Writes items one after the other, through one emitter."""

    def __init__(self, reading: ReplyContext, response: Mapping[str, Any]) -> None:
        """`response` is what the first event says about the response."""
        given = str(response.get("id") or "")
        message_id = f"msg_{given.removeprefix('resp_')}" if given else new_id("msg")
        self._with = reading
        self._out = Emitter(model=reading.model, message_id=message_id)
        self._ids = FreshIds(reading.ids.back, reading.used_ids)
        self._cut = StopCut(reading.stops)
        self._block = -1
        self._written = 0
        """Characters written."""
        self._refusal: str | None = None
        self._searches = 0
        self.cut_off = False
        """Whether the reply was truncated, so that calls may be incomplete."""
        self.ended = False
        """Whether the end was written."""

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return self._out.empty

    def start(self) -> list[StreamEvent]:
        """`message_start`."""
        return self._out.start({"input_tokens": self._with.input_estimate, "output_tokens": 0})

    def write(self, item: Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        """Write what an event adds to the current item."""
        if self.ended or self._with.silent:
            return []
        match item.kind:
            case "message":
                return self._message(item, data, kind)
            case "function_call":
                return self._call(item, data, kind)
            case "reasoning":
                return self._thought(item, data, kind)
            case "web_search_call" if kind == DONE:
                return self._searched(item)
            case _:
                return []

    def rest(self, item: Item) -> list[StreamEvent]:
        """Write what was held back of an item, complete or not, when its turn is over."""
        if item.kind != "function_call":
            return self._flush()
        last = item.arguments.rest() if item.open else ""
        return self._out.tool_arguments(last) if last else []

    def unfinished(self, item: Item, *, cut: bool) -> list[StreamEvent]:
        """Write the rest of an item that the reply ended within; `cut`: the reply was truncated.

        An open call keeps its partial JSON, so that the client does not run it.
        """
        if item.kind != "function_call" or item.open:
            return self.rest(item)
        name = _str(item.fields.get("name"))
        if not name or self._with.silent:
            return []
        if cut:
            return self._out.cut_call(self._with.names.back(name))
        return self._call_done(item)

    def finish(self, response: Mapping[str, Any]) -> list[StreamEvent]:
        """Return the last events. Raises `BackendProtocolError` if the reply is empty."""
        events = self._flush()
        reason, details = finish_of(response, self._refusal, self._out.tool_calls)
        if self._with.silent:
            reason, details = "max_tokens", None
        if self._out.empty and reason == "end_turn":
            raise BackendProtocolError("its reply is empty: no text and no tool call")
        self.ended = True
        usage = usage_or_estimate(response, self._with.input_estimate, self._written)
        if self._searches:
            usage["server_tool_use"] = {
                "web_search_requests": self._searches,
                "web_fetch_requests": 0,
            }
        ending = self._out.finish(reason, usage)
        return [*events, *(_detailed(item, details) for item in ending)]

    def _count(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """Count the blocks in the emitter's events, and return the events."""
        self._block += sum(item.type == "content_block_start" for item in events)
        return events

    # ── messages ─────────────────────────────────────────────────────────────────────────────

    def _message(self, item: Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
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

    def _message_done(self, item: Item) -> list[StreamEvent]:
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

    def _text(self, item: Item, part: int, text: str) -> list[StreamEvent]:
        if not text or self.ended:
            return []
        events = self._turned(item, part)
        item.sent[part] = item.sent.get(part, 0) + len(text)
        if item.text.size < _MOST_CITED:
            item.text.add(text[:_MOST_CITED])
        self._written += len(text)
        visible, stop = self._cut.feed(text)
        events += self._count(self._out.text(visible))
        if stop is not None:
            self.ended = True
            usage = usage_or_estimate({}, self._with.input_estimate, self._written)
            events += self._out.finish("stop_sequence", usage, stop_sequence=stop)
        return events

    def _turned(self, item: Item, part: int) -> list[StreamEvent]:
        """Start a new block for another part of a message."""
        if item.part == part:
            return []
        events = [*self._flush(), *self._out.close_block()]
        item.part, item.text, item.cited = part, Gathered("a part"), 0
        return events

    def _flush(self) -> list[StreamEvent]:
        return self._count(self._out.text(self._cut.flush()))

    def _refused(self, item: Item, part: int, text: str) -> list[StreamEvent]:
        if not text or self.ended:
            return []
        events = self._turned(item, part)
        item.sent[part] = item.sent.get(part, 0) + len(text)
        self._refusal = (self._refusal or "") + text
        self._written += len(text)
        return [*events, *self._count(self._out.text(text))]

    def _cited(self, item: Item, annotations: list[Any]) -> list[StreamEvent]:
        """Add citations to the open text. References to files are dropped."""
        if self.ended or not item.text.size:
            return []
        item.cited += len(annotations)
        text = item.text.text()
        found = [citation_of(as_object(annotation), text) for annotation in annotations]
        deltas = [
            {"type": "citations_delta", "citation": citation} for citation in found if citation
        ]
        events = self._flush() if deltas else []
        return [
            *events,
            *(event("content_block_delta", index=self._block, delta=delta) for delta in deltas),
        ]

    # ── tool calls ───────────────────────────────────────────────────────────────────────────

    def _call(self, item: Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        match kind:
            case "response.function_call_arguments.delta":
                return self._arguments(item, arguments_of(data.get("delta")))
            case "response.function_call_arguments.done":
                item.arguments.add_whole(arguments_of(data.get("arguments")))
                return self._call_opened(item)
            case "response.output_item.done":
                return self._call_done(item)
            case _:
                return []

    def _call_opened(self, item: Item, *, done: bool = False) -> list[StreamEvent]:
        """Open a call once its name and arguments are known; send further arguments.

        A block without arguments could end as a call without arguments if none ever arrive.
        """
        name = _str(item.fields.get("name"))
        if not name or (not item.open and not item.arguments.begins and not done):
            return []
        if item.open:
            return self._out.tool_arguments(fresh) if (fresh := item.arguments.fresh()) else []
        item.open = True
        call_id = _str(item.fields.get("call_id") or item.fields.get("id"))
        tool_id = self._ids.of(call_id)
        events = self._count(self._out.tool_start(self._with.names.back(name), tool_id=tool_id))
        if fresh := item.arguments.fresh():
            events += self._out.tool_arguments(fresh)
        return events

    def _arguments(self, item: Item, fragment: str) -> list[StreamEvent]:
        if not fragment:
            return []
        item.arguments.add(fragment)
        self._written += len(fragment)
        return self._call_opened(item)

    def _call_done(self, item: Item) -> list[StreamEvent]:
        whole = arguments_of(item.fields.get("arguments"))
        cut = self.cut_off or item.fields.get("status") == "incomplete"
        if not item.open and cut and not is_json(item.arguments.text() or whole):
            return self.unfinished(item, cut=True)
        events = self._call_opened(item, done=True)
        if not item.open:
            raise BackendProtocolError("the model called a tool without naming it")
        if whole:
            item.arguments.add_whole(whole)
        if not item.arguments.text().strip():
            item.arguments.add("{}")
        last = item.arguments.rest()
        return [
            *events,
            *(self._out.tool_arguments(last) if last else []),
            *self._out.close_block(),
        ]

    def _searched(self, item: Item) -> list[StreamEvent]:
        """Write a web search that the API ran."""
        found = search_blocks(item.fields)
        if found is None:
            return []
        call, arguments, result = found
        self._searches += 1
        *opened, closed = self._count(self._out.block(call))
        delta = {"type": "input_json_delta", "partial_json": arguments}
        written = event("content_block_delta", index=self._block, delta=delta)
        return [*opened, written, closed, *self._count(self._out.block(result))]

    # ── reasoning ────────────────────────────────────────────────────────────────────────────

    def _thought(self, item: Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
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
        self, item: Item, kind: str, part: Any, data: Mapping[str, Any]
    ) -> list[StreamEvent]:
        text = _str(data.get("delta"))
        item.source = item.source or kind
        if not text or item.source != kind:
            return []
        joint = "\n\n" if item.open and isinstance(part, int) and part > item.part else ""
        item.part = part if isinstance(part, int) else item.part
        item.open = True
        self._written += len(text)
        return self._count(self._out.thinking(joint + text))

    def _thought_done(self, item: Item) -> list[StreamEvent]:
        replaced = {"summary": None} if item.source == "content" else {}
        text, state = reasoning_text({**item.fields, **replaced})
        if not item.open and not text:
            block = self._with.reasoning.block(text, state)
            return self._count(self._out.block(block)) if whole_of(text, state) else []
        events = [] if item.open else self._count(self._out.thinking(text))
        self._out.thinking("", signature=self._with.reasoning.sign(state))
        return [*events, *self._out.close_block()]


def _detailed(item: StreamEvent, details: Mapping[str, Any] | None) -> StreamEvent:
    """The `message_delta` with details of a refusal."""
    if details is None or item.type != "message_delta":
        return item
    delta = {**as_object(item.data.get("delta")), "stop_details": details}
    return StreamEvent(item.type, {**item.data, "delta": delta})


def _rest(item: Item, part: int, whole: str) -> str:
    """What was not yet written of a part whose full text is known."""
    return whole[item.sent.get(part, 0) :]


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""

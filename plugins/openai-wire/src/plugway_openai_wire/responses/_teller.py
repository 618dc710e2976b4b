"""The items of an answer as blocks of the Messages API. No I/O.

In which order items are told is the business of `_reader`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import (
    BackendProtocolError,
    Emitter,
    Gathered,
    StreamEvent,
    as_list,
    as_object,
    event,
    new_id,
)
from plugway_openai_wire._arguments import Arguments
from plugway_openai_wire._whole import is_json
from plugway_openai_wire.responses._items import reasoning_text
from plugway_openai_wire.responses._places import DONE
from plugway_openai_wire.responses._stop import StopCut
from plugway_openai_wire.responses._told import (
    citation_of,
    finish_of,
    search_blocks,
    usage_told,
    whole_of,
)
from plugway_translation import FreshIds, IdCodec, Reasoning, ToolNames, arguments_of

_MOST_CITED: Final = 2**20
"""Characters at the start of a part of which sources are told."""


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
    silent: bool = False
    """Only usage is told: the client asked for no answer (`max_tokens: 0`)."""
    used_ids: frozenset[str] = frozenset()
    """Ids of the calls in the conversation: those of the answer get others."""


@dataclass(slots=True)
class Item:
    """An item that is being told."""

    kind: str
    fields: Mapping[str, Any]
    part: int = 0
    """Index of the part of a message, or of a summary, that was told last."""
    sent: dict[int, int] = field(default_factory=dict[int, int])
    """Characters told of each part."""
    arguments: Arguments = field(default_factory=Arguments)
    text: Gathered = field(default_factory=lambda: Gathered("a part"))
    """What was told of a part; of a long part its start, where sources are."""
    cited: int = 0
    open: bool = False
    """Something of it was told."""
    spoken: str = ""
    """`summary` or `content`: which of the two a reasoning item is told by."""


class Teller:
    """Tells items one after the other, through one emitter."""

    def __init__(self, reading: Reading, response: Mapping[str, Any]) -> None:
        """`response` is what is known of the answer when it begins."""
        given = str(response.get("id") or "")
        message_id = f"msg_{given.removeprefix('resp_')}" if given else new_id("msg")
        self._with = reading
        self._out = Emitter(model=reading.model, message_id=message_id)
        self._ids = FreshIds(reading.ids.back, reading.used_ids)
        self._cut = StopCut(reading.stops)
        self._block = -1
        self._written = 0
        """Characters of the answer."""
        self._refusal: str | None = None
        self._searches = 0
        self.cut_off = False
        """The answer was cut off: calls that are told now may be halves."""
        self.ended = False
        """The end was told."""

    @property
    def empty(self) -> bool:
        """Nothing was told."""
        return self._out.empty

    def start(self) -> list[StreamEvent]:
        """`message_start`."""
        return self._out.start({"input_tokens": self._with.input_estimate, "output_tokens": 0})

    def tell(self, item: Item, data: Mapping[str, Any], kind: str) -> list[StreamEvent]:
        """What an event says about an item whose turn it is."""
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

    def left(self, item: Item) -> list[StreamEvent]:
        """What is still to be said of an item, finished or not, when it is no longer its turn."""
        if item.kind != "function_call":
            return self._flush()
        last = item.arguments.rest() if item.open else ""
        return self._out.tool_arguments(last) if last else []

    def unfinished(self, item: Item, *, cut: bool) -> list[StreamEvent]:
        """The same where the answer ended before the item did; `cut`: it was cut off.

        A call's block that has begun is left as it is: not closed, so that nobody makes the call.
        """
        if item.kind != "function_call" or item.open:
            return self.left(item)
        name = _str(item.fields.get("name"))
        if not name or self._with.silent:
            return []
        if cut:
            return self._out.cut_call(self._with.names.back(name))
        return self._call_done(item)

    def finish(self, response: Mapping[str, Any]) -> list[StreamEvent]:
        """The last events. Raises `BackendProtocolError` where nothing was said at all."""
        events = self._flush()
        reason, details = finish_of(response, self._refusal, self._out.tool_calls)
        if self._with.silent:
            reason, details = "max_tokens", None
        if self._out.empty and reason == "end_turn":
            raise BackendProtocolError("its reply is empty: no text and no tool call")
        self.ended = True
        usage = usage_told(response, self._with.input_estimate, self._written)
        if self._searches:
            usage["server_tool_use"] = {
                "web_search_requests": self._searches,
                "web_fetch_requests": 0,
            }
        ending = self._out.finish(reason, usage)
        return [*events, *(_detailed(item, details) for item in ending)]

    def _count(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """The events of the emitter, their blocks counted."""
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
        told, stop = self._cut.feed(text)
        events += self._count(self._out.text(told))
        if stop is not None:
            self.ended = True
            usage = usage_told({}, self._with.input_estimate, self._written)
            events += self._out.finish("stop_sequence", usage, stop_sequence=stop)
        return events

    def _turned(self, item: Item, part: int) -> list[StreamEvent]:
        """Another part of a message is another block."""
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
        """Sources of the text that is open. What names a file there has no form here."""
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

    # ── calls of tools ───────────────────────────────────────────────────────────────────────

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
        """The start of a call, once there are arguments and the tool's name is known, and more of
        its arguments.

        A block without arguments would be a call without them, should they never come.
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
        """A search that the API did by itself."""
        found = search_blocks(item.fields)
        if found is None:
            return []
        call, arguments, result = found
        self._searches += 1
        *opened, closed = self._count(self._out.block(call))
        delta = {"type": "input_json_delta", "partial_json": arguments}
        told = event("content_block_delta", index=self._block, delta=delta)
        return [*opened, told, closed, *self._count(self._out.block(result))]

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
        item.spoken = item.spoken or kind
        if not text or item.spoken != kind:
            return []
        joint = "\n\n" if item.open and isinstance(part, int) and part > item.part else ""
        item.part = part if isinstance(part, int) else item.part
        item.open = True
        self._written += len(text)
        return self._count(self._out.thinking(joint + text))

    def _thought_done(self, item: Item) -> list[StreamEvent]:
        told = {"summary": None} if item.spoken == "content" else {}
        text, state = reasoning_text({**item.fields, **told})
        if not item.open:
            block = self._with.reasoning.block(text, state)
            return self._count(self._out.block(block)) if whole_of(text, state) else []
        self._out.thinking("", signature=self._with.reasoning.sign(state))
        return self._out.close_block()


def _detailed(item: StreamEvent, details: Mapping[str, Any] | None) -> StreamEvent:
    """The `message_delta` with what it says about a refusal."""
    if details is None or item.type != "message_delta":
        return item
    delta = {**as_object(item.data.get("delta")), "stop_details": details}
    return StreamEvent(item.type, {**item.data, "delta": delta})


def _rest(item: Item, part: int, whole: str) -> str:
    """What of a part that is now known whole was not told yet."""
    return whole[item.sent.get(part, 0) :]


def _str(value: Any) -> str:
    return value if isinstance(value, str) else ""

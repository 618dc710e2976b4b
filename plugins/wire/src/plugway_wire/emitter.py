"""`Emitter` makes valid event streams; `Order` checks the order of events.

Backends that translate or generate use the `Emitter`; the pipeline checks parsed streams with
`Order`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from plugway_wire.errors import BackendProtocolError
from plugway_wire.events import StreamEvent, cut_notice, event
from plugway_wire.ids import new_id
from plugway_wire.json import as_object

StopReason = Literal[
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "pause_turn",
    "refusal",
    "model_context_window_exceeded",
]

_DELTAS: Mapping[str, frozenset[str]] = {
    "text": frozenset({"text_delta", "citations_delta"}),
    "thinking": frozenset({"thinking_delta", "signature_delta"}),
    "tool_use": frozenset({"input_json_delta"}),
}
"""Delta types that a block type allows; other block types allow any."""


class Emitter:
    """Makes a valid stream from parts: opens and closes blocks, and counts their indexes.

    Each method returns the events to send now. Calling methods out of order raises `RuntimeError`,
    which is a defect of the caller, not of an upstream.
    """

    def __init__(self, *, model: str, message_id: str | None = None) -> None:
        self._model = model
        self._id = message_id or new_id("msg")
        self._index = -1
        self._open = ""
        self._state: Literal["new", "started", "ended"] = "new"
        self._signature = ""
        self.tool_calls = 0
        """Tool calls started so far."""
        self.empty = True
        """No block was started yet."""
        self._cut: str | None = None
        self._answered = False
        """The message has text or a tool call."""

    def start(self, usage: Mapping[str, Any]) -> list[StreamEvent]:
        """`message_start`. `usage` needs `input_tokens` and `output_tokens`."""
        self._require("new")
        self._state = "started"
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": dict(usage),
        }
        return [event("message_start", message=message)]

    def text(self, text: str) -> list[StreamEvent]:
        """More text; nothing for an empty string, because the API rejects empty blocks later."""
        if not text:
            return []
        events = self._switch("text", {"type": "text", "text": ""})
        return [*events, self._delta({"type": "text_delta", "text": text})]

    def cite(self, citation: Mapping[str, Any]) -> list[StreamEvent]:
        """A citation in the open text block; nothing if none is open."""
        if self._open != "text":
            return []
        return [self._delta({"type": "citations_delta", "citation": dict(citation)})]

    def thinking(self, text: str, *, signature: str = "") -> list[StreamEvent]:
        """More thinking; when the block closes, it gets the last `signature`."""
        self._signature = signature or self._signature
        if not text:
            return []
        block = {"type": "thinking", "thinking": "", "signature": ""}
        events = self._switch("thinking", block)
        return [*events, self._delta({"type": "thinking_delta", "thinking": text})]

    def tool_start(self, name: str, *, tool_id: str | None = None) -> list[StreamEvent]:
        """Start a tool call; its arguments follow with `tool_arguments`."""
        self.tool_calls += 1
        tool_id = tool_id or new_id("toolu")
        block: dict[str, Any] = {"type": "tool_use", "id": tool_id, "name": name, "input": {}}
        return [*self.close_block(), *self._open_block("tool_use", block)]

    def tool_arguments(self, fragment: str) -> list[StreamEvent]:
        """A piece of the JSON text of the open tool call's arguments."""
        if self._open != "tool_use":
            raise RuntimeError("tool arguments without an open tool call")
        return [self._delta({"type": "input_json_delta", "partial_json": fragment})]

    def cut_call(self, name: str = "") -> list[StreamEvent]:
        """Report a tool call that was cut off before its block was started; it is omitted.

        The `ping` reports it to plugins that may retry; clients ignore it. If the message has
        neither text nor a call at the end, `finish` adds a text about the call.
        """
        self._require("started")
        self._cut = self._cut or name
        return [event("ping", cut_call=name)]

    def block(self, block: Mapping[str, Any]) -> list[StreamEvent]:
        """A complete block, such as `redacted_thinking` or a server tool's result."""
        kind = str(block.get("type", ""))
        return [*self.close_block(), *self._open_block(kind, block), *self.close_block()]

    def close_block(self) -> list[StreamEvent]:
        """Close the open block, if one is open."""
        if not self._open:
            return []
        events: list[StreamEvent] = []
        if self._open == "thinking" and self._signature:
            events.append(self._delta({"type": "signature_delta", "signature": self._signature}))
            self._signature = ""
        self._open = ""
        return [*events, event("content_block_stop", index=self._index)]

    def finish(
        self,
        stop_reason: StopReason,
        usage: Mapping[str, Any],
        *,
        stop_sequence: str | None = None,
        explanation: str = "",
    ) -> list[StreamEvent]:
        """End the message. Call it only if the backend reported the end. `explanation` is why the
        model refused (`types/refusal_stop_details.py` of the `anthropic` SDK)."""
        self._require("started")
        events: list[StreamEvent] = []
        if self._cut is not None and not self._answered:
            events += self.text(cut_notice(self._cut, stop_reason))
        events += self.close_block()
        self._state = "ended"
        delta: dict[str, Any] = {"stop_reason": stop_reason, "stop_sequence": stop_sequence}
        if explanation:
            details = {"type": "refusal", "category": None, "explanation": explanation}
            delta["stop_details"] = details
        return [
            *events,
            event("message_delta", delta=delta, usage=dict(usage)),
            event("message_stop"),
        ]

    def _switch(self, kind: str, block: Mapping[str, Any]) -> list[StreamEvent]:
        if self._open == kind:
            return []
        return [*self.close_block(), *self._open_block(kind, block)]

    def _open_block(self, kind: str, block: Mapping[str, Any]) -> list[StreamEvent]:
        self._require("started")
        self._index += 1
        self._open = kind
        self.empty = False
        self._answered = self._answered or kind in {"text", "tool_use"}
        return [event("content_block_start", index=self._index, content_block=dict(block))]

    def _delta(self, delta: Mapping[str, Any]) -> StreamEvent:
        return event("content_block_delta", index=self._index, delta=dict(delta))

    def _require(self, state: str) -> None:
        if self._state != state:
            raise RuntimeError(f"the stream is {self._state}, but must be {state} for this call")


class Order:
    """Checks the order of events, one by one; unknown events pass."""

    def __init__(self) -> None:
        self._state: Literal["new", "started", "delta", "ended"] = "new"
        self._next = 0
        self._open: int | None = None
        self._kind = ""

    @property
    def ended(self) -> bool:
        """`message_stop` has passed."""
        return self._state == "ended"

    def check(self, item: StreamEvent) -> None:
        """Raise `BackendProtocolError` if `item` is not allowed now."""
        match item.type:
            case "message_start":
                self._expect(self._state == "new", item, "the message has already started")
                self._state = "started"
            case "content_block_start":
                self._start(item)
            case "content_block_delta":
                self._delta(item)
            case "content_block_stop":
                self._expect(item.data.get("index") == self._open, item, "that block is not open")
                self._open = None
            case "message_delta":
                legal = self._state in {"started", "delta"} and self._open is None
                self._expect(legal, item, "a block is open or the message has not started")
                self._state = "delta"
            case "message_stop":
                self._expect(self._state == "delta", item, "`message_delta` is missing")
                self._state = "ended"
            case _:
                pass

    def _start(self, item: StreamEvent) -> None:
        legal = self._state == "started" and self._open is None
        self._expect(legal, item, "a block is open or the message is not running")
        index = item.data.get("index")
        self._expect(index == self._next, item, f"its index is {index!r}, not {self._next}")
        self._open = self._next
        self._next += 1
        self._kind = str(as_object(item.data.get("content_block")).get("type", ""))

    def _delta(self, item: StreamEvent) -> None:
        self._expect(item.data.get("index") == self._open, item, "that block is not open")
        kind = str(as_object(item.data.get("delta")).get("type", ""))
        allowed = _DELTAS.get(self._kind)
        if allowed is None or kind in allowed:
            return
        if any(kind in kinds for kinds in _DELTAS.values()):
            self._expect(False, item, f"a `{kind}` is not allowed in a `{self._kind}` block")

    @staticmethod
    def _expect(legal: bool, item: StreamEvent, reason: str) -> None:
        if not legal:
            what = f"unexpected `{item.type}`: {reason}"
            raise BackendProtocolError(what, record="an event arrived out of order")

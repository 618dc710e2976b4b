"""Reads a Chat Completions reply as Messages API events, chunk by chunk. No I/O.

Chunks: `types/chat/chat_completion_chunk.py` of the `openai` SDK. There text, thinking and calls
are interleaved; here they become consecutive blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import (
    BackendProtocolError,
    Emitter,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
)
from plugway_openai_wire.chat._calls import Calls
from plugway_openai_wire.chat._outcome import (
    FAILED,
    cuts_off,
    explained,
    failure_in,
    sources_in,
    stop_reason_of,
    totals_in,
    usage_in,
)
from plugway_openai_wire.chat._request import BYTES_PER_TOKEN, Translated, estimated_tokens
from plugway_openai_wire.chat._thinking import (
    DETAILS,
    PARTS,
    Details,
    part_text,
    state_of,
    thought_in,
)
from plugway_openai_wire.responses import StopCut
from plugway_translation import FreshIds, Totals, detailed_usage, usage_of


class ChatReader:
    """Reads one reply. `feed` takes one chunk and returns the events to send now."""

    def __init__(self, call: Translated, model: str) -> None:
        """`model` is the model name reported to the client."""
        self._call = call
        self._emitter = Emitter(model=model)
        ids = FreshIds(call.target.ids.back, call.used_ids)
        self._calls = Calls(
            self._emitter, call.names, ids, call.target.reasoning, single=call.single
        )
        self._cut = StopCut(call.cut)
        self._details = Details()
        self._thinking = ""
        """Field of the open thinking block."""
        self._thought: list[str] = []
        self._sources: list[Mapping[str, Any]] = []
        """Citations that arrived before their text."""
        self._late: list[Mapping[str, Any]] = []
        """Deltas with text that arrived during calls; sent after the calls."""
        self._started = False
        self._usage: Mapping[str, Any] = {}
        self._counted: Totals | None = None
        """Totals of `_usage`, computed once."""
        self._reason = ""
        self._matched: Any = None
        self._refusal: str | None = None
        self._written = 0
        self.ended = False
        """Whether `message_stop` was returned."""

    # ── called by the backend ────────────────────────────────────────────────────────────────

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """Return the events for one chunk.

        Raises:
            BackendRefused: the server reports a failure.
        """
        if (failure := failure_in(data)) is not None:
            raise failure
        if usage := usage_in(data):
            self._usage, self._counted = usage, None
        events: list[StreamEvent] = []
        for item in as_list(data.get("choices")):
            choice = as_object(item)
            if choice.get("index") in (0, None) and not self.ended:
                events += self._choice(choice)
        return events

    def end(self) -> list[StreamEvent]:
        """Return the last events.

        Raises `StreamInterrupted` if no finish reason arrived: the reply may be truncated.
        """
        if self.ended:
            return []
        if not self._reason:
            raise StreamInterrupted("the upstream ended its stream without a finish reason")
        if (status := FAILED.get(self._reason)) is not None:
            raise StreamInterrupted(
                f"the upstream reported a failure: `{self._reason}`", status=status
            )
        events = [*self._start(), *self._rest()]
        return events if self.ended else [*events, *self._finish()]

    def whole(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """Return all events of a non-streaming response, read as one chunk.

        Calls wait for the finish reason, so that a truncated call is never opened.
        """
        self._calls.held = True
        events = self.feed(answer)
        if not self._started:
            raise BackendProtocolError("its response has no message")
        self._reason = self._reason or "stop"
        return [*events, *self.end()]

    # ── pieces ───────────────────────────────────────────────────────────────────────────────

    def _choice(self, choice: Mapping[str, Any]) -> list[StreamEvent]:
        delta = as_object(choice.get("delta")) or as_object(choice.get("message"))
        events = self._delta(delta) if delta else []
        if isinstance(reason := choice.get("finish_reason"), str) and reason:
            self._reason = reason
            self._matched = choice.get("stop_reason")  # vLLM
        return events

    def _delta(self, delta: Mapping[str, Any]) -> list[StreamEvent]:
        events = self._start()
        if self._call.warm_only:
            return events
        if self._calls.any:
            if _has_content(delta):
                self._late.append(delta)
        else:
            events += self._content(delta)
        pieces = as_list(delta.get("tool_calls"))
        if not pieces and (function := as_object(delta.get("function_call"))):
            pieces = [{"index": 0, "function": function}]
        if pieces and not self._calls.any and not self.ended:
            events += [*self._text(self._cut.flush()), *self._close_thinking()]
        if pieces and not self.ended:
            events += self._calls.feed(pieces)
        return events

    def _content(self, delta: Mapping[str, Any]) -> list[StreamEvent]:
        """Events for the thinking and the text of one delta."""
        events: list[StreamEvent] = []
        text, field = thought_in(delta)
        detailed = self._details.add(delta[DETAILS]) if DETAILS in delta else ""
        if text or detailed:
            events += self._think(text or detailed, field or "reasoning")
        content = delta.get("content")
        if isinstance(content, str):
            events += self._visible(content)
        else:
            for item in as_list(content):
                part = as_object(item)
                if part.get("type") == "thinking":
                    events += self._think(part_text(part), PARTS)
                else:
                    events += self._visible(part.get("text"))
        if "annotations" in delta:
            self._sources += sources_in(delta)
            events += self._cite()
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refusal = (self._refusal or "") + refusal
            events += self._visible(refusal)
        return events

    def _think(self, text: str, field: str) -> list[StreamEvent]:
        if not text or self.ended:
            return []
        events: list[StreamEvent] = []
        if not self._thinking:
            events += self._text(self._cut.flush())
            self._thinking = field
        self._thought.append(text)
        self._written += len(text)
        return [*events, *self._emitter.thinking(text)]

    def _close_thinking(self) -> list[StreamEvent]:
        """Close the open thinking block, signed with what its provider needs back."""
        details = self._details.take()
        text = "".join(self._thought)
        sign = self._call.target.reasoning
        events: list[StreamEvent] = []
        if text:
            signature = sign.sign(state_of(self._thinking, details, text))
            self._emitter.thinking("", signature=signature)
            events = self._emitter.close_block()
        elif details:
            events = self._emitter.block(sign.block("", state_of("", details, "")))
        self._thinking, self._thought = "", []
        return events

    def _visible(self, text: Any) -> list[StreamEvent]:
        if not isinstance(text, str) or not text or self.ended:
            return []
        self._written += len(text)
        shown, hit = self._cut.feed(text)
        events = self._text(shown)
        return [*events, *self._stop_at(hit)] if hit is not None else events

    def _text(self, text: str) -> list[StreamEvent]:
        if not text:
            return []
        events = self._close_thinking() if self._thought else []
        events += self._emitter.text(text)
        return [*events, *self._cite()] if self._sources else events

    def _cite(self) -> list[StreamEvent]:
        """Send the pending citations if a text block is open."""
        events = [event for source in self._sources for event in self._emitter.cite(source)]
        self._sources = [] if events else self._sources
        return events

    # ── start and end ────────────────────────────────────────────────────────────────────────

    def _start(self) -> list[StreamEvent]:
        if self._started:
            return []
        self._started = True
        totals = self._reported()
        if not totals.prompt:  # the count comes at the end, but clients show the first one
            totals = Totals(estimated_tokens(self._call.body), 0)
        return self._emitter.start({**usage_of(totals), "output_tokens": 0})

    def _rest(self) -> list[StreamEvent]:
        """Send what was held back: the end of a text, calls, and the text after them."""
        events = [*self._text(self._cut.flush()), *self._close_thinking()]
        cut = self._refusal is not None or cuts_off(self._reason, stops=bool(self._call.stops))
        events += self._calls.end(cut=cut)
        for delta in self._late:
            events += self._content(delta)
        if self.ended:
            return events
        return [*events, *self._text(self._cut.flush()), *self._close_thinking()]

    def _finish(self) -> list[StreamEvent]:
        totals = self._totals()
        window = self._call.target.facts.context_tokens
        full = bool(window) and totals.prompt + totals.completion >= window
        calls = self._emitter.tool_calls > 0
        reason = stop_reason_of(self._reason, calls=calls, full=full)
        if self._refusal is not None:
            reason = "refusal"
        if self._call.warm_only:
            reason = "max_tokens"
        sequence = self._matched if self._matched in self._call.stops else None
        if sequence is not None and reason == "end_turn":
            reason = "stop_sequence"
        self.ended = True
        if self._emitter.empty and reason == "end_turn":
            raise BackendProtocolError("its reply is empty: no text and no tool call")
        hit = sequence if reason == "stop_sequence" else None
        ending = self._emitter.finish(reason, detailed_usage(totals), stop_sequence=hit)
        return explained(ending, self._refusal) if reason == "refusal" else ending

    def _stop_at(self, sequence: str) -> list[StreamEvent]:
        """End the reply at a stop sequence that the gateway applies."""
        events = self._close_thinking()
        self.ended = True
        usage = detailed_usage(self._totals())
        return [*events, *self._emitter.finish("stop_sequence", usage, stop_sequence=sequence)]

    def _reported(self) -> Totals:
        if self._counted is None:
            self._counted = totals_in(self._usage)
        return self._counted

    def _totals(self) -> Totals:
        """The server's counts, or estimates: a client that sees 0 never compacts."""
        totals = self._reported()
        if totals.prompt or totals.completion:
            return totals
        written = self._written + self._calls.characters
        return Totals(estimated_tokens(self._call.body), written // BYTES_PER_TOKEN)


def _has_content(delta: Mapping[str, Any]) -> bool:
    """Whether a delta has non-blank content apart from calls."""
    content = delta.get("content")
    blank = isinstance(content, str) and not content.strip()
    named = [delta.get(name) for name in ("refusal", "annotations", DETAILS)]
    return bool(thought_in(delta)[0] or (content and not blank) or any(named))

"""An answer of Chat Completions as events of the Messages API, chunk by chunk. No I/O.

Chunks: `types/chat/chat_completion_chunk.py` of the `openai` SDK. Text, thinking and calls come
beside each other there; here they are blocks, one after the other.
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
from plugway_openai_wire.chat._request import BYTES_PER_TOKEN, Translated, estimated_tokens
from plugway_openai_wire.chat._thinking import (
    DETAILS,
    PARTS,
    Details,
    part_text,
    state_of,
    thought_in,
)
from plugway_openai_wire.chat._told import (
    FAILED,
    cuts_off,
    explained,
    failure_in,
    sources_in,
    stop_reason_of,
    totals_in,
    usage_in,
)
from plugway_openai_wire.responses import StopCut
from plugway_translation import FreshIds, Totals, usage_of, usage_told


class ChatReader:
    """Reads one answer. `feed` takes one chunk and returns what to send now."""

    def __init__(self, call: Translated, model: str) -> None:
        """`model` is the name that the client is told."""
        self._call = call
        self._emitter = Emitter(model=model)
        ids = FreshIds(call.target.ids.back, call.used_ids)
        self._calls = Calls(
            self._emitter, call.names, ids, call.target.reasoning, single=call.single
        )
        self._cut = StopCut(call.cut)
        self._details = Details()
        self._thinking = ""
        """The field of the thinking that is open."""
        self._thought: list[str] = []
        self._sources: list[Mapping[str, Any]] = []
        """Told before the text that they are of."""
        self._late: list[Mapping[str, Any]] = []
        """Deltas with text that came while calls were told: they follow the calls."""
        self._started = False
        self._usage: Mapping[str, Any] = {}
        self._counted: Totals | None = None
        """What is in `_usage`, once somebody has asked."""
        self._reason = ""
        self._matched: Any = None
        self._refusal: str | None = None
        self._written = 0
        self.ended = False
        """`message_stop` was returned."""

    # ── what the backend calls ───────────────────────────────────────────────────────────────

    def feed(self, data: Mapping[str, Any]) -> list[StreamEvent]:
        """The events for one chunk.

        Raises:
            BackendRefused: the server says that it failed, in its own words.
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
        """The last events. Raises `StreamInterrupted` where the server did not say that it is
        done: an answer without its reason to stop may be half of one."""
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
        """All events of an answer that came whole: one chunk that says everything.

        Calls wait for the reason to stop, so that one that was cut off is not begun.
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
            if _says(delta):
                self._late.append(delta)
        else:
            events += self._said(delta)
        pieces = as_list(delta.get("tool_calls"))
        if not pieces and (function := as_object(delta.get("function_call"))):
            pieces = [{"index": 0, "function": function}]
        if pieces and not self._calls.any and not self.ended:
            events += [*self._text(self._cut.flush()), *self._close_thinking()]
        if pieces and not self.ended:
            events += self._calls.feed(pieces)
        return events

    def _said(self, delta: Mapping[str, Any]) -> list[StreamEvent]:
        """Thinking and text of one delta."""
        events: list[StreamEvent] = []
        text, field = thought_in(delta)
        detailed = self._details.add(delta[DETAILS]) if DETAILS in delta else ""
        if text or detailed:
            events += self._think(text or detailed, field or "reasoning")
        content = delta.get("content")
        if isinstance(content, str):
            events += self._tell(content)
        else:
            for item in as_list(content):
                part = as_object(item)
                if part.get("type") == "thinking":
                    events += self._think(part_text(part), PARTS)
                else:
                    events += self._tell(part.get("text"))
        if "annotations" in delta:
            self._sources += sources_in(delta)
            events += self._cite()
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self._refusal = (self._refusal or "") + refusal
            events += self._tell(refusal)
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
        """The end of the thinking that is open, signed with what its maker needs back."""
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

    def _tell(self, text: Any) -> list[StreamEvent]:
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
        """The sources that wait, where a text is open."""
        events = [event for source in self._sources for event in self._emitter.cite(source)]
        self._sources = [] if events else self._sources
        return events

    # ── beginning and end ────────────────────────────────────────────────────────────────────

    def _start(self) -> list[StreamEvent]:
        if self._started:
            return []
        self._started = True
        totals = self._told()
        if not totals.prompt:  # told at the end; a client shows what it is told first
            totals = Totals(estimated_tokens(self._call.body), 0)
        return self._emitter.start({**usage_of(totals), "output_tokens": 0})

    def _rest(self) -> list[StreamEvent]:
        """What is held back: the end of a text, calls, and what was said after them."""
        events = [*self._text(self._cut.flush()), *self._close_thinking()]
        cut = self._refusal is not None or cuts_off(self._reason, stops=bool(self._call.stops))
        events += self._calls.end(cut=cut)
        for delta in self._late:
            events += self._said(delta)
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
        told = sequence if reason == "stop_sequence" else None
        ending = self._emitter.finish(reason, usage_told(totals), stop_sequence=told)
        return explained(ending, self._refusal) if reason == "refusal" else ending

    def _stop_at(self, sequence: str) -> list[StreamEvent]:
        """The client's own stop sequence was met: the server knows nothing of it."""
        events = self._close_thinking()
        self.ended = True
        usage = usage_told(self._totals())
        return [*events, *self._emitter.finish("stop_sequence", usage, stop_sequence=sequence)]

    def _told(self) -> Totals:
        if self._counted is None:
            self._counted = totals_in(self._usage)
        return self._counted

    def _totals(self) -> Totals:
        """What the server counted; by size where it did not, because a client that sees 0 never
        compacts."""
        totals = self._told()
        if totals.prompt or totals.completion:
            return totals
        written = self._written + self._calls.characters
        return Totals(estimated_tokens(self._call.body), written // BYTES_PER_TOKEN)


def _says(delta: Mapping[str, Any]) -> bool:
    """Whether a delta has more than blanks in it, beside calls."""
    content = delta.get("content")
    blank = isinstance(content, str) and not content.strip()
    named = [delta.get(name) for name in ("refusal", "annotations", DETAILS)]
    return bool(thought_in(delta)[0] or (content and not blank) or any(named))

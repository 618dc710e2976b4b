"""Reads a Gemini response, streamed or complete, as Messages API events. No I/O.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. A chunk contains whole
parts: additional text, or a complete call.

A thought signature belongs to a part, usually the first call of a response, which must be sent back
with it. The thinking block before that part carries it under Plugway's signature as
`{"next": ...}`, and the signature of the thought itself as `{"own": ...}`; without a thinking block
a `redacted_thinking` block does. A signature that arrives at the end of already sent text is
dropped: Google recommends sending it back but does not require it, and a block after the final text
would hide the text from clients that look at the last block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plugway import (
    BackendProtocolError,
    BackendRefused,
    Emitter,
    StopReason,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
)
from plugway_gemini._contents import IDS
from plugway_gemini._models import Target
from plugway_gemini._request import Translation
from plugway_translation import (
    FreshIds,
    Totals,
    arguments_of,
    count,
    detailed_usage,
    last_version,
    usage_of,
)
from plugway_wire.arguments import object_text, whole_escapes
from plugway_wire.json import TOO_DEEP, written

_REFUSALS: Final = frozenset(
    ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE", "ESCALATION")
)
_PREFIXES: Final = ("default_api.", "default_api:")
"""Prefixes that Gemini sometimes adds to function names."""
_SILENT: Final = frozenset(("thought", "thoughtSignature", "partMetadata"))


class Reader:
    """Reads one reply. After a useless response, a second one may follow."""

    def __init__(self, translation: Translation, target: Target, model: str) -> None:
        """`model` is the model name reported to the client."""
        self._translation = translation
        self._target = target
        self._emitter = Emitter(model=model)
        self._started = False
        self._totals = Totals()
        self._reason = ""
        self._message = ""
        self._blocked = ""
        self._open = ""
        """Type of the open block."""
        self._own = ""
        self._ids = FreshIds(IDS.back, translation.used_ids)
        self._cited: set[str] = set()
        """Sources already cited."""
        self._has_content = False
        """Whether text or a call was sent."""
        self._cut = False
        """Whether a call was dropped."""
        self._held: tuple[Mapping[str, Any], str] | None = None
        """The last call and its signature; held until later data shows that it is complete."""
        self._fresh = False
        """Whether the held call belongs to the current chunk."""

    @property
    def useless(self) -> bool:
        """Whether the response ended without content, for a reason that a retry may avoid."""
        if self._has_content or self._held or self._blocked or not self._reason:
            return False
        refused = self._reason.startswith("IMAGE_") or self._reason in _REFUSALS
        return self._reason != "MAX_TOKENS" and not refused

    @property
    def ended(self) -> bool:
        """Whether the model reported its end."""
        return bool(self._reason or self._blocked)

    def over(self, *, whole: bool = False) -> None:
        """The response ended. Google omits the reason of some (router-for-me/CLIProxyAPI#5226).

        A `whole` body is complete without one, and so is a stream whose usage says that the model
        only thought. Text may have been cut off.
        """
        thoughts = self._totals.reasoning
        only_thought = 0 < thoughts == self._totals.completion
        nothing = not (self._has_content or self._held)
        if not self.ended and self._started and (whole or (nothing and only_thought)):
            self._reason = "STOP"

    def again(self, translation: Translation) -> None:
        """Start reading a second response."""
        self._translation = translation
        self._reason = self._message = ""

    def feed(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """Return the events of one chunk.

        Raises:
            BackendRefused: the chunk is an error.
        """
        if error := as_object(answer.get("error")):
            status = count(error.get("code"))
            raw = written({"error": error}, TOO_DEEP)
            raise BackendRefused(status if 400 <= status < 600 else 502, raw)
        self._count(as_object(answer.get("usageMetadata")))
        self._fresh = False
        events: list[StreamEvent] = []
        if not self._started:
            self._started = True
            events += self._emitter.start({**usage_of(self._totals), "output_tokens": 0})
        feedback = as_object(answer.get("promptFeedback"))
        self._blocked = str(feedback.get("blockReason") or self._blocked)
        for candidate in map(as_object, as_list(answer.get("candidates"))):
            if count(candidate.get("index")):
                continue
            for part in as_list(as_object(candidate.get("content")).get("parts")):
                events += self._part(as_object(part))
            self._reason = str(candidate.get("finishReason") or self._reason)
            self._message = str(candidate.get("finishMessage") or self._message)
            events += self._cite(as_object(candidate.get("citationMetadata")))
        return events

    def _cite(self, metadata: Mapping[str, Any]) -> list[StreamEvent]:
        """Cite web sources of quoted text
        (https://ai.google.dev/api/generate-content#v1beta.CitationMetadata)."""
        events: list[StreamEvent] = []
        for source in map(as_object, as_list(metadata.get("citationSources"))):
            if isinstance(uri := source.get("uri"), str) and uri not in self._cited:
                self._cited.add(uri)
                events += self._emitter.cite(
                    {
                        "type": "web_search_result_location",
                        "url": uri,
                        "title": None,
                        "cited_text": "",
                        "encrypted_index": "",
                    }
                )
        return events

    def end(self) -> list[StreamEvent]:
        """Return the last events.

        Raises:
            StreamInterrupted: the model did not report its end.
            BackendProtocolError: the reply is empty.
        """
        if not self.ended:
            raise StreamInterrupted("the stream ended before Gemini finished the reply")
        why = f"{self._reason or self._blocked}{f': {self._message}' if self._message else ''}"
        if self.useless:
            record = "Gemini returned an empty reply"
            raise BackendProtocolError(f"{record}: {why}", record=record)
        events = self._last_call()
        stop = self._stop()
        if stop is None:  # a malformed call after text: clients retry after an interruption
            record = "Gemini stopped in the middle of its reply"
            raise StreamInterrupted(f"{record}: {why}", record=record)
        if (
            not self._has_content and not self._cut
        ):  # agents stop at an empty turn, or repeat the request endlessly
            problem = "gave no answer" if stop == "refusal" else "used all tokens for thinking"
            events += [*self._close(), *self._emitter.text(f"[Gemini {problem}: {why}]")]
        usage = detailed_usage(self._totals)
        because = self._message if stop == "refusal" else ""
        events += self._close()
        return [*events, *self._emitter.finish(stop, usage, explanation=because)]

    def _last_call(self) -> list[StreamEvent]:
        """Send the last call, or drop it if the reply was truncated.

        Gemini sends arguments as an object, so it is unknown whether they are complete.
        """
        if self._held is None:
            return []
        if self._reason != "MAX_TOKENS" and not _is_refusal(self._reason):
            return self._release()
        name = self._name(str(self._held[0].get("name")))
        self._held, self._cut = None, True
        return [*self._close(), *self._emitter.cut_call(name)]

    # ── parts ────────────────────────────────────────────────────────────────────────────────

    def _part(self, part: Mapping[str, Any]) -> list[StreamEvent]:
        if self._repeats(as_object(part.get("functionCall"))):
            return []
        says = part.get("text") or any(v for k, v in part.items() if k not in {"text", *_SILENT})
        return [*(self._release() if says else []), *self._new_part(part)]

    def _new_part(self, part: Mapping[str, Any]) -> list[StreamEvent]:
        mark = part.get("thoughtSignature")
        signed = mark if isinstance(mark, str) else ""
        text = part.get("text")
        if part.get("thought") is True:
            return self._thought(text if isinstance(text, str) else "", signed)
        if "functionCall" in part:
            return self._call(as_object(part["functionCall"]), signed)
        if isinstance(text, str):
            return self._text(text, signed)
        kind = next((k for k, v in part.items() if k not in _SILENT and v is not None), "")
        return self._text(f"[unsupported part: {kind}]", "") if kind else []

    def _thought(self, text: str, signed: str) -> list[StreamEvent]:
        self._own = signed or self._own
        if not text:
            return []
        self._open = "thinking"
        return self._emitter.thinking(text)

    def _text(self, text: str, signed: str) -> list[StreamEvent]:
        if not text:
            return []
        carried = self._close(signed) if self._open != "text" else []
        self._open, self._has_content = "text", True
        return [*carried, *self._emitter.text(text)]

    def _call(self, call: Mapping[str, Any], signed: str) -> list[StreamEvent]:
        name = call.get("name")
        if not isinstance(name, str) or not name:
            raise BackendProtocolError("Gemini called a tool without a name")
        if not (self._translation.one_call and self._emitter.tool_calls):
            self._held, self._fresh = (call, signed), True
        return []

    def _repeats(self, call: Mapping[str, Any]) -> bool:
        """Whether `call` repeats or extends the held call, which it then replaces.

        Calls in one chunk never repeat each other.
        """
        if self._held is None or self._fresh or not call.get("id"):
            return False
        held, signed = self._held
        if call["id"] != held.get("id") or call.get("name") != held.get("name"):
            return False
        before = _arguments(held)
        meant = last_version([before, _arguments(call)])
        if meant is not None and meant != before:
            self._held = call, signed
        return meant is not None

    def _release(self) -> list[StreamEvent]:
        """Send the held call, now known to be complete."""
        if self._held is None:
            return []
        (call, signed), self._held = self._held, None
        id_ = self._ids.of(str(call.get("id") or ""))
        events = self._close(signed)
        self._open, self._has_content = "tool_use", True
        events += self._emitter.tool_start(self._name(str(call.get("name"))), tool_id=id_)
        return [*events, *self._emitter.tool_arguments(_arguments(call))]

    def _name(self, name: str) -> str:
        names = self._translation.names
        for prefix in _PREFIXES:
            bare = name.removeprefix(prefix)
            if bare != name and names.back(name) == name:
                return names.back(bare)
        return names.back(name)

    def _close(self, following: str = "") -> list[StreamEvent]:
        """Close the open block; `following` is the thought signature of the next part."""
        state = {"own": self._own, "next": following}
        state = {name: value for name, value in state.items() if value}
        thinking, self._open = self._open == "thinking", ""
        if thinking:
            self._own = ""
            self._emitter.thinking("", signature=self._target.reasoning.sign(state or None))
            return self._emitter.close_block()
        if not following:
            return self._emitter.close_block()
        carrier = self._target.reasoning.block("", {"next": following})
        return [*self._emitter.close_block(), *self._emitter.block(carrier)]

    # ── end ──────────────────────────────────────────────────────────────────────────────────

    def _stop(self) -> StopReason | None:
        """The stop reason; None if the reply is incomplete."""
        window = self._target.facts.context_tokens
        if self._blocked and not self._has_content:
            return "refusal"
        match self._reason:
            case "STOP" | "TOO_MANY_TOOL_CALLS":
                return "tool_use" if self._emitter.tool_calls else "end_turn"
            case "MAX_TOKENS":
                full = window and self._totals.prompt + self._totals.completion >= window
                return "model_context_window_exceeded" if full else "max_tokens"
            case reason if _is_refusal(reason):
                return "refusal"
            case _:
                return "tool_use" if self._emitter.tool_calls else None

    def _count(self, usage: Mapping[str, Any]) -> None:
        """Update the totals, which cover the reply so far; the prompt includes cached tokens."""
        if not usage:
            return
        found = totals_in(usage)
        self._totals = found._replace(prompt=found.prompt or self._totals.prompt)


def totals_in(usage: Mapping[str, Any]) -> Totals:
    """The totals of `usageMetadata`; thoughts are counted beside the reply."""
    thoughts = count(usage.get("thoughtsTokenCount"))
    return Totals(
        prompt=count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount")),
        completion=count(usage.get("candidatesTokenCount")) + thoughts,
        cached=count(usage.get("cachedContentTokenCount")),
        reasoning=thoughts,
    )


def _arguments(call: Mapping[str, Any]) -> str:
    """The arguments of a call as JSON text; Gemini sends an object, some servers text."""
    text = arguments_of(call.get("args"))
    found = object_text(whole_escapes(text))
    return text if found is None else found


def _is_refusal(reason: str) -> bool:
    return reason in _REFUSALS or reason.startswith(("IMAGE_", "NO_IMAGE"))

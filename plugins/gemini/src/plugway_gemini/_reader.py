"""Gemini's answer, in pieces or whole, as events of the Messages API. No I/O.

https://ai.google.dev/api/generate-content#v1beta.GenerateContentResponse. A piece carries whole
parts: text to be added, or a finished call.

A thought signature stands on a part: mostly on the first call of an answer, which must come back
with it. It travels in the thinking block before that part, under our own signature, as
`{"next": ...}`; the signature of a thought itself as `{"own": ...}`. Where there is no thinking to
carry it, a `redacted_thinking` block does. A signature at the end of text, after the text was sent,
is not carried: Google recommends it there and does not demand it, and a block after the last text
would hide that from clients that look at the last block.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from plugway import (
    BackendProtocolError,
    BackendRefused,
    Emitter,
    StopReason,
    StreamEvent,
    StreamInterrupted,
    as_list,
    as_object,
    object_text,
    whole_escapes,
)
from plugway_gemini._contents import IDS
from plugway_gemini._models import Target
from plugway_gemini._request import Translation
from plugway_translation import (
    FreshIds,
    Totals,
    arguments_of,
    count,
    last_meant,
    usage_of,
    usage_told,
)

_REFUSALS: Final = frozenset(
    ("SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE", "ESCALATION")
)
_PREFIXES: Final = ("default_api.", "default_api:")
"""What Gemini sometimes puts before the name of a function."""
_SILENT: Final = frozenset(("thought", "thoughtSignature", "partMetadata"))


class Reader:
    """Reads one answer. A second upstream answer may follow where the first was of no use."""

    def __init__(self, translation: Translation, target: Target, model: str) -> None:
        """`model` is the name that the client is told."""
        self._translation = translation
        self._target = target
        self._emitter = Emitter(model=model)
        self._started = False
        self._totals = Totals()
        self._reason = ""
        self._message = ""
        self._blocked = ""
        self._open = ""
        """`thinking` while such a block is open."""
        self._own = ""
        self._ids = FreshIds(IDS.back, translation.used_ids)
        self._cited: set[str] = set()
        """Sources that were told."""
        self._said = False
        """Text or a call went out."""
        self._cut = False
        """A call was left out."""
        self._held: tuple[Mapping[str, Any], str] | None = None
        """The last call and its signature: it is told when what follows shows that it is whole."""
        self._fresh = False
        """The call that is held is of the piece that is read now."""

    @property
    def useless(self) -> bool:
        """The answer ended with nothing said, for a reason that another try may not have."""
        if self._said or self._held or self._blocked or not self._reason:
            return False
        refused = self._reason.startswith("IMAGE_") or self._reason in _REFUSALS
        return self._reason != "MAX_TOKENS" and not refused

    @property
    def ended(self) -> bool:
        """The model has said that it is done."""
        return bool(self._reason or self._blocked)

    def again(self, translation: Translation) -> None:
        """Another answer follows."""
        self._translation = translation
        self._reason = self._message = ""

    def feed(self, answer: Mapping[str, Any]) -> list[StreamEvent]:
        """The events of one piece.

        Raises:
            BackendRefused: the piece is an error.
        """
        if error := as_object(answer.get("error")):
            status = count(error.get("code"))
            raw = orjson.dumps({"error": error})
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
        """Sources in the web of what was recited
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
        """The end of the stream.

        Raises:
            StreamInterrupted: the model has not said that it is done.
            BackendProtocolError: it has said nothing.
        """
        if not self.ended:
            raise StreamInterrupted("the stream ended before Gemini finished the reply")
        why = f"{self._reason or self._blocked}{f': {self._message}' if self._message else ''}"
        if self.useless:
            record = "Gemini returned an empty reply"
            raise BackendProtocolError(f"{record}: {why}", record=record)
        events = self._last_call()
        stop = self._stop()
        if stop is None:  # a broken call after text: a client heals from a cut, not from an end
            record = "Gemini stopped in the middle of its reply"
            raise StreamInterrupted(f"{record}: {why}", record=record)
        if (
            not self._said and not self._cut
        ):  # a turn without a word stops agents, or makes them ask for ever
            told = "gave no answer" if stop == "refusal" else "used all tokens for thinking"
            events += [*self._close(), *self._emitter.text(f"[Gemini {told}: {why}]")]
        usage = usage_told(self._totals)
        because = self._message if stop == "refusal" else ""
        events += self._close()
        return [*events, *self._emitter.finish(stop, usage, explanation=because)]

    def _last_call(self) -> list[StreamEvent]:
        """The call that nothing follows; it is left out where the answer was cut off.

        Gemini gives its arguments as an object, which says nothing about whether they are whole.
        """
        if self._held is None:
            return []
        if self._reason != "MAX_TOKENS" and not _is_refusal(self._reason):
            return self._told()
        name = self._name(str(self._held[0].get("name")))
        self._held, self._cut = None, True
        return [*self._close(), *self._emitter.cut_call(name)]

    # ── parts ────────────────────────────────────────────────────────────────────────────────

    def _part(self, part: Mapping[str, Any]) -> list[StreamEvent]:
        if self._repeats(as_object(part.get("functionCall"))):
            return []
        says = part.get("text") or any(v for k, v in part.items() if k not in {"text", *_SILENT})
        return [*(self._told() if says else []), *self._new_part(part)]

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
        return self._text(f"[a part that cannot be shown here: {kind}]", "") if kind else []

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
        self._open, self._said = "text", True
        return [*carried, *self._emitter.text(text)]

    def _call(self, call: Mapping[str, Any], signed: str) -> list[StreamEvent]:
        name = call.get("name")
        if not isinstance(name, str) or not name:
            raise BackendProtocolError("Gemini called a tool without a name")
        if not (self._translation.one_call and self._emitter.tool_calls):
            self._held, self._fresh = (call, signed), True
        return []

    def _repeats(self, call: Mapping[str, Any]) -> bool:
        """Whether it is the call that is held, once more or further grown, which takes its place;
        in one piece nothing is said twice."""
        if self._held is None or self._fresh or not call.get("id"):
            return False
        held, signed = self._held
        if call["id"] != held.get("id") or call.get("name") != held.get("name"):
            return False
        before = _arguments(held)
        meant = last_meant([before, _arguments(call)])
        if meant is not None and meant != before:
            self._held = call, signed
        return meant is not None

    def _told(self) -> list[StreamEvent]:
        """The call that was held, now that it is known to be whole."""
        if self._held is None:
            return []
        (call, signed), self._held = self._held, None
        id_ = self._ids.of(str(call.get("id") or ""))
        events = self._close(signed)
        self._open, self._said = "tool_use", True
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
        """Ends the open block; `following` is the thought signature of the part that comes now."""
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

    # ── the end ──────────────────────────────────────────────────────────────────────────────

    def _stop(self) -> StopReason | None:
        """None where what was said is no whole answer."""
        window = self._target.facts.context_tokens
        if self._blocked and not self._said:
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
        """Counts are of the whole answer so far. A prompt's count includes what was cached."""
        if not usage:
            return
        prompt = count(usage.get("promptTokenCount")) + count(usage.get("toolUsePromptTokenCount"))
        thoughts = count(usage.get("thoughtsTokenCount"))
        self._totals = Totals(
            prompt=prompt or self._totals.prompt,
            completion=count(usage.get("candidatesTokenCount")) + thoughts,
            cached=count(usage.get("cachedContentTokenCount")),
            reasoning=thoughts,
        )


def _arguments(call: Mapping[str, Any]) -> str:
    """The JSON text of a call's arguments: an object as the API has them, or the text of one."""
    text = arguments_of(call.get("args"))
    found = object_text(whole_escapes(text))
    return text if found is None else found


def _is_refusal(reason: str) -> bool:
    return reason in _REFUSALS or reason.startswith(("IMAGE_", "NO_IMAGE"))

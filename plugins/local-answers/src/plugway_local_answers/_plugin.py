"""The plugin: recognizes requests that need no model, and replies to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from pydantic import AfterValidator, Field

from plugway import Exchange, MessagesRequest, Options, Plugin, Reply, hookimpl, new_id
from plugway_local_answers._known import Known, estimated_tokens, probe, title, topic

MAX_BYTES: Final = 256 * 1024
"""Size in bytes above which a request is not examined: those that need no model are small."""


def _is_word(words: tuple[str, ...]) -> tuple[str, ...]:
    for word in words:
        if not word.strip() or len(word.split()) > 1:
            raise ValueError(f"{word!r} should be a single word")
    return tuple(word.casefold().strip() for word in words)


class LocalAnswersOptions(Options):
    """Options of `local-answers`."""

    probes: bool = True
    """Answer probes: one of `probe_words` alone, with `max_tokens: 1`."""
    probe_words: Annotated[tuple[str, ...], AfterValidator(_is_word)] = Field(
        default=("quota", "test", "count", "foo")
    )
    """Words that count as a probe, in any case."""
    titles: bool = True
    """Answer title requests with the first words of the prompt."""
    topics: bool = True
    """Answer requests that ask whether a first message starts a new topic: it always does."""


class LocalAnswers(Plugin[LocalAnswersOptions]):
    """Replies to probes, title and topic requests at once, without a model."""

    @hookimpl
    def answer(self, request: MessagesRequest, exchange: Exchange) -> Reply | None:
        """The reply if no model is needed, otherwise None."""
        if request.original is not None:
            return None  # other clients use similar schemas for their own requests
        if len(request.raw) > MAX_BYTES or request.get("tools"):
            return None
        known = self._known(request.body)
        if known is None:
            return None
        exchange.note(self.name, known.why, stage="answer")
        return Reply.message(_message(request, known))

    def _known(self, body: Mapping[str, Any]) -> Known | None:
        options = self.options
        return (
            (probe(body, options.probe_words) if options.probes else None)
            or (title(body) if options.titles else None)
            or (topic(body) if options.topics else None)
        )


def _message(request: MessagesRequest, known: Known) -> dict[str, Any]:
    tokens = 1 if known.kind == "probe" else max(1, len(known.text) // 4)
    return {
        "id": new_id("msg"),
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [{"type": "text", "text": known.text}],
        "stop_reason": "max_tokens" if known.kind == "probe" else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": estimated_tokens(request.body), "output_tokens": tokens},
    }

"""The plugin: corrects the status of a failure, and reports it if all targets failed."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Final

import anyio
import orjson
from pydantic import Field

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    Exchange,
    MessagesRequest,
    Options,
    Plugin,
    Reply,
    Send,
    StateKey,
    StreamInterrupted,
    hookimpl,
)
from plugway_error_normalizer._message import Place, headers_of, message_of
from plugway_upstream_errors import Learned, Meaning, meaning_of
from plugway_wire.errors import client_status

MODELS_SECONDS: Final = 1.0
"""Timeout for listing a backend's models after an unknown model."""
BYTES_PER_TOKEN: Final = 4

_TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_SIZE: StateKey[int] = StateKey("error-normalizer.size")
_SHOULD_STAY: Final = frozenset(("overflow", "output_limit", "unsupported", "field_too_long"))
"""Kinds for which no other target is tried, because the request is at fault."""


class ErrorNormalizerOptions(Options):
    """Options of `error-normalizer`."""

    max_upstream_characters: int = Field(default=2000, ge=100, le=20_000)
    """Maximum characters quoted from an upstream's error."""
    list_close_models: bool = True
    """List a backend's models with similar names if it does not have the requested one."""


class ErrorNormalizer(Plugin[ErrorNormalizerOptions]):
    """Turns any upstream's error into the status, type and message that the client understands."""

    def __init__(self, options: ErrorNormalizerOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._windows = Learned()

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Correct a permanent failure that a server reports as a temporary one.

        A server that answers 500 to a prompt that is too long must not be retried, and must not
        count as failing.
        """
        try:
            return await send(request, attempt)
        except BackendError as failure:
            if not _native(failure):
                exchange.state[_SIZE] = len(request.raw)
                self._correct(failure, attempt)
            raise

    @hookimpl
    async def normalize_failure(
        self, failure: BackendError, attempt: Attempt, exchange: Exchange
    ) -> Reply | None:
        """Build the error reply; errors of an Anthropic upstream stay unchanged."""
        if _native(failure):
            return None
        meaning = meaning_of(failure)
        status = _status(failure, meaning)
        place = await self._place(meaning, attempt, exchange)
        most = self.options.max_upstream_characters
        own = failure.message if failure.permanent else ""
        text = message_of(meaning, place, own, failure.message, most)
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        envelope = {
            "type": "error",
            "error": {"type": kind, "message": text},
            "request_id": exchange.id,
        }
        return Reply.whole(status, orjson.dumps(envelope), headers=headers_of(failure, meaning))

    def _correct(self, failure: BackendError, attempt: Attempt) -> None:
        meaning = meaning_of(failure)
        if meaning.limit and meaning.kind == "overflow":
            self._windows.learn(attempt.target, meaning.limit)
        if failure.retry_after is None:
            failure.retry_after = meaning.retry_after
        has_status = isinstance(failure, BackendRefused | StreamInterrupted)
        if not has_status or meaning.status == failure.status or meaning.status >= 500:
            return
        self.log.info(
            "`%s` answered %s, which means `%s`", attempt.target, failure.status, meaning.kind
        )
        failure.status = meaning.status
        failure.try_next = meaning.kind not in _SHOULD_STAY

    async def _place(self, meaning: Meaning, attempt: Attempt, exchange: Exchange) -> Place:
        close: tuple[str, ...] = ()
        if meaning.kind == "model_not_found" and self.options.list_close_models:
            close = await _close_models(attempt)
        return Place(
            attempt.backend.name,
            attempt.model,
            exchange.model_asked,
            prompt=(exchange.state.get(_SIZE) or 0) // BYTES_PER_TOKEN,
            window=self._windows.get(attempt.target),
            close=close,
        )


def _native(failure: BackendError) -> bool:
    return isinstance(failure, BackendRefused) and failure.native


def _status(failure: BackendError, meaning: Meaning) -> int:
    """Report an unreachable upstream like an overloaded one, so that the client retries."""
    if isinstance(failure, BackendUnavailable) and meaning.kind == "overloaded":
        return failure.status if meaning.permanent else 529
    return client_status(meaning.status)


async def _close_models(attempt: Attempt) -> tuple[str, ...]:
    """Up to three models of the backend with a name similar to the requested one."""
    try:
        with anyio.fail_after(MODELS_SECONDS):
            known = [info.id for info in await attempt.backend.models()]
    except (BackendError, TimeoutError):
        return ()
    others = [name for name in known if name != attempt.model]
    return tuple(get_close_matches(attempt.model, others, n=3, cutoff=0.5))

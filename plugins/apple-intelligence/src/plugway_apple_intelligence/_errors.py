"""Errors of Apple's SDK as errors of the pipeline. Pure functions.

The classes are recognised by name, so that the SDK need not be imported (`errors.py` of
apple-fm-sdk 0.2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from plugway import BackendError, BackendRefused, BackendUnavailable
from plugway_apple_intelligence._words import UNAVAILABLE
from plugway_upstream_errors import overflow_sentence

REFUSED: Final = "RefusalError"
GUARDRAIL: Final = "GuardrailViolationError"
OVERFLOW: Final = "ExceededContextWindowSizeError"
BUSY_SECONDS: Final = 5.0
ASSETS_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """Tokens of the prompt and of the window."""

    prompt: int
    window: int


def refused(status: int, message: str, *, record: str = "") -> BackendRefused:
    """An error about this request, which another target may still serve. A message that quotes a
    server needs a `record` for the log."""
    failure = BackendRefused(status, b"", message=message, permanent=True, record=record)
    failure.try_next = True
    return failure


def too_long(sizes: Sizes) -> BackendRefused:
    """The error with the sentence that makes Claude Code compact."""
    return refused(400, overflow_sentence(sizes.prompt, sizes.window))


def unavailable(reason: str) -> BackendUnavailable:
    """The error for a reason of `SystemLanguageModelUnavailableReason`."""
    message = UNAVAILABLE.get(reason, UNAVAILABLE["UNKNOWN"])
    if reason == "MODEL_NOT_READY":
        return BackendUnavailable(message, status=503, retry_after=ASSETS_SECONDS)
    return BackendUnavailable(message, status=503, permanent=True)


def kind_of(error: BaseException) -> str:
    """The name of the SDK's class that the error is an instance of; empty if there is none."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return next((name for name in names if name in _KNOWN or name in _ENDINGS), "")


def failure_of(error: BaseException, sizes: Sizes) -> BackendError:
    """The failure for an error that the SDK raised before any content."""
    make = _KNOWN.get(kind_of(error))
    if make is not None:
        return make()
    if kind_of(error) == OVERFLOW:
        return too_long(sizes)
    return BackendError(
        "Apple's framework failed without a known reason. Retry; if it persists, look at the "
        "Mac's Console app for the process `gateway`, and restart the Mac",
        status=502,
        record=f"Apple's framework failed: {type(error).__name__}",
    )


def _guardrail() -> BackendError:
    return refused(
        400,
        "Apple's guardrails blocked this request or its reply. They sometimes block harmless text: "
        "rephrase it, use another model, or set `guardrails: permissive` for transforming text",
    )


def _language() -> BackendError:
    return refused(
        400, "Apple's model does not support the language of this request. Use another model for it"
    )


def _guide() -> BackendError:
    return refused(
        400,
        "Apple's guided generation does not support a tool's schema, or that of the reply. "
        "Simplify it, or use another model",
    )


def _rate() -> BackendError:
    return BackendRefused(
        429,
        b"",
        message="Apple's model limits the rate of requests. It limits processes in the background "
        "more than those in front",
        retry_after=BUSY_SECONDS,
    )


def _busy() -> BackendError:
    return BackendUnavailable(
        "Apple's model is busy with other requests", status=529, retry_after=BUSY_SECONDS
    )


def _decoding() -> BackendError:
    return BackendError("Apple's framework could not decode its model's output", status=502)


_ENDINGS: Final = (REFUSED, OVERFLOW)
"""Errors that depend on more than their class."""
_KNOWN: Final[dict[str, Callable[[], BackendError]]] = {
    GUARDRAIL: _guardrail,
    "AssetsUnavailableError": lambda: unavailable("MODEL_NOT_READY"),
    "UnsupportedGuideError": _guide,
    "InvalidGenerationSchemaError": _guide,
    "UnsupportedLanguageOrLocaleError": _language,
    "DecodingFailureError": _decoding,
    "RateLimitedError": _rate,
    "ConcurrentRequestsError": _busy,
}

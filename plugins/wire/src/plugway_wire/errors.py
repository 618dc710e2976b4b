"""The exceptions of requests and replies, and the Anthropic error format.

The kernel defines the first three; the pipeline and the plugins decide how to handle an error.

    PlugwayError
    ├─ ConfigError              all problems of a configuration at once
    ├─ PluginError              a plugin violates the contract; raised at load time
    ├─ HookError                a hook raised, timed out or returned the wrong type
    ├─ RequestRejected          sent to the caller: status, type, message, headers
    │   ├─ InvalidRequest       400
    │   ├─ Forbidden            403
    │   └─ NoRoute              404
    └─ BackendError             an attempt failed; the resilience policy may retry
        ├─ BackendUnavailable   refused, unreachable, not resolved, or lost before the head
        ├─ BackendTimeout       no head, no first event, or no further bytes in time
        ├─ BackendRefused       the upstream returned an error status
        ├─ BackendProtocolError the upstream's response violates its protocol
        └─ StreamInterrupted    the stream broke off, or carried an error, before its end
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import orjson

from plugway_log import Recorded, bytes_without_secrets, without_secrets
from plugway_wire.reason import code_in, reason_in

ErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
]
"""The values of `error.type` that the Anthropic Messages API documents."""

TYPE_FOR_STATUS: Mapping[int, ErrorType] = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""`error.type` by status. Other 4xx are `invalid_request_error`, other 5xx `api_error`."""

BETWEEN: Final = frozenset(
    (405, 406, 407, 411, 412, 415, 416, 417, 421, 425, 426, 428, 505, 506, 508, 510, 511)
)
"""Statuses about the gateway's own request or an intermediary, not about the client's request (RFC
9110, 15.5 and 15.6; RFC 6585; RFC 8470)."""
LONGEST_WAIT: Final = 31 * 86_400.0
"""Longest valid `retry-after` in seconds; longer ones are ignored."""

Headers = tuple[tuple[str, str], ...]
"""Headers in order; names in lower case."""


def error_type(status: int) -> ErrorType:
    """The documented `error.type` of an HTTP status."""
    if status in TYPE_FOR_STATUS:
        return TYPE_FOR_STATUS[status]
    return "invalid_request_error" if status < 500 else "api_error"


def client_status(status: int) -> int:
    """The status for the client if an upstream responded with `status`."""
    return status if 400 <= status < 600 and status not in BETWEEN else 502


def sound_wait(seconds: float | None) -> float | None:
    """`seconds` if it is a valid wait, else None."""
    return seconds if seconds is not None and 0 <= seconds <= LONGEST_WAIT else None


def error_body(type_: str, message: str, request_id: str) -> bytes:
    """An error in the Anthropic format, as JSON bytes."""
    error = {"type": type_, "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": request_id})


class PlugwayError(Recorded):
    """Base of all exceptions that Plugway raises on purpose."""


class RequestRejected(PlugwayError):
    """An error reply for the client: raise it from a hook or a backend to end the exchange."""

    status: int = 400

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        type: ErrorType | None = None,
        headers: Mapping[str, str] | None = None,
        retry: bool | None = None,
        record: str | bool = False,
    ) -> None:
        """`retry=False` adds `x-should-retry: false`, which stops a client's own retries.

        The message is for the client. The log and the receipt have the status and type, or the text
        `record`, or with `record=True` the message, which then must not quote the request.
        """
        self.message = without_secrets(message)  # an upstream may repeat the key it was sent
        super().__init__(self.message)
        self._record = record
        if status is not None:
            self.status = status
        self.type: ErrorType = type or error_type(self.status)
        extra = dict(headers or {})
        if retry is not None:
            extra.setdefault("x-should-retry", "true" if retry else "false")
        self.headers: Headers = tuple((name.lower(), value) for name, value in extra.items())

    @property
    def record(self) -> str:
        """See `PlugwayError.record`."""
        if self._record is True:
            return self.message
        return self._record or f"refused with status {self.status} ({self.type})"


class InvalidRequest(RequestRejected):
    """The request is invalid."""

    status = 400


class Forbidden(RequestRejected):
    """The caller may not do this."""

    status = 403


class NoRoute(RequestRejected):
    """No backend serves the requested model."""

    status = 404


class BackendError(PlugwayError):
    """An attempt on a backend failed before its first content event."""

    status: int = 502

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        headers: Headers = (),
        retry_after: float | None = None,
        permanent: bool = False,
        record: str = "",
    ) -> None:
        """`permanent` means that a retry cannot help: the client gets `x-should-retry: false`.

        A message with text of the upstream, which may quote the request, needs a `record` for the
        log and the receipt.
        """
        self.message = without_secrets(message)  # an upstream may repeat the key it was sent
        super().__init__(self.message)
        self._record = record
        if status is not None:
            self.status = status if 400 <= status < 600 else 502
        self.headers = headers
        self.retry_after = sound_wait(retry_after)
        self.permanent = permanent or self.status in BETWEEN
        self.backend = ""
        """Name of the backend instance; set by the pipeline."""
        shown = client_status(self.status)
        self.try_next = shown >= 500 or shown in {401, 402, 403, 404, 429}
        """Whether the next target of the route may be tried; plugins may set it."""

    @property
    def record(self) -> str:
        """See `PlugwayError.record`."""
        return self._record or self.message


class BackendUnavailable(BackendError):
    """No connection to the upstream, or it was lost before the response head."""

    status = 503


class BackendTimeout(BackendError):
    """The backend did not respond in time, or stopped sending."""

    status = 504


class BackendRefused(BackendError):
    """The upstream responded with an error status; `body` is its body with keys redacted."""

    def __init__(
        self,
        status: int,
        body: bytes,
        *,
        headers: Headers = (),
        retry_after: float | None = None,
        native: bool = False,
        message: str = "",
        permanent: bool = False,
        record: str = "",
    ) -> None:
        """`native` means that the body is an Anthropic error, which goes to the client unchanged.

        Without `message` the client gets the text of the body. If there is a body, a message may
        quote it, so the default `record` is the status and the body's error code.
        """
        body = self.body = bytes_without_secrets(body)
        code = code_in(body)
        super().__init__(
            message or reason_in(body) or f"the upstream responded with status {status}",
            status=status,
            headers=headers,
            retry_after=retry_after,
            permanent=permanent,
            record=record
            or ("" if body else message)
            or f"refused with status {status}" + (f" ({code})" if code else ""),
        )
        self.native = native


class BackendProtocolError(BackendError):
    """The upstream's response violates its protocol."""


class StreamInterrupted(BackendError):
    """A stream ended early, or contained an error event."""

    body: bytes = b""
    """The data of that event, with keys redacted."""

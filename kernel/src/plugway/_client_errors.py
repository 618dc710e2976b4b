"""What the HTTP client raises, as failures of ours.

When a connection is opened, kept or used again is the business of `_upstream`.
"""

from __future__ import annotations

import ssl
from typing import Final

import aiohttp

from plugway._errors import (
    BackendError,
    BackendProtocolError,
    BackendTimeout,
    BackendUnavailable,
    StreamInterrupted,
)

FAILURES: Final = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""Everything that the HTTP client raises: `tests/kernel/test_client_errors.py` goes through it."""
LOST: Final = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
)
"""How a connection that the other side has closed shows."""


def unanswered(error: Exception) -> bool:
    """Whether no part of an answer had come (aiohttp hands over the head that was begun)."""
    return not isinstance(error, aiohttp.ServerDisconnectedError) or isinstance(error.message, str)


def as_backend_error(error: Exception, where: str, *, started: bool = False) -> BackendError:
    """A failure of the HTTP client as one of ours.

    `started` says that the head of the answer was there, so that a loss is an interruption.
    """
    match error:
        case aiohttp.ConnectionTimeoutError():
            return BackendUnavailable(f"{where} did not accept the connection in time")
        case TimeoutError():
            return BackendTimeout(f"{where} did not answer in time")
        case aiohttp.ClientSSLError() | aiohttp.ServerFingerprintMismatch() | ssl.SSLError() if (
            not started
        ):
            reason = f"{where} cannot be trusted: TLS failed ({error})"
            failure = BackendUnavailable(reason, status=502, permanent=True)
            failure.try_next = False
            return failure
        case aiohttp.ClientConnectorDNSError():
            return BackendUnavailable(f"the name in {where} cannot be resolved")
        case aiohttp.ClientConnectorError():
            reason = error.os_error.strerror or str(error.os_error)
            return BackendUnavailable(f"{where} cannot be reached: {reason}")
        case aiohttp.ClientPayloadError() | aiohttp.ClientConnectionError() | OSError():
            if started:
                return StreamInterrupted(f"{where} broke off its answer")
            return BackendUnavailable(f"{where} closed the connection before it answered")
        case _:
            return BackendProtocolError(f"{where} does not answer in valid HTTP: {error}")

"""Every exception of the HTTP client has a meaning of ours."""

import inspect
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from plugway import (
    BackendError,
    BackendProtocolError,
    BackendTimeout,
    BackendUnavailable,
    StreamInterrupted,
)
from plugway._client_errors import FAILURES, as_backend_error


def _client_errors():
    found = [member for _, member in inspect.getmembers(aiohttp.client_exceptions, inspect.isclass)]
    # Of WebSockets and of a server's own part, which are not used here.
    others = (aiohttp.WSMessageTypeError, aiohttp.WSServerHandshakeError)
    return [
        kind
        for kind in found
        if issubclass(kind, Exception)
        and kind.__module__ == aiohttp.client_exceptions.__name__
        and not issubclass(kind, others)
    ]


def _instance(kind):
    """One as the client would raise it."""
    key = ConnectionKey("host", 443, True, True, None, None, None, None)
    if issubclass(kind, aiohttp.client_exceptions.UnixClientConnectorError):
        return kind("/run/x", key, OSError(111, "refused"))
    if issubclass(kind, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return kind(key, OSError(111, "refused"))
    if issubclass(kind, aiohttp.ClientResponseError):
        info = aiohttp.RequestInfo(URL("http://host"), "GET", CIMultiDictProxy(CIMultiDict()))
        return kind(info, ())
    if issubclass(kind, aiohttp.ServerFingerprintMismatch):
        return kind(b"a", b"b", "host", 443)
    return kind("http://host")


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("kind", _client_errors(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_becomes_one_of_ours(kind, started):
    assert issubclass(kind, FAILURES)
    found = as_backend_error(_instance(kind), "http://up", started=started)
    assert "http://up" in found.message
    if issubclass(kind, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        assert isinstance(found, BackendUnavailable)  # there was never a connection
    elif issubclass(kind, aiohttp.ClientConnectionError):
        expected = StreamInterrupted if started else BackendUnavailable
        assert isinstance(found, expected | BackendTimeout)
    elif issubclass(kind, aiohttp.ClientPayloadError):
        assert isinstance(found, StreamInterrupted if started else BackendUnavailable)
    else:
        assert isinstance(found, BackendProtocolError)


@pytest.mark.parametrize(
    "error",
    [OSError(104, "reset"), TimeoutError(), ssl.SSLError(1, "bad"), ValueError("bad header")],
    ids=lambda error: type(error).__name__,
)
def test_so_does_every_plain_exception(error):
    assert isinstance(error, FAILURES)
    assert isinstance(as_backend_error(error, "http://up"), BackendError)


def test_a_break_of_tls_in_the_middle_is_an_interruption_and_not_a_matter_of_trust():
    found = as_backend_error(ssl.SSLError(1, "decryption failed"), "https://up", started=True)
    assert isinstance(found, StreamInterrupted)
    assert not found.permanent

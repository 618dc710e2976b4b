"""Faults of one upstream before its first content, without a fallback and without a retry.

Rows `U-` of the fault table; `test_upstream_streams.py` has streams that fail later, and
`test_policy.py` fallbacks and retries.
"""

import asyncio
import json
import socket
import time

import anyio
import pytest

from plugway.testing import (
    ERRORS,
    Cut,
    Hold,
    anthropic_error,
    request_body,
    respond,
    sse,
)
from tests.faults.one_upstream import EVENTS, OVERLOADED, PING, bench, told, transport

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.usefixtures(transport.__name__),
]


def _only_of_our_own(transport):
    if transport == "proxy":
        pytest.skip("the proxy connects")


# ── no connection (U-01, U-03, U-04) ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
async def test_u01_a_closed_port_is_reported_as_a_retryable_overload(stream):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{found.getsockname()[1]}"
        async with bench(url=url) as b:
            response = await b.ask(stream)
    status, kind, message = told(response)
    assert (status, kind) == (529, "overloaded_error")
    assert "`up`" in message
    assert response.header("retry-after") is None
    assert response.header("x-should-retry") is None


async def test_u03_a_dropped_connection_attempt_times_out_soon(transport):
    _only_of_our_own(transport)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        try:
            for found in waiting:
                found.setblocking(False)
                found.connect_ex(full.getsockname())
            url = f"http://127.0.0.1:{full.getsockname()[1]}"
            async with bench(url=url) as b:
                began = time.monotonic()
                status, kind, _ = told(await b.ask())
        finally:
            for found in waiting:
                found.close()
    assert (status, kind) == (529, "overloaded_error")
    assert time.monotonic() - began < 4  # others get 5 seconds


async def test_u04_an_unknown_host_is_reported_as_overload_too(monkeypatch, transport):
    _only_of_our_own(transport)

    loop = asyncio.get_running_loop()
    real = loop.getaddrinfo

    async def nothing(host, *args, **kwargs):
        if host == "upstream.invalid":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return await real(host, *args, **kwargs)

    monkeypatch.setattr(loop, "getaddrinfo", nothing)
    async with bench(url="https://upstream.invalid") as b:
        status, kind, message = told(await b.ask())
    assert (status, kind) == (529, "overloaded_error")
    assert "cannot resolve" in message


# ── silence before content (U-06 to U-08) ────────────────────────────────────────────────────

SILENCE = {
    "u06 nothing": [Hold()],
    "u07 a head": sse([], end=Hold()),
    "u07 a start": sse(EVENTS[:1], end=Hold()),
    "u08 pings for ever": sse([*[PING] * 60], delay=0.02),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", SILENCE.values(), ids=list(SILENCE))
async def test_silence_before_content_is_a_timeout(script, stream):
    async with bench(script, first_event_seconds=0.3) as b:
        status, kind, message = told(await b.ask(stream))
        assert (status, kind) == (504, "timeout_error")
        assert "`up/test-model`" in message
        with anyio.fail_after(5):
            await b.upstream.requests[0].left.wait()


async def test_silence_with_pings_ends_in_a_retryable_cut():
    async with bench([Hold()], first_event_seconds=0.4, ping_seconds=0.1) as b:
        response = await b.ask()
    assert response.status == 200
    assert {name for name, _ in response.events} == {"ping"}
    assert not response.complete


# ── refusals (U-09 to U-16) ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("wait", ["1", "20", "600"])
async def test_u09_a_rate_limit_keeps_its_wait(wait, native):
    async with bench(
        anthropic_error(429, "rate_limit_error", "slow", {"retry-after": wait}), native=native
    ) as b:
        response = await b.ask()
    assert told(response)[:2] == (429, "rate_limit_error")
    assert response.header("retry-after") == wait


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    ("status", "seen", "kind"),
    [(500, 500, "api_error"), (502, 502, "api_error"), (529, 529, "overloaded_error")],
)
async def test_u10_a_server_error_keeps_its_status_and_text(status, seen, kind, native):
    async with bench(anthropic_error(status, kind, "says so"), native=native) as b:
        assert told(await b.ask())[0:2] == (seen, kind)


async def test_u10_503_is_overload_for_the_client_and_itself_from_anthropic():
    async with bench(anthropic_error(503, "api_error", "loading")) as b:
        assert told(await b.ask())[:2] == (529, "overloaded_error")
    async with bench(anthropic_error(503, "api_error", "loading"), native=True) as b:
        assert told(await b.ask())[:2] == (503, "api_error")


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("before", [0, 1])
async def test_u11_an_error_event_before_content_is_a_status(before, native):
    async with bench(sse([*EVENTS[:before], OVERLOADED]), native=native) as b:
        assert told(await b.ask()) == (529, "overloaded_error", "`up`: busy")


@pytest.mark.parametrize("native", [True, False])
async def test_u12_a_rejected_key_is_reported_once_and_by_name(native):
    async with bench(ERRORS["anthropic.unauthorized"].script(), native=native) as b:
        response = await b.ask()
    status, kind, message = told(response)
    assert (status, kind) == (401, "authentication_error")
    assert "option `api_key` of `up`" in message
    assert response.header("x-should-retry") == "false"


async def test_u12_a_key_that_an_upstream_quotes_is_not_shown():
    from plugway_log import register_secret

    register_secret("canary-0123456789")
    refusal = anthropic_error(403, "permission_error", "the key canary-0123456789 may not")
    async with bench(refusal) as b:
        response = await b.ask()
    assert told(response)[:2] == (403, "permission_error")
    assert b"canary" not in response.body
    assert b"the key [redacted] may not" in response.body


@pytest.mark.parametrize("native", [True, False])
async def test_u13_an_unknown_model_is_404(native):
    async with bench(ERRORS["anthropic.model_not_found"].script(), native=native) as b:
        status, kind, message = told(await b.ask())
    assert (status, kind) == (404, "not_found_error")
    assert "model: no-such-model" in message


@pytest.mark.parametrize(
    "name",
    ["ollama.context_overflow", "vllm.context_overflow", "llamacpp.context_overflow", "openai.context_overflow", "lmstudio.context_overflow"],
)  # fmt: skip
async def test_u14_another_vendors_overflow_message_is_kept_complete(name):
    canned = ERRORS[name]
    async with bench(canned.script()) as b:
        status, kind, message = told(await b.ask())
    assert (status, kind) == (400, "invalid_request_error")
    error = json.loads(canned.body)["error"]
    assert message == "`up`: " + (error if isinstance(error, str) else error["message"])


async def test_u15_another_400_of_anthropic_is_not_changed():
    body = b'{"type":"error" ,"error":{"type":"invalid_request_error","message":"thinking"}}'
    async with bench(respond(400, body), native=True) as b:
        response = await b.ask()
    assert (response.status, response.body) == (400, body)


async def test_u16_a_body_that_is_too_large_for_the_upstream_is_413():
    async with bench(anthropic_error(413, "request_too_large", "too large"), native=True) as b:
        assert told(await b.ask(system="x" * 3_000_000)) == (413, "request_too_large", "too large")


async def test_u16_a_body_that_is_too_large_for_the_gateway_is_not_sent():
    async with bench(max_body_bytes=100_000) as b:
        response = await b.ask(system="x" * 200_000)
        assert response.status == 413
        assert b.upstream.requests == []


NO_MESSAGE = {
    "html": respond(200, b"<html>Welcome</html>", {"content-type": "text/html"}),
    "html as a stream": respond(200, b"<html>", {"content-type": "text/event-stream"}),
    "empty": respond(200),
    "empty stream": sse([]),
    "pings and an end": sse([PING]),
    "an error object": respond(200, {"error": "crashed"}),
    "invalid json": respond(200, b'{"content": [', {"content-type": "application/json"}),
    "a bare message_stop": sse(EVENTS[-1:]),
    "no event lines": sse([f"data: {json.dumps(d)}\n\n".encode() for _, d in EVENTS]),
    "not http": [b"SSH-2.0-OpenSSH_9.9\r\n", Cut()],
    "a redirect": respond(307, b"", {"location": "http://127.0.0.1:1/"}),
    "gzip": respond(200, b"\x1f\x8b", {"content-encoding": "gzip"}),
    "eight megabytes of start": sse([b": " + b"x" * 2**20 + b"\n"] * 9),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("script", NO_MESSAGE.values(), ids=list(NO_MESSAGE))
async def test_an_invalid_response_is_reported_as_a_failure(script, stream):
    """Includes M-U11: an encoding that was not requested."""
    async with bench(script) as b:
        response = await b.ask(stream)
    status, kind, message = told(response)
    assert status in {502, 529, 500}
    assert kind in {"api_error", "overloaded_error"}
    assert message.startswith("`up`: ")


# ── counting ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([Hold()], 504),
        ([Cut()], 529),
        (respond(200, b"<html>"), 404),
        (anthropic_error(429, "rate_limit_error", "slow", {"retry-after": "3"}), 429),
        (anthropic_error(401, "authentication_error", "no"), 401),
        (respond(404, b"404 page not found"), 404),
    ],
    ids=["silent", "dead", "html", "rate limit", "key", "no route"],
)
async def test_counting_fails_with_the_same_message(script, status):
    async with bench(script, first_event_seconds=0.3) as b:
        began = time.monotonic()
        response = await b.running.post(request_body(), path="/v1/messages/count_tokens")
    assert response.status_code == status
    assert response.json()["type"] == "error"
    assert time.monotonic() - began < 5

"""Faults of backends on real sockets, with `resilience` and `router`: fallbacks, retries, skipped
targets, and what the client receives."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import httpx2
import orjson
import pytest
import trustme

from plugway import BackendError, NoOptions, Plugin, hookimpl
from plugway.testing import (
    Cut,
    Gateway,
    Hold,
    Reset,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    assert_valid_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_resilience import Resilience
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

REFUSED = "refused"
"""Represents an upstream that does not listen."""
FINE: list = []
"""Represents an upstream without faults."""
EVENTS = anthropic_stream("Hello.")
PING = ("ping", {"type": "ping"})
OVERLOADED = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})


def status(code, **headers):
    """A response with an error status."""
    lines = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return anthropic_error(code, "some_error", f"says {code}", lines)


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Watch(Plugin[NoOptions]):
    """Records failed attempts, and the outcomes of exchanges."""

    def __init__(self) -> None:
        super().__init__(NoOptions(), name="watch")
        self.failures: list[float] = []
        self.outcomes: list[str] = []

    @hookimpl
    async def around_attempt(self, send, request, attempt, exchange):
        try:
            return await send(request, attempt)
        except BackendError:
            self.failures.append(time.monotonic())
            raise

    @hookimpl
    async def finished(self, exchange, outcome):
        self.outcomes.append(outcome.kind)


class Bench:
    """A gateway in front of upstreams called `a`, `b`, `c`, tried in this order."""

    def __init__(self, running: Gateway, found: list[ScriptedUpstream], watch: Watch) -> None:
        self.gateway = running
        self.watch = watch
        self.found = found

    async def ask(self, stream: bool = True) -> httpx2.Response:
        return await self.gateway.post(request_body("x", stream=stream))

    @property
    def hits(self) -> list[int]:
        return [len(upstream.requests) for upstream in self.found]


@asynccontextmanager
async def bench(
    *faults, zones: str = "", consent: bool = True, server: dict | None = None, **policy
) -> AsyncIterator[Bench]:
    """An upstream for each fault, which is what it always says: `REFUSED`, `FINE` or a script.

    `zones` has a letter for each upstream: `l` local, `v` a vendor's, `w` another one's.
    """
    names = "abc"[: len(faults)]
    watch = Watch()
    models = {"*": [f"{name}/m" for name in names]}
    stack = [
        build_plugin(Resilience, "resilience", **policy),
        build_plugin(Router, "router", models=models, allow_zone_change=consent),
        watch,
    ]
    found: list[ScriptedUpstream] = []
    async with AsyncExitStack() as exits:
        for name, fault, letter in zip(names, faults, zones or "v" * len(names), strict=True):
            upstream = ScriptedUpstream(
                **({"otherwise": fault} if fault not in (REFUSED, FINE) else {})
            )
            if fault == REFUSED:
                upstream.port = closed_port()
            else:
                await exits.enter_async_context(upstream)
            found.append(upstream)
            zone = {"l": "local", "v": "vendor", "w": "other"}[letter]
            stack.append(build_plugin(AnthropicCompatible, name, base_url=upstream.url, zone=zone))
        limits = {"first_event_seconds": 0.3, "first_event_local_seconds": 0.3, **(server or {})}
        running = await exits.enter_async_context(gateway(stack, **limits))
        yield Bench(running, found, watch)


BEFORE_CONTENT = {
    "refused": REFUSED,
    "silent": [Hold()],
    "head only": sse([], end=Hold()),
    "pings only": sse([*[PING] * 40], delay=0.05),
    "429": status(429, retry_after=20),
    "500": status(500),
    "502": respond(502, b"<html>Bad Gateway</html>", {"content-type": "text/html"}),
    "503": status(503),
    "529": status(529),
    "401": status(401),
    "403": status(403),
    "404": status(404),
    "error event": sse([OVERLOADED]),
    "error event after start": sse([EVENTS[0], OVERLOADED]),
    "dies after start": sse(EVENTS[:1], end=Cut()),
    "reset after start": sse(EVENTS[:1], end=Reset()),
    "ends after start": sse(EVENTS[:1]),
    "dies at once": [Cut()],
    "reset at once": [Reset()],
    "html": respond(200, b"<html>Welcome</html>", {"content-type": "text/html"}),
    "empty": respond(200),
    "not http": [b"SSH-2.0-OpenSSH_9.9\r\n", Cut()],
}

# ── fallback ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", BEFORE_CONTENT.values(), ids=list(BEFORE_CONTENT))
async def test_a_fault_before_content_is_never_seen_by_the_client(fault):
    async with bench(fault, FINE) as b:
        events = await b.gateway.stream("x")
        assert_valid_stream(events)
        assert [d["delta"]["text"] for n, d in events if n == "content_block_delta"] == ["Hello."]
        response = await b.ask(stream=False)
        assert response.status_code == 200
        assert response.json()["content"] == [{"type": "text", "text": "Hello."}]
        assert "served-by=b/m; zone=vendor" in response.headers["plugway-receipt"]
        assert b.watch.outcomes == ["completed", "completed"]


@pytest.mark.parametrize(
    "fault", ["refused", "silent", "500", "error event", "dies after start", "reset at once"]
)
async def test_the_next_target_is_tried_within_50_ms(fault):
    async with bench(
        BEFORE_CONTENT[fault], FINE, breaker_failures=100, breaker_least_calls=100
    ) as b:
        for _ in range(3):
            await b.ask()
        arrivals = [request.arrived for request in b.found[1].requests]
        delays = [a - f for a, f in zip(arrivals, b.watch.failures, strict=True)]
        assert min(delays) < 0.05, delays


@pytest.mark.parametrize("cut", range(2, len(EVENTS)))
async def test_after_content_nothing_is_tried_again(cut):
    async with bench(sse(EVENTS[:cut], end=Cut()), FINE) as b:
        with pytest.raises(httpx2.RemoteProtocolError):
            await b.gateway.stream("x")
        assert b.hits == [1, 0]
        assert b.watch.outcomes == ["failed"]


async def test_an_error_of_the_request_itself_does_not_fall_back_and_is_not_changed():
    async with bench(status(400), FINE) as b:
        response = await b.ask()
        assert (response.status_code, b.hits) == (400, [1, 0])
        assert "says 400" in response.text


# ── retries ──────────────────────────────────────────────────────────────────────────────────


async def test_the_last_target_is_retried_once_after_a_server_error():
    quick = {"repeat_min_seconds": 0, "repeat_max_seconds": 0.01}
    async with bench(FINE, **quick) as b:
        b.found[0].script(status(500))
        assert (await b.ask()).status_code == 200
        assert b.hits == [2]
    async with bench(status(529), **quick) as b:
        assert (await b.ask()).status_code == 529
        assert b.hits == [2]


async def test_a_request_is_sent_at_most_three_times():
    async with bench(status(500), status(503), status(529), repeat_max_seconds=0.25) as b:
        assert (await b.ask()).status_code in {500, 529}
        assert b.hits == [1, 1, 1]
    async with bench(status(500), status(503), repeat_max_seconds=0.25) as b:
        await b.ask()
        assert b.hits == [1, 2]


@pytest.mark.parametrize(("zone", "attempts"), [("v", 3), ("l", 1)])
async def test_connection_failures_are_retried_for_remote_backends_only(zone, attempts):
    async with bench(REFUSED, zones=zone, connect_repeat_seconds=(0.01, 0.02)) as b:
        response = await b.ask()
        assert response.status_code == 529
        assert f"attempts={attempts};" in response.headers["plugway-receipt"]


async def test_retries_stay_a_small_share_of_the_requests():
    async with bench(
        status(500), repeat_min_seconds=0.3, repeat_max_seconds=0.3, breaker_failures=100
    ) as b:
        async with anyio.create_task_group() as group:
            for _ in range(30):
                group.start_soon(b.ask)
        assert 30 < b.hits[0] <= 30 + 6


async def test_a_short_rate_limit_is_waited_for_if_no_target_is_left():
    async with bench(FINE) as b:
        b.found[0].script(status(429, retry_after=1))
        began = time.monotonic()
        assert (await b.ask()).status_code == 200
        assert 1 <= time.monotonic() - began < 5


# ── skipped targets ──────────────────────────────────────────────────────────────────────────


async def test_a_circuit_opens_after_three_failures_and_closes_after_one_reply():
    async with bench(FINE, FINE, breaker_open_seconds=0.3) as b:
        b.found[0].script(*[status(500)] * 3)
        for _ in range(5):
            assert (await b.ask()).status_code == 200
        assert b.hits == [3, 5]
        response = await b.ask()
        assert "served-by=b/m" in response.headers["plugway-receipt"]
        await anyio.sleep(0.4)
        for _ in range(3):
            response = await b.ask()
            assert "served-by=a/m" in response.headers["plugway-receipt"]
        assert b.hits == [6, 6]


async def test_a_failed_probe_keeps_the_circuit_open():
    async with bench(status(500), FINE, breaker_open_seconds=0.2) as b:
        for _ in range(4):
            await b.ask()
        assert b.hits == [3, 4]
        await anyio.sleep(0.3)
        for _ in range(3):
            assert (await b.ask()).status_code == 200
        assert b.hits == [4, 7]


async def test_the_last_target_is_never_skipped():
    async with bench(status(500), max_repeats=0) as b:
        for _ in range(6):
            assert (await b.ask()).status_code == 500
        assert b.hits == [6]


async def test_streams_that_break_off_count_against_the_target():
    async with bench(sse(EVENTS[:3], end=Cut()), FINE) as b:
        for _ in range(3):
            with pytest.raises(httpx2.RemoteProtocolError):
                await b.gateway.stream("x")
        assert (await b.ask()).status_code == 200
        assert b.hits == [3, 1]


async def test_client_disconnects_count_against_no_target():
    async with bench(FINE, FINE, server={"first_event_seconds": 5}) as b:
        b.found[0].script(*[[Hold()]] * 4)
        for _ in range(4):
            with anyio.move_on_after(0.1):
                await b.ask()
        await anyio.sleep(0.05)
        assert b.watch.outcomes == ["disconnected"] * 4
        assert (await b.ask()).status_code == 200
        assert b.hits == [5, 0]


async def test_errors_of_the_request_count_against_no_target():
    async with bench(status(400), FINE) as b:
        for _ in range(8):
            await b.ask()
        assert b.hits == [8, 0]


async def test_a_rate_limited_target_cools_down_while_another_serves():
    async with bench(status(429, retry_after=30), FINE) as b:
        for _ in range(3):
            assert (await b.ask()).status_code == 200
        assert b.hits == [1, 3]


# ── consent ──────────────────────────────────────────────────────────────────────────────────


async def test_without_consent_nothing_leaves_this_machine_whatever_fails():
    async with bench(REFUSED, FINE, zones="lv", consent=False) as b:
        for _ in range(6):  # the circuit of the first target opens on the way
            response = await b.ask()
            assert response.status_code == 529
        assert b.found[1].connections == 0


async def test_without_consent_one_vendor_does_not_get_another_vendors_request():
    async with bench(status(500), FINE, FINE, zones="vwl", consent=False) as b:
        response = await b.ask()
        assert "served-by=c/m; zone=local" in response.headers["plugway-receipt"]
        assert b.found[1].connections == 0


async def test_with_consent_the_answer_says_which_zone_it_came_from():
    async with bench(REFUSED, FINE, zones="lv") as b:
        response = await b.ask()
        assert "served-by=b/m; zone=vendor" in response.headers["plugway-receipt"]


# ── errors for the client ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fault", "code", "text"),
    [
        (status(400), 400, "says 400"),
        (status(401), 401, "`a`"),
        (status(402), 402, "has no credit"),
        (status(403), 403, "the credential of the backend `a` is not allowed"),
        (status(404), 404, "says 404"),
        (status(429, retry_after=600), 429, "the limit ends in 10 min, at "),
    ],
)
async def test_a_permanent_error_is_reported_at_once_with_the_fix(fault, code, text):
    async with bench(fault) as b:
        began = time.monotonic()
        response = await b.ask()
        assert time.monotonic() - began < 5
        assert (response.status_code, b.hits) == (code, [1])
        assert text in response.json()["error"]["message"]
        stops = response.headers.get("x-should-retry") == "false"
        assert stops == (code in {401, 402, 403, 429})


async def test_an_untrusted_certificate_is_reported_at_once():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    stack = [
        build_plugin(Resilience, "resilience"),
        build_plugin(AnthropicCompatible, "a", base_url=url),
    ]
    async with server, gateway(stack) as running:
        began = time.monotonic()
        response = await running.post(request_body("x"))
        assert time.monotonic() - began < 5
        assert response.status_code == 502
        assert response.headers["x-should-retry"] == "false"
        assert "attempts=1;" in response.headers["plugway-receipt"]


async def test_the_shorter_of_two_rate_limits_is_reported():
    async with bench(status(429, retry_after=40), status(429, retry_after=20)) as b:
        for _ in range(2):  # the second time the target that waits longer is skipped
            response = await b.ask()
            assert response.status_code == 429
            assert response.headers["retry-after"] == "20"
            assert "x-should-retry" not in response.headers


async def test_a_client_may_retry_if_another_target_may_recover():
    async with bench(status(429, retry_after=600), status(503), max_repeats=0) as b:
        response = await b.ask()
        assert response.status_code == 429
        assert "retry-after" not in response.headers
        assert "x-should-retry" not in response.headers
    async with bench(status(401), status(503), max_repeats=0) as b:
        response = await b.ask()
        assert response.status_code == 401
        assert "x-should-retry" not in response.headers


async def test_a_client_that_reads_nothing_is_not_a_backend_failure():
    endless = sse([*EVENTS[:2], *EVENTS[2:3] * 100_000])
    limits = {"stalled_client_seconds": 0.3, "ping_seconds": 0.1}
    async with bench(endless, server=limits) as b:
        body = orjson.dumps(request_body("x", stream=True))
        reader, writer = await asyncio.open_connection("127.0.0.1", b.gateway.port, limit=1024)
        writer.write(
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"x-api-key: %s\r\ncontent-length: %d\r\n\r\n%s"
            % (b.gateway.token.encode(), len(body), body)
        )
        with anyio.fail_after(10):
            while not b.watch.outcomes:
                await anyio.sleep(0.05)
        assert b.watch.outcomes == ["disconnected"]
        assert await reader.read(1)
        writer.close()

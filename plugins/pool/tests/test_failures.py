"""What a client notices of servers that fail: nothing, if another one can serve."""

import asyncio

import anyio
import httpx2
import orjson
import pytest
from engines import engines, running, server_of, turn

from plugway import Attempt, BackendTimeout, Exchange, Identity, MessagesRequest
from plugway.testing import (
    Cut,
    Hold,
    anthropic_error,
    anthropic_stream,
    request_body,
    sse,
)
from plugway_resilience import Resilience, ResilienceOptions

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_a_server_that_refuses_connections_costs_no_turn():
    async with engines(*"abc") as found, running(found) as (served, pool):
        at = {f"s{n}": await server_of(served, f"s{n}") for n in range(12)}
        dead = next(one for one in found if one.turns)
        await dead.__aexit__()
        moved = {session: await server_of(served, session) for session in at}
        for session, name in at.items():
            assert moved[session] != dead.name
            assert name in (dead.name, moved[session]), "the others stay where they are"
        (health,) = pool.health()
        assert health.state == "skipped"
        assert dead.url in health.target
        await dead.__aenter__()
        again = {session: await server_of(served, session) for session in at}
        assert again == moved, "a conversation that has moved does not move back"


@pytest.mark.parametrize(
    "fails",
    [
        anthropic_error(500, "api_error", "engine dead"),
        anthropic_error(503, "overloaded_error", "queue full"),
        anthropic_error(429, "rate_limit_error", "queue full"),
        anthropic_error(404, "not_found_error", "no such model"),
        anthropic_error(401, "authentication_error", "invalid key"),
        [Cut()],
        sse([("error", {"type": "error", "error": {"type": "api_error", "message": "dead"}})]),
        sse(anthropic_stream("x")[:1], end=Cut()),
        sse([], end=Cut()),
    ],
    ids=["500", "503", "429", "404", "401", "cut", "error event", "cut after the start", "empty"],
)
@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_a_failure_before_content_is_tried_at_another_server(fails, stream):
    async with engines("a", "b") as found, running(found) as (served, _):
        first = await server_of(served, "s")
        broken = next(one for one in found if one.name == first)
        broken.fails = fails
        if stream:
            response = await turn(served, "s", stream=True)
            assert (response.status_code, response.text.count("message_stop")) == (200, 2)
        else:
            assert await server_of(served, "s") != first
        (other,) = [one for one in found if one is not broken]
        assert len(other.turns) == 1


async def test_a_server_that_does_not_respond_in_time_is_not_asked_again_for_the_request():
    async with engines("a", "b") as found, running(found) as (served, pool):
        first = await server_of(served, "s")
        hung = next(one for one in found if one.name == first)
        hung.fails = [Hold()]
        request = MessagesRequest(orjson.dumps(request_body("hello", model="m")))
        exchange = Exchange(request)
        exchange.identify(Identity("s"))
        attempt = Attempt(pool.backend, "m", exchange=exchange)
        pool.backend.members.places[pool.backend.visit(request, exchange).key] = hung.url

        async def send(request, attempt):
            try:
                async with asyncio.timeout(0.1):
                    return await pool.backend.send(request, attempt)
            except TimeoutError:
                raise BackendTimeout("no content") from None

        with pytest.raises(BackendTimeout):
            await pool.around_attempt(send, request, attempt, exchange)
        (health,) = pool.health()
        assert (health.state, hung.url in health.target) == ("failing", True)
        reply = await pool.around_attempt(send, request, attempt, exchange)
        assert reply.body is not None
        assert all(server.running == 0 for server in pool.backend.members.active)


async def test_a_request_that_is_at_fault_is_not_sent_around():
    refusal = anthropic_error(400, "invalid_request_error", "messages: wrong")
    async with engines("a", "b") as found, running(found) as (served, pool):
        for one in found:
            one.fails = refusal
        response = await turn(served, "s")
        assert response.status_code == 400
        assert sum(len(one.turns) for one in found) == 1
        assert not pool.health()


async def test_two_servers_that_report_the_same_error_stay_in_use():
    async with engines(*"abc") as found, running(found) as (served, pool):
        for one in found:
            one.fails = anthropic_error(500, "api_error", "CUDA error")
        for _ in range(4):
            response = await turn(served, "s")
            assert response.status_code == 500
            assert "CUDA error" in response.text
        assert not pool.health(), "the request may be at fault"


async def test_nothing_is_sent_again_after_content_went_out():
    async with engines("a", "b") as found, running(found) as (served, pool):
        for one in found:
            one.fails = sse(anthropic_stream("some text")[:4], end=Cut())
        received = b""
        with pytest.raises(httpx2.RemoteProtocolError):
            async with served.client.stream(
                "POST", "/v1/messages", json=request_body("hello", model="m", stream=True)
            ) as response:
                async for chunk in response.aiter_raw():
                    received += chunk
        assert b"some text" in received
        assert sum(len(one.turns) for one in found) == 1
        (health,) = pool.health()
        assert health.reason == "its last reply broke off"


async def test_when_all_servers_are_down_the_error_names_all():
    async with engines(*"abc") as found, running(found) as (served, _):
        for one in found:
            await one.__aexit__()
        for _ in range(3):
            response = await turn(served, "s")
        assert response.status_code == 529
        for one in found:
            assert one.url in response.text
            await one.__aenter__()
        assert await server_of(served, "s"), "ejected servers are tried if there are no others"


async def test_retries_of_resilience_reach_further_servers():
    resilience = Resilience(ResilienceOptions(connect_repeat_seconds=(0.0, 0.0)), name="resilience")
    async with engines(*"abcd") as found, running(found, resilience, zone="fleet") as (served, _):
        for one in found:
            one.fails = [Cut()]
        found[0].fails = None
        assert await server_of(served, "s") == "a"
        assert all(len(one.turns) <= 1 for one in found)


async def test_a_client_that_leaves_ends_its_request():
    async with engines("a") as found, running(found) as (served, pool):
        (server,) = pool.backend.members.active
        found[0].fails = [Hold()]
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: turn(served, "s", stream=True))
            await found[0].wait_for_request(1)
            assert server.running == 1
            group.cancel_scope.cancel()
        with anyio.fail_after(5):
            await server.idle.wait()
        assert not pool.health(), "that is no failure of the server"


async def test_a_key_that_two_servers_reject_is_the_fault_of_neither():
    async with (
        engines("a", "b") as found,
        running(found, api_key="wrong-key-000") as (served, pool),
    ):
        for one in found:
            one.fails = anthropic_error(401, "authentication_error", "invalid key wrong-key-000")
        response = await turn(served, "s")
        assert "option `api_key` of `fleet`" in response.text
        assert "wrong-key-000" not in response.text
        assert [len(one.turns) for one in found] == [1, 1]
        assert not pool.health()


async def test_what_a_server_says_is_on_no_receipt(caplog):
    async with engines("a", "b") as found, running(found) as (served, pool):
        secret = "the user wrote something private"
        for one in found:
            one.fails = anthropic_error(500, "api_error", secret)
        assert secret in (await turn(served, "s")).text, "the client itself may read it"
        assert secret not in caplog.text
        assert secret not in str(pool.health())
        assert secret not in str(pool.backend.members.described())

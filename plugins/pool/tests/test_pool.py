"""A conversation stays with one server, and moves only if that server cannot serve it."""

import asyncio

import anyio
import httpx2
import orjson
import pytest
from engines import engines, pool_of, running, server_of, turn

from plugway import Attempt, BackendTimeout, Exchange, Identity, MessagesRequest
from plugway.testing import (
    Cut,
    Hold,
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_embeddings import Wanted
from plugway_openai_api import OpenAIApi
from plugway_openai_wire.testing import chat_server
from plugway_pool import Pool
from plugway_resilience import Resilience, ResilienceOptions

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]


async def test_every_turn_of_a_conversation_reaches_the_same_server():
    async with engines(*"abcd") as found, running(found) as (served, _):
        for number in range(20):
            session = f"session-{number}"
            first = await server_of(served, session)
            assert {await server_of(served, session, text="more") for _ in range(3)} == {first}
        assert all(one.turns for one in found), "conversations are spread over all servers"


async def test_a_subagent_is_a_conversation_of_its_own():
    async with engines(*"abcd") as found, running(found) as (served, _):
        seen = set()
        for number in range(12):
            lines = {"x-test-session-id": "one", "x-test-agent-id": f"agent-{number}"}
            body = request_body("hello", model="m")
            response = await served.client.post("/v1/messages", json=body, headers=lines)
            seen.add(response.json()["content"][0]["text"])
        assert len(seen) > 1


async def test_without_a_session_the_start_of_the_prompt_decides():
    async with engines(*"abcd") as found, running(found) as (served, _):
        for number in range(8):
            start = [{"type": "text", "text": f"task {number}"}]
            marked = [{**start[0], "cache_control": {"type": "ephemeral"}}]
            opening = [{"role": "user", "content": marked}]
            first = await server_of(served, None, messages=opening)
            grown = [
                {"role": "user", "content": start},
                {"role": "assistant", "content": "done"},
                {"role": "user", "content": "next"},
            ]
            assert await server_of(served, None, messages=grown) == first
        assert len([one for one in found if one.turns]) > 1


async def test_the_receipt_names_the_server():
    async with engines("a", "b") as found, running(found) as (served, _):
        await server_of(served, "s")
        body = request_body("hello", model="m")
        lines = {"x-test-session-id": "s"}
        explained = await served.client.post("/v1/messages/explain", json=body, headers=lines)
        (one,) = [engine for engine in found if engine.turns]
        assert one.url in explained.text


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
        [Cut()],
        sse([("error", {"type": "error", "error": {"type": "api_error", "message": "dead"}})]),
        sse(anthropic_stream("x")[:1], end=Cut()),
        sse([], end=Cut()),
    ],
    ids=["500", "503", "429", "404", "cut", "error event", "cut after the start", "empty"],
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


async def test_a_busy_server_is_passed_over_and_the_conversation_stays_away():
    go = anyio.Event()
    async with engines("a", "b") as found, running(found, comfortable=2) as (served, _):
        first = await server_of(served, "s")
        busy = next(one for one in found if one.name == first)
        there = [s for s in map(str, range(40)) if await server_of(served, s) == first]
        busy.fails = [WaitFor(go), *respond(500)]
        before = len(busy.requests)
        async with anyio.create_task_group() as group:
            for session in there[:2]:
                group.start_soon(turn, served, session)
            await busy.wait_for_request(before + 2)
            assert await server_of(served, "s") != first
            go.set()
        busy.fails = None
        assert await server_of(served, "s") != first, "the longest part is in the other cache now"


async def test_a_stream_counts_until_it_ends_and_not_longer():
    go = anyio.Event()
    async with engines("a") as found, running(found) as (served, pool):
        (server,) = pool.backend.members.active
        events = anthropic_stream("text")
        found[0].fails = sse([*events[:3], WaitFor(go), *events[3:]])
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: turn(served, "s", stream=True))
            await found[0].wait_for_request(1)
            assert server.running == 1
            go.set()
            with anyio.fail_after(5):
                await server.idle.wait()
        await turn(served, "s")
        assert server.running == 0


async def test_a_client_that_leaves_ends_its_request():
    async with engines("a") as found, running(found) as (served, pool):
        (server,) = pool.backend.members.active
        found[0].fails = [Hold()]
        with anyio.move_on_after(0.2):
            await turn(served, "s", stream=True)
        with anyio.fail_after(5):
            await server.idle.wait()
        assert not pool.health(), "that is no failure of the server"


async def test_a_server_with_other_models_gets_no_requests_for_this_one():
    async with engines("a", "b", "c") as found:
        found[1].models = ("other",)
        async with running(found) as (served, pool):
            listed = (await served.client.get("/v1/models")).json()["data"]
            assert {one["id"] for one in listed} == {"anthropic/fleet/m", "anthropic/fleet/other"}
            names = {await server_of(served, f"s{n}") for n in range(16)}
            assert names == {"a", "c"}
            assert await server_of(served, "x", model="anthropic/fleet/other") == "b"
            assert not pool.health()


async def test_the_smallest_window_of_all_servers_is_listed():
    async with engines("a", "b") as found:
        for one, window in zip(found, (32768, 16384), strict=True):
            entry = {"id": "m", "max_model_len": window}
            one.pages["/v1/models"] = respond(200, {"data": [entry]})
        async with running(found) as (served, _):
            (listed,) = (await served.client.get("/v1/models")).json()["data"]
        assert listed["max_input_tokens"] == 16384


async def test_counting_tokens_asks_the_server_of_the_conversation():
    async with engines("a", "b") as found, running(found) as (served, _):
        for one in found:
            one.pages["/v1/messages/count_tokens"] = respond(200, {"input_tokens": 7})
        first = await server_of(served, "s")
        lines = {"x-test-session-id": "s"}
        body = request_body("hello", model="m")
        counted = await served.client.post("/v1/messages/count_tokens", json=body, headers=lines)
        assert counted.json()["input_tokens"] == 7
        (asked,) = [one for one in found if any("count" in r.path for r in one.requests)]
        assert asked.name == first


async def test_where_conversations_are_served_outlives_a_reload():
    async with engines("a", "b") as found:
        one, two = pool_of(found), pool_of(found)
        async with gateway([one]) as served:
            places = {f"s{n}": await server_of(served, f"s{n}") for n in range(6)}
            dead = one.backend.members.active[0]
            dead.health.failed(0.0, "gone", unreachable=True)
            async with gateway([two]) as _:
                two.backend.members.inherit(one.backend.members)
                assert dict(two.backend.members.places) == dict(one.backend.members.places)
                (health,) = two.health()
                assert health.reason == "gone"
        assert len(places) == 6


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({}, set()),
        ({"session_header": "X-Session-Id"}, {"x-session-id"}),
        (
            {
                "session_header": "x-dynamo-session-id",
                "parent_session_header": "x-dynamo-parent-session-id",
            },
            {"x-dynamo-session-id", "x-dynamo-parent-session-id"},
        ),
    ],
    ids=["none", "session", "both"],
)
async def test_ids_are_sent_hashed_and_only_under_configured_names(options, lines):
    async with engines("a") as found, running(found, **options) as (served, _):
        body = request_body("hello", model="m")
        sent = {"x-test-session-id": "anna@example.com", "x-test-agent-id": "helper"}
        for _ in range(2):
            await served.client.post("/v1/messages", json=body, headers=sent)
        main = {"x-test-session-id": "anna@example.com"}
        await served.client.post("/v1/messages", json=body, headers=main)
        heads = [{name.lower(): value for name, value in r.headers} for r in found[0].turns]
        assert {name for name in heads[0] if "session" in name} == lines
        assert all("anna" not in str(head) for head in heads)
        for name in lines:
            assert heads[0][name] == heads[1][name]
            assert len(heads[0][name]) == 32
        if "x-dynamo-session-id" in lines:
            assert heads[0]["x-dynamo-parent-session-id"] == heads[2]["x-dynamo-session-id"]
            assert "x-dynamo-parent-session-id" not in heads[2]


async def test_a_server_of_chat_completions_gets_ids_whether_translated_or_not():
    async with ScriptedUpstream(otherwise=chat_server()) as one:
        fleet = pool_of([one], kind="sglang", session_header="x-smg-routing-key")
        front = build_plugin(OpenAIApi, "openai-api")
        async with gateway([front, fleet]) as served:
            await turn(served, "s")
            body = {"model": "fleet/m", "messages": [{"role": "user", "content": "hello"}]}
            lines = {"x-test-session-id": "s"}
            relayed = await served.client.post("/v1/chat/completions", json=body, headers=lines)
            assert relayed.status_code == 200
    keys = [r.header("x-smg-routing-key") for r in one.requests if r.method == "POST"]
    assert len(keys) == 2
    assert len({*keys}) == 1
    assert keys[0]


async def test_two_pools_do_not_send_their_ids_to_each_other():
    async with engines("a", "b") as (one, two):
        first = pool_of([one], session_header="x-session-id")
        second = build_plugin(
            type(first), "second", servers=[two.url], check_seconds=0, load_seconds=0
        )
        async with gateway([first, second]) as served:
            await turn(served, "s", model="anthropic/fleet/m")
            await turn(served, "s", model="anthropic/second/m")
        assert one.turns[0].header("x-session-id")
        assert two.turns[0].header("x-session-id") is None


async def test_check_and_doctor_show_the_servers():
    async with engines("a", "b") as found, running(found) as (_, pool):
        text = f"2 servers: {found[0].url}, {found[1].url}"
        assert pool.backend.way == text
        assert pool_of(found).backend.way == text, "before the start, too"
        named = build_plugin(Pool, "fleet", dns="engines.test:8000")
        assert named.backend.way == "all addresses of engines.test:8000"


async def test_embeddings_come_from_any_server_that_works():
    async with engines("a", "b") as found, running(found) as (_, pool):
        found[0].pages["/v1/embeddings"] = respond(503)
        vectors = {"data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 2}}
        found[1].pages["/v1/embeddings"] = respond(200, vectors)
        for _ in range(4):
            got = await pool.backend.embed(Wanted("m", ("text",)), Attempt(pool.backend, "m"))
            assert list(got.vectors[0]) == [0.5, 1.0]
        assert all(server.running == 0 for server in pool.backend.members.active)


async def test_a_rejected_key_is_no_reason_to_ask_the_next_server():
    async with (
        engines("a", "b") as found,
        running(found, api_key="wrong-key-000") as (served, pool),
    ):
        for one in found:
            one.fails = anthropic_error(401, "authentication_error", "invalid key wrong-key-000")
        response = await turn(served, "s")
        assert "option `api_key` of `fleet`" in response.text
        assert "wrong-key-000" not in response.text
        assert sum(len(one.turns) for one in found) == 1
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

"""A conversation stays with one server, and moves only if that server cannot serve it."""

import json

import anyio
import pytest
from engines import engines, pool_of, running, server_of, turn
from pydantic import ValidationError

from plugway import Attempt, Exchange, MessagesRequest
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
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
from plugway_pool._conversation import conversation_of

NESTED = json.loads("[" * 235 + "]" * 235)
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


async def test_every_turn_of_a_conversation_reaches_the_same_server():
    async with engines(*"abcd") as found, running(found) as (served, _):
        for number in range(60):
            session = f"session-{number}"
            first = await server_of(served, session)
            assert {await server_of(served, session, text="more") for _ in range(2)} == {first}
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
        for number in range(14):
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


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": "text"},
        {"messages": [None]},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": [None, 1, "x"]}]},
        {"system": 7},
        {"system": [{"type": "text", "text": "x", "cache_control": NESTED}]},
        {"system": [{"type": "text", "text": "x", "more": NESTED}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": NESTED}]}]},
    ],
    ids=lambda fields: str(fields)[:44],
)
def test_any_request_has_a_conversation(fields):
    request = MessagesRequest(json.dumps({"model": "m", **fields}).encode())
    assert len(conversation_of(request, Exchange(request))) == 16


async def test_the_receipt_names_the_server():
    async with engines("a", "b") as found, running(found) as (served, _):
        await server_of(served, "s")
        body = request_body("hello", model="m")
        lines = {"x-test-session-id": "s"}
        explained = await served.client.post("/v1/messages/explain", json=body, headers=lines)
        (one,) = [engine for engine in found if engine.turns]
        assert one.url in explained.text


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


async def test_a_server_with_other_models_gets_no_requests_for_this_one():
    async with engines("a", "b", "c") as found:
        found[1].models = ("other",)
        async with running(found) as (served, pool):
            listed = (await served.client.get("/v1/models")).json()["data"]
            assert {one["id"] for one in listed} == {"anthropic/fleet/m", "anthropic/fleet/other"}
            names = {await server_of(served, f"s{n}") for n in range(24)}
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
        text = f"at 2 servers: {found[0].url}, {found[1].url}"
        assert pool.backend.way == text
        assert pool_of(found).backend.way == text, "before the start, too"
        named = build_plugin(Pool, "fleet", dns="engines.test:8000")
        assert named.backend.way == "at all addresses of engines.test:8000"


async def test_embeddings_come_from_any_server_that_works():
    async with engines("a", "b") as found, running(found) as (_, pool):
        found[0].pages["/v1/embeddings"] = respond(503)
        vectors = {"data": [{"index": 0, "embedding": [0.5, 1.0]}], "usage": {"prompt_tokens": 2}}
        found[1].pages["/v1/embeddings"] = respond(200, vectors)
        for _ in range(4):
            got = await pool.backend.embed(Wanted("m", ("text",)), Attempt(pool.backend, "m"))
            assert list(got.vectors[0]) == [0.5, 1.0]
        assert all(server.running == 0 for server in pool.backend.members.active)


def test_a_file_with_too_many_servers_says_so(tmp_path):
    path = tmp_path / "servers.txt"
    path.write_text("".join(f"http://10.0.{n // 250}.{n % 250 + 1}:1\n" for n in range(1001)))
    with pytest.raises(ValidationError, match="only the first 1000 of 1001 servers are used"):
        build_plugin(Pool, "fleet", file=path)

"""One exchange on a real socket: both modes of every reply, pings, cuts, leaving clients, limits."""

import gc
import logging
import weakref

import anyio
import httpx2
import orjson
import pytest

from plugway import (
    BackendRefused,
    BackendUnavailable,
    Emitter,
    InvalidRequest,
    ModelInfo,
    NoOptions,
    Plugin,
    Reply,
    Route,
    StateKey,
    event,
    hookimpl,
)
from plugway.testing import assert_valid_stream, gateway, request_body

pytestmark = pytest.mark.anyio

MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "test-model",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 5, "output_tokens": 2},
}


class Fake(Plugin[NoOptions]):
    """A backend whose answer is a function of the test; notes when an attempt is cancelled."""

    zone = "local"

    def __init__(self, answer, name="fake"):
        super().__init__(NoOptions(), name=name)
        self.answer = answer
        self.calls = 0
        self.cancelled = anyio.Event()
        self.closed = 0
        self.outcomes = []

    @hookimpl
    def register_backends(self):
        return [self]

    @hookimpl
    def finished(self, exchange, outcome):
        self.outcomes.append(outcome)

    async def send(self, request, attempt):
        self.calls += 1
        try:
            return await self.answer(self)
        except anyio.get_cancelled_exc_class():
            self.cancelled.set()
            raise

    async def close(self):
        self.closed += 1

    async def count(self, request, attempt):
        return 7

    async def models(self):
        return [ModelInfo("m1", context_tokens=1000), ModelInfo("m2")]


def parts():
    emitter = Emitter(model="test-model", message_id="msg_1")
    return [
        *emitter.start({"input_tokens": 5, "output_tokens": 0}),
        *emitter.text("hello"),
        *emitter.finish("end_turn", {"input_tokens": 5, "output_tokens": 2}),
    ]


async def whole(fake):
    return Reply.message(MESSAGE, headers=(("content-type", "application/json"),))


async def as_events(fake):
    async def events():
        for item in parts():
            yield item

    return Reply.streamed(events(), close=fake.close)


async def as_bytes(fake):
    async def chunks():
        stream = b"".join(item.encode() for item in parts())
        for start in range(0, len(stream), 7):
            yield stream[start : start + 7]

    return Reply.relay(chunks(), close=fake.close)


class OwnEvents(Plugin[NoOptions]):
    """Puts a stream of its own in the place of the backend's."""

    def __init__(self):
        super().__init__(NoOptions(), name="own-events")

    @hookimpl
    async def around_attempt(self, send, request, attempt, exchange):
        reply = await send(request, attempt)

        async def own():
            async for item in reply.events:
                yield item

        return reply.replace(events=own())


class Sends(Plugin[NoOptions]):
    """Sends each request a number of times; replies itself without sending."""

    def __init__(self, times):
        super().__init__(NoOptions(), name="sends")
        self.times = times
        self.answers = []

    @hookimpl
    async def around_attempt(self, send, request, attempt, exchange):
        replies = [await send(request, attempt) for _ in range(self.times)]
        return replies[-1] if replies else await whole(None)

    @hookimpl
    def finished(self, exchange, outcome):
        self.answers.append((exchange.answers, len(exchange.attempts), outcome.usage.output_tokens))


class Reads(Plugin[NoOptions]):
    """Reads a field of the request when the exchange is over."""

    def __init__(self):
        super().__init__(NoOptions(), name="reads")

    @hookimpl
    def transform_request(self, request, exchange):
        exchange.state[_REQUEST] = request

    @hookimpl
    def finished(self, exchange, outcome):
        exchange.state[_REQUEST].get("more")


_REQUEST = StateKey("request")


async def test_every_plugin_is_told_the_end_of_a_request_with_an_invalid_field():
    deep = b"[" * 300 + b"]" * 300
    body = orjson.dumps(request_body("x" * 5000))[:-1] + b',"more":' + deep + b"}"
    fake = Fake(whole)
    async with gateway([Reads(), fake]) as running:
        json = {"content-type": "application/json"}
        reply = await running.client.post("/v1/messages", content=body, headers=json)
        assert reply.status_code == 200
    assert [outcome.kind for outcome in fake.outcomes] == ["completed"]


async def fails(fake):
    raise BackendUnavailable("off")


@pytest.mark.parametrize(
    ("times", "answer", "counted"),
    [(0, whole, (0, 0, 2)), (1, whole, (1, 1, 2)), (2, whole, (2, 2, 2)), (1, fails, (0, 1, 0))],
    ids=["from elsewhere", "once", "twice", "failed"],
)
async def test_an_exchange_knows_how_many_of_its_attempts_brought_a_reply(times, answer, counted):
    plugin = Sends(times)
    async with gateway([plugin, Fake(answer)]) as running:
        await running.post(request_body())
    assert plugin.answers == [counted]


class Kept:
    """What a plugin keeps for an exchange."""


@pytest.mark.parametrize("answer", [whole, as_events, as_bytes])
async def test_what_an_exchange_held_is_free_at_its_end_without_the_garbage_collector(answer):
    key, kept = StateKey("kept"), []

    class Keeps(Fake):
        @hookimpl
        def transform_request(self, request, exchange):
            exchange.state[key] = mine = Kept()
            kept.append(weakref.ref(mine))

    gc.disable()
    try:
        async with gateway([Keeps(answer)]) as running:
            for _ in range(2):  # the second request comes when the first exchange has ended
                assert (await running.post(request_body())).status_code == 200
            assert kept[0]() is None
    finally:
        gc.enable()


async def test_a_request_that_is_not_valid_is_rejected_in_the_log_with_the_reason(caplog):
    caplog.set_level(logging.INFO, "plugway.exchange")
    async with gateway([Fake(whole)]) as running:
        assert (await running.post({"model": "m", "max_tokens": 1})).status_code == 400
    (line,) = caplog.records
    assert (line.outcome, line.error) == ("rejected", "messages: Field required")


async def test_usage_is_known_where_a_plugin_made_the_events():
    fake = Fake(as_events)
    async with gateway([OwnEvents(), fake]) as running:
        await running.stream("x")
    assert (fake.outcomes[0].usage.output_tokens, fake.outcomes[0].stop_reason) == (2, "end_turn")


@pytest.mark.parametrize("answer", [whole, as_events, as_bytes])
async def test_every_form_of_reply_serves_both_modes(answer):
    fake = Fake(answer)
    async with gateway([fake]) as running:
        assert await running.ask("x") == MESSAGE
        events = await running.stream("x")
    assert_valid_stream(events)
    text = [d["delta"]["text"] for n, d in events if n == "content_block_delta"]
    assert "".join(text) == "hello"
    assert [o.kind for o in fake.outcomes] == ["completed", "completed"]
    assert [o.usage.output_tokens for o in fake.outcomes] == [2, 2]
    assert fake.closed == (0 if answer is whole else 2)


async def test_bytes_of_an_upstream_are_relayed_as_they_are():
    stream = (
        b'event:message_start\r\ndata: {"type":"message_start","message":{"usage":{}},"x":1.0}\r\n\r\n'
        b": a comment\r\n\r\nevent: new_event\r\ndata: not even json\r\n\r\n"
        b'event: content_block_start\r\ndata: {"type":"content_block_start","index":0}\r\n\r\n'
        b'event: message_delta\r\ndata: {"type":"message_delta"}\r\n\r\n'
        b'event: message_stop\r\ndata: {"type":"message_stop"}\r\n\r\n'
    )

    async def answer(fake):
        async def chunks():
            yield stream[:50]
            yield stream[50:]

        return Reply.relay(chunks())

    async with gateway([Fake(answer)]) as running:
        response = await running.post(request_body(stream=True))
    assert response.content == stream


async def test_a_silent_backend_is_covered_by_pings_from_the_gate_on():
    async def answer(fake):
        await anyio.sleep(0.35)
        return await as_events(fake)

    async with gateway([Fake(answer)], ping_seconds=0.1) as running:
        events = await running.stream("x")
    names = [name for name, _ in events]
    assert names[:2] == ["ping", "ping"]
    assert names.index("message_start") >= 2
    assert_valid_stream(events)


async def test_pings_cover_silence_in_the_middle_too():
    async def answer(fake):
        async def events():
            items = parts()
            for item in items[:3]:
                yield item
            await anyio.sleep(0.35)
            for item in items[3:]:
                yield item

        return Reply.streamed(events())

    async with gateway([Fake(answer)], ping_seconds=0.1) as running:
        events = await running.stream("x")
    names = [name for name, _ in events]
    assert "ping" in names[3:]
    assert_valid_stream(events)


async def test_a_fast_answer_carries_no_ping():
    async with gateway([Fake(as_events)], ping_seconds=5) as running:
        events = await running.stream("x")
    assert "ping" not in [name for name, _ in events]


async def test_the_receipt_names_who_served():
    async with gateway([Fake(whole)]) as running:
        response = await running.post(request_body())
    assert response.headers["plugway-receipt"].startswith("served-by=fake/test-model; zone=local")
    assert response.headers["request-id"].startswith("req_")


async def test_a_failure_before_content_is_a_status():
    async def answer(fake):
        raise BackendUnavailable("nobody is there", status=503)

    fake = Fake(answer)
    async with gateway([fake]) as running:
        response = await running.post(request_body(stream=True))
    assert response.status_code == 529
    assert response.json()["error"]["type"] == "overloaded_error"
    assert "`fake`" in response.json()["error"]["message"]
    assert fake.outcomes[0].kind == "failed"


async def test_an_anthropic_refusal_comes_through_to_the_byte():
    body = b'{ "type": "error",  "error": {"type":"rate_limit_error","message":"slow"}, "new": 1 }'

    async def answer(fake):
        headers = (("retry-after", "7"), ("content-type", "application/json"))
        raise BackendRefused(429, body, headers=headers, native=True)

    async with gateway([Fake(answer)]) as running:
        response = await running.post(request_body())
    assert (response.status_code, response.content) == (429, body)
    assert response.headers["retry-after"] == "7"


async def test_an_error_event_before_content_is_a_failure_not_a_stream():
    async def answer(fake):
        async def chunks():
            yield b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"b"}}\n\n'

        return Reply.relay(chunks(), close=fake.close)

    fake = Fake(answer)
    async with gateway([fake]) as running:
        response = await running.post(request_body(stream=True))
    assert response.status_code == 529
    assert fake.closed == 1


async def failing_after(count, fake, error):
    async def events():
        for item in parts()[:count]:
            yield item
        raise error

    return Reply.streamed(events(), close=fake.close)


async def test_a_failure_after_content_cuts_the_body():
    async def answer(fake):
        return await failing_after(3, fake, BackendUnavailable("lost"))

    fake = Fake(answer)
    async with gateway([fake]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("x")
        await anyio.wait_all_tasks_blocked()
    assert fake.closed == 1
    assert fake.outcomes[0].kind == "failed"


async def test_a_stream_that_ends_without_its_end_is_cut():
    async def answer(fake):
        async def chunks():
            yield b"".join(item.encode() for item in parts()[:4])

        return Reply.relay(chunks())

    async with gateway([Fake(answer)]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("x")


async def test_a_failure_while_warm_heals_by_a_cut():
    async def answer(fake):
        await anyio.sleep(0.25)
        raise BackendUnavailable("gone")

    async with gateway([Fake(answer)], ping_seconds=0.1) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("x")


async def test_a_permanent_failure_while_warm_is_told_in_the_stream_and_again_as_a_status():
    async def answer(fake):
        await anyio.sleep(0.25)
        raise BackendRefused(
            400, b'{"error":{"type":"invalid_request_error","message":"no"}}', native=True
        )

    fake = Fake(answer)
    async with gateway([fake], ping_seconds=0.1) as running:
        events = await running.stream("x")
        assert events[-1][0] == "error"
        assert events[-1][1]["error"]["message"] == "no"
        again = await running.post(request_body("x", stream=False))
    assert again.status_code == 400
    assert fake.calls == 1


async def leave(running, body, *, after_bytes=0):
    """Ask on a bare socket and go away, before or after the first bytes."""
    raw = orjson.dumps(body)
    async with await anyio.connect_tcp("127.0.0.1", running.port) as stream:
        await stream.send(
            b"POST /v1/messages HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"x-api-key: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (running.token.encode(), len(raw), raw)
        )
        if after_bytes:
            await stream.receive()
        else:
            await anyio.sleep(0.05)


async def test_a_client_that_leaves_before_the_first_byte_stops_the_attempt():
    async def answer(fake):
        await anyio.sleep(30)

    fake = Fake(answer)
    async with gateway([fake]) as running:
        await leave(running, request_body(stream=True))
        with anyio.fail_after(5):
            await fake.cancelled.wait()
            while not fake.outcomes:
                await anyio.sleep(0.001)
    assert fake.outcomes[0].kind == "disconnected"


class Waits(Plugin[NoOptions]):
    """Keeps the work going for a client that leaves, until the test says otherwise."""

    def __init__(self):
        super().__init__(NoOptions(), name="waits")
        self.left = anyio.Event()
        self.stop = None

    @hookimpl
    async def transform_request(self, request, exchange):
        exchange.on_leave = self.on_leave

    def on_leave(self, stop):
        self.stop = stop
        self.left.set()
        return True


async def test_a_plugin_may_keep_the_work_going_for_a_client_that_left():
    async def answer(fake):
        await anyio.sleep(30)

    fake, waits = Fake(answer), Waits()
    async with gateway([waits, fake]) as running:
        await leave(running, request_body(stream=True))
        with anyio.fail_after(5):
            await waits.left.wait()
        await anyio.sleep(0.05)
        assert fake.calls == 1
        assert not fake.cancelled.is_set()
        waits.stop()
        with anyio.fail_after(5):
            await fake.cancelled.wait()


async def test_a_plugin_that_fails_when_a_client_leaves_keeps_nothing_going(caplog):
    class Fails(Waits):
        def on_leave(self, stop):
            raise KeyError("a defect")

    async def answer(fake):
        await anyio.sleep(30)

    fake = Fake(answer)
    async with gateway([Fails(), fake]) as running:
        await leave(running, request_body(stream=True))
        with anyio.fail_after(5):
            await fake.cancelled.wait()
    assert "failed when a client left" in caplog.text


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_later_closes_the_stream(stream):
    started = anyio.Event()

    async def answer(fake):
        async def events():
            for item in parts()[:3]:
                yield item
            started.set()
            await anyio.sleep(30)

        return Reply.streamed(events(), close=fake.close)

    fake = Fake(answer)
    async with gateway([fake]) as running:
        await leave(running, request_body(stream=stream), after_bytes=int(stream))
        with anyio.fail_after(5):
            await started.wait()
            while not fake.outcomes:
                await anyio.sleep(0.001)
    assert fake.closed == 1
    assert fake.outcomes[0].kind == "disconnected"


async def test_a_backend_that_falls_silent_is_given_up_and_the_body_cut():
    async def answer(fake):
        async def events():
            for item in parts()[:3]:
                yield item
            await anyio.sleep(30)

        return Reply.streamed(events(), close=fake.close)

    fake = Fake(answer)
    async with gateway([fake], ping_seconds=0.05, idle_seconds=0.3) as running:
        with pytest.raises(httpx2.RemoteProtocolError), anyio.fail_after(5):
            await running.stream("x")
    assert "sent nothing" in fake.outcomes[0].error
    assert fake.closed == 1


async def test_the_next_target_answers_where_the_first_one_fails_before_content():
    async def down(fake):
        raise BackendUnavailable("down")

    class Routes(Plugin[NoOptions]):
        @hookimpl
        def resolve_route(self):
            return Route((("a", "one"), ("b", "two")), "a list")

    a, b = Fake(down, "a"), Fake(as_events, "b")
    async with gateway([Routes(NoOptions(), name="routes"), a, b]) as running:
        events = await running.stream("x")
    assert_valid_stream(events)
    assert (a.calls, b.calls) == (1, 1)


async def test_a_plugin_that_fails_is_named_to_the_client():
    class Broken(Plugin[NoOptions]):
        @hookimpl
        def transform_request(self, request):
            raise KeyError("oops")

    async with gateway([Broken(NoOptions(), name="broken"), Fake(whole)]) as running:
        response = await running.post(request_body())
    assert response.status_code == 500
    assert "plugin `broken`, hook `transform_request`" in response.json()["error"]["message"]


async def test_a_plugin_may_refuse_and_may_answer():
    class Gate(Plugin[NoOptions]):
        @hookimpl
        def answer(self, request):
            if request.model == "forbidden":
                raise InvalidRequest("not this one")
            return Reply.message(MESSAGE)

    fake = Fake(whole)
    async with gateway([Gate(NoOptions(), name="gate"), fake]) as running:
        refused = await running.post(request_body(model="forbidden"))
        events = await running.stream("x")
    assert refused.status_code == 400
    assert_valid_stream(events)
    assert fake.calls == 0


async def test_a_stream_layer_sees_events_and_its_events_reach_the_client():
    class Shout(Plugin[NoOptions]):
        @hookimpl
        def transform_stream(self, stream):
            async def layer():
                async for item in stream:
                    if item.type == "content_block_delta":
                        delta = {**item.data["delta"], "text": item.data["delta"]["text"].upper()}
                        yield event("content_block_delta", index=item.data["index"], delta=delta)
                    else:
                        yield item

            return layer()

    for answer in (as_bytes, as_events, whole):
        async with gateway([Shout(NoOptions(), name="shout"), Fake(answer)]) as running:
            events = await running.stream("x")
            message = await running.ask("x")
        assert_valid_stream(events)
        assert "HELLO" in str(events)
        if answer is not whole:
            assert message["content"][0]["text"] == "HELLO"


async def test_a_layer_that_breaks_the_order_of_events_is_cut():
    class Wrong(Plugin[NoOptions]):
        @hookimpl
        def transform_stream(self, stream):
            async def layer():
                async for item in stream:
                    yield item
                    if item.type == "content_block_delta":
                        yield event("content_block_stop", index=5)

            return layer()

    async with gateway([Wrong(NoOptions(), name="wrong"), Fake(as_events)]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("x")


async def test_session_and_agents_are_known_by_their_headers_alone():
    seen = []

    class Watch(Plugin[NoOptions]):
        @hookimpl
        def finished(self, exchange):
            seen.append((exchange.session_id, exchange.agent_id, exchange.parent_agent_id))

    named = {f"x-claude-code-{n}-id": n for n in ("session", "agent", "parent-agent")}
    body = request_body(metadata={"user_id": "user_1_session_2"})
    async with gateway([Watch(NoOptions(), name="watch"), Fake(whole)]) as running:
        await running.client.post("/v1/messages", json=body, headers=named)
        await running.client.post("/v1/messages", json=body)
    assert seen == [("session", "agent", "parent-agent"), (None, None, None)]


async def test_counting_asks_the_backend():
    async with gateway([Fake(whole)]) as running:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        response = await running.post(body, "/v1/messages/count_tokens")
    assert response.json() == {"input_tokens": 7}


async def test_explain_says_what_would_happen_without_inference():
    class Strip(Plugin[NoOptions]):
        @hookimpl
        def prepare_attempt(self, request, attempt):
            return request.replace(because="not known there", thinking=None)

    fake = Fake(whole)
    async with gateway([Strip(NoOptions(), name="strip"), fake]) as running:
        response = await running.post(request_body(), "/v1/messages/explain")
    said = response.json()
    assert fake.calls == 0
    assert said["input_tokens"] == 7
    assert said["attempts"][0]["target"] == "fake/test-model"
    assert {
        "stage": "prepare_attempt",
        "plugin": "strip",
        "what": "add thinking: not known there",
    } in said["receipt"]
    assert said["unchanged"] is False


async def test_explain_shows_what_a_plugin_answers_as_answered_here():
    class Here(Plugin[NoOptions]):
        @hookimpl
        def answer(self, request):
            return Reply.streamed(events)

    events = Watched()
    fake = Fake(whole)
    async with gateway([Here(NoOptions(), name="here"), fake]) as running:
        said = (await running.post(request_body(), "/v1/messages/explain")).json()
    assert said["answered_by"] == "here"
    assert said["route"] is None
    assert said["attempts"] == []
    assert said["upstream_request"] is None
    assert events.closed


class Watched:
    """A stream that is never read, only closed."""

    closed = False

    def __aiter__(self):
        return self

    async def __anext__(self):
        raise AssertionError("nobody may read it")

    async def aclose(self):
        self.closed = True


async def test_what_a_backend_translates_is_on_the_receipt_and_shown_by_explain():
    class Foreign(Fake):
        def translated(self, request, attempt):
            attempt.note("drop `top_k`: its API has none")
            return {"prompt": "x"}

        async def send(self, request, attempt):
            self.translated(request, attempt)
            return await super().send(request, attempt)

    fake = Foreign(whole)
    async with gateway([fake]) as running:
        explained = await running.post(request_body(), "/v1/messages/explain")
        answered = await running.post(request_body())
    said = explained.json()
    line = {"stage": "send", "plugin": "fake", "what": "drop `top_k`: its API has none"}
    assert said["receipt"].count(line) == 1
    assert said["upstream_request"]["body"] == {"prompt": "x"}
    assert "changes=1; by=fake" in answered.headers["plugway-receipt"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"model": "x" * 1_000_000}, "model"),
        ({"model": "a\r\nb"}, "model"),
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**63}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": [3]}, "messages.0"),
        ({"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        ({"messages": [{"content": "x"}]}, "messages.0.role"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream": None}, "stream"),
    ],
)
async def test_a_wrong_field_is_named_and_reaches_no_backend(fields, said):
    fake = Fake(whole)
    async with gateway([fake]) as running:
        response = await running.post({**request_body(), **fields})
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith(said)
    assert response.headers["x-should-retry"] == "false"
    assert fake.calls == 0


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b'"x"', b'{"a":', b"{} {}", b"\xff\xfe{\x00", b'{"a":NaN}', b"[" * 2000],
)
async def test_what_is_no_json_object_is_refused(raw):
    fake = Fake(whole)
    async with gateway([fake]) as running:
        response = await running.post(raw)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["request_id"] == response.headers["request-id"]
    assert fake.calls == 0


async def test_more_exchanges_than_allowed_are_sent_away():
    release = anyio.Event()

    async def answer(fake):
        await release.wait()
        return await whole(fake)

    async with (
        gateway([Fake(answer)], max_streams=1) as running,
        anyio.create_task_group() as group,
    ):
        group.start_soon(running.ask, "x")
        with anyio.fail_after(5):
            while running.app.active < 1:
                await anyio.sleep(0.001)
        response = await running.post(request_body())
        assert response.status_code == 529
        release.set()


async def test_models_are_listed_under_ids_that_name_their_backend():
    async with gateway([Fake(whole)]) as running:
        listed = (await running.client.get("/v1/models?limit=1")).json()
        one = await running.client.get("/v1/models/anthropic/fake/m2")
        rest = (await running.client.get("/v1/models?after_id=anthropic/fake/m1")).json()
        missing = await running.client.get("/v1/models/nope")
    assert [m["id"] for m in listed["data"]] == ["anthropic/fake/m1"]
    assert listed["data"][0]["max_input_tokens"] == 1000
    assert listed["has_more"]
    assert one.json()["id"] == "anthropic/fake/m2"
    assert [m["id"] for m in rest["data"]] == ["anthropic/fake/m2"]
    assert missing.status_code == 404


@pytest.mark.parametrize("limit", ["-1", "abc", "0", "1001", "9" * 40, "١"])
async def test_a_senseless_limit_is_refused(limit):
    async with gateway([Fake(whole)]) as running:
        response = await running.client.get("/v1/models", params={"limit": limit})
    assert response.status_code == 400


async def test_a_backend_that_cannot_list_its_models_shows_the_last_known_ones():
    fake = Fake(whole)
    async with gateway([fake]) as running:
        await running.client.get("/v1/models")

        async def down():
            raise BackendUnavailable("down")

        fake.models = down
        listed = (await running.client.get("/v1/models")).json()
    assert len(listed["data"]) == 2


@pytest.mark.parametrize("path", ["/messages", "/messages?beta=true", "/messages/count_tokens"])
async def test_a_base_url_without_its_version_is_served(path):
    """`@ai-sdk/anthropic` and others expect `/v1` in it, Anthropic's own SDKs do not."""
    async with gateway([Fake(whole)]) as running:
        assert (await running.post(request_body(), path)).status_code == 200


async def test_a_doubled_prefix_and_the_small_routes_answer():
    async with gateway([Fake(whole)]) as running:
        assert (await running.post(request_body(), "/v1/v1/messages?beta=true")).status_code == 200
        assert (await running.client.head("/")).status_code == 200
        assert (await running.client.head("/api/hello")).status_code == 200
        health = (await running.client.get("/health")).json()
        assert (await running.client.get("/readyz")).status_code == 200
        running.app.drain()
        assert (await running.client.get("/readyz")).status_code == 503
        missing = await running.client.get("/v1/nothing")
    assert health["plugins"] == ["fake"]
    assert missing.json()["error"]["type"] == "not_found_error"


async def test_an_exchange_leaves_nothing_to_the_garbage_collector():
    import gc

    from plugway import MessagesRequest

    async with gateway([Fake(as_bytes)]) as running:
        await running.stream("x")  # what is made once is made
        gc.collect()
        gc.disable()
        try:
            for _ in range(5):
                await running.stream("x")
            await anyio.sleep(0.05)
            left = [found for found in gc.get_objects() if isinstance(found, MessagesRequest)]
        finally:
            gc.enable()
    assert len(left) <= 1  # the connection may remember its last request

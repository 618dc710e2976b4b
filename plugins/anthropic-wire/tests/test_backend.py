"""The backend on a real socket: what it sends, what it relays, and that it always lets go."""

import anyio
import orjson
import pytest

from plugway import (
    Attempt,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    MessagesRequest,
    Upstream,
)
from plugway.testing import (
    Cut,
    Hold,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_wire import AnthropicBackend, Wire

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

RAW = b' {"model" : "m",\n"max_tokens":1.0e1, "messages":[] , "unknown": {"a":[1e400]}}'
BAD_JSON = {"content-type": "application/json"}


@pytest.fixture
async def connect(server):
    opened = []

    async def make(**wire):
        backend = AnthropicBackend("mine", "local", Upstream(server.url), Wire(**wire))
        opened.append(await backend.__aenter__())
        return backend

    yield make
    for backend in opened:
        await backend.__aexit__()


def request(raw=None, query="", **fields):
    return MessagesRequest(raw or orjson.dumps(request_body("x", **fields)), query=query)


async def send(backend, asked=None):
    return await backend.send(asked or request(), Attempt(backend, "m"))


async def count(backend, asked=None):
    return await backend.count(asked or request(), Attempt(backend, "m"))


async def test_the_body_goes_out_to_the_byte(server, connect):
    server.script(respond(200, anthropic_message()))
    await send(await connect(), MessagesRequest(RAW))
    assert server.requests[0].body == RAW


async def test_the_query_goes_along_only_where_it_is_wanted(server, connect):
    await send(await connect(), request(query="beta=true&api_key=x"))
    await send(await connect(query=True), request(query="beta=true"))
    assert [r.path for r in server.requests] == ["/v1/messages", "/v1/messages?beta=true"]


async def test_extra_headers_take_the_place_of_the_clients(server, connect):
    backend = await connect(headers="open", extra_headers={"x-app": "mine"})
    await send(backend, MessagesRequest(RAW, (("x-app", "cli"), ("x-b", "1"))))
    assert [v for k, v in server.requests[0].headers if k == "x-app"] == ["mine"]
    assert server.requests[0].header("x-b") == "1"


async def test_a_stream_is_relayed_as_it_comes_and_closed_by_its_reply(server, connect):
    server.script(sse(anthropic_stream("x")[:2], end=Hold()))
    reply = await send(await connect(), request(stream=True))
    assert reply.is_stream
    assert (await anext(reply.chunks)).startswith(b"event: message_start")
    await reply.close()
    with anyio.fail_after(5):
        await server.requests[0].left.wait()


async def test_a_whole_message_is_kept_to_the_byte_and_the_connection_too(server, connect):
    body = b'{"content" :[],"x":1e400}'.replace(b"1e400", b"1.50")
    server.script(respond(200, body, {"content-type": "application/json", "request-id": "r"}))
    backend = await connect()
    reply = await send(backend)
    assert (reply.body, reply.header("plugway-upstream-request-id")) == (body, "r")
    await send(backend)
    assert server.connections == 1


@pytest.mark.parametrize(
    "script",
    [
        respond(200, b"<html>hello</html>", {"content-type": "text/html"}),
        respond(200, b"", BAD_JSON),
        respond(200, b"[]", BAD_JSON),
        respond(200, b'"text"', BAD_JSON),
        respond(200, b'{"content": [', BAD_JSON),
        respond(200, {"type": "message", "content": "text"}),
        respond(204, b"", {"content-length": "0"}),
        respond(202, anthropic_message()),
    ],
)
async def test_success_without_a_message_is_a_failure(server, connect, script):
    server.script(script)
    with pytest.raises(BackendProtocolError, match=r"(without a message|not a complete)") as caught:
        await send(await connect())
    assert caught.value.try_next


async def test_an_error_with_a_status_of_success_is_a_refusal(server, connect):
    server.script(respond(200, {"error": "the model crashed"}))
    with pytest.raises(BackendRefused, match="the model crashed") as caught:
        await send(await connect())
    assert (caught.value.status, caught.value.try_next) == (502, True)


@pytest.mark.parametrize("native", [True, False])
async def test_an_error_keeps_status_text_headers_and_wait(server, connect, native):
    lines = {"retry-after": "7", "anthropic-ratelimit-requests-remaining": "0"}
    server.script(anthropic_error(429, "rate_limit_error", "slow down", lines))
    with pytest.raises(BackendRefused) as caught:
        await send(await connect(native_errors=native))
    error = caught.value
    assert (error.status, error.message, error.retry_after) == (429, "slow down", 7)
    assert orjson.loads(error.body)["error"]["message"] == "slow down"
    assert dict(error.headers)["anthropic-ratelimit-requests-remaining"] == "0"
    assert error.native is native


@pytest.mark.parametrize("native", [True, False])
async def test_a_refused_key_names_its_option_and_is_permanent(server, connect, native):
    server.script(anthropic_error(401, "authentication_error", "invalid x-api-key"))
    with pytest.raises(BackendRefused, match=r"`api_key` of `mine`.*invalid API key") as caught:
        await send(await connect(native_errors=native))
    assert (caught.value.status, caught.value.permanent, caught.value.native) == (401, True, False)


@pytest.mark.parametrize("status", [400, 500])
async def test_an_error_whose_text_is_cut_off_keeps_its_status(server, connect, status):
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    server.script([head.encode() + b'{"er', Cut()])
    with pytest.raises(BackendRefused) as caught:
        await send(await connect(native_errors=True))
    assert (caught.value.status, caught.value.native) == (status, False)


async def test_an_error_of_a_gigabyte_is_not_read(server, connect):
    server.script([b"HTTP/1.1 500 X\r\ncontent-length: 1000000000\r\n\r\n", b"x" * 2**21, Hold()])
    with pytest.raises(BackendRefused):
        await send(await connect())
    with anyio.fail_after(5):
        await server.requests[0].left.wait()


async def test_the_wait_for_an_answer_can_be_limited(server, connect):
    server.script([Hold()])
    with pytest.raises(BackendTimeout):
        await send(await connect(answer_seconds=0.1))


@pytest.mark.parametrize(
    "script",
    [
        [Hold()],
        [b"HTTP/1.1 200 OK\r\n", Hold()],
        [
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
            Hold(),
        ],
        [b"HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\n{", Hold()],
    ],
    ids=["silent", "in the head", "in a body", "in an error"],
)
@pytest.mark.parametrize("ask", [send, count])
async def test_a_cancel_lets_go_at_every_point(server, connect, script, ask):
    server.script(script)
    backend = await connect()
    async with anyio.create_task_group() as group:
        group.start_soon(ask, backend)
        found = await server.wait_for_request()
        await anyio.sleep(0.02)
        group.cancel_scope.cancel()
    with anyio.fail_after(5):
        await found.left.wait()


# ── counting ─────────────────────────────────────────────────────────────────────────────────


async def test_a_count_is_relayed_as_it_is(server, connect):
    server.script(respond(200, b'{"input_tokens" : 12}', BAD_JSON))
    raw = b'{"model":"m" ,"messages":[]}'
    reply = await count(await connect(query=True), MessagesRequest(raw, query="beta=true"))
    assert reply.body == b'{"input_tokens" : 12}'
    asked = server.requests[0]
    assert (asked.path, asked.body) == ("/v1/messages/count_tokens?beta=true", raw)


async def test_fields_of_inference_are_not_sent_to_be_counted(server, connect):
    server.script(respond(200, {"input_tokens": 1}))
    await count(await connect(), request(stream=True, temperature=1, system="s", tools=[]))
    assert set(server.requests[0].json) == {"model", "messages", "system", "tools"}


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_a_server_that_does_not_count_says_so(server, connect, status):
    server.script(respond(status, {"error": "no such route"}))
    assert await count(await connect()) is None


@pytest.mark.parametrize("answer", [{"input_tokens": 0}, {"input_tokens": "9"}, {}, [], "x"])
async def test_a_count_of_nothing_is_none(server, connect, answer):
    server.script(respond(200, answer))
    assert await count(await connect()) is None


async def test_an_unknown_model_of_anthropic_stays_its_own_404(server, connect):
    server.script(anthropic_error(404, "not_found_error", "model: m"))
    with pytest.raises(BackendRefused) as caught:
        await count(await connect(native_errors=True))
    assert (caught.value.status, caught.value.native) == (404, True)


# ── models ───────────────────────────────────────────────────────────────────────────────────


async def test_all_pages_of_a_list_are_read(server, connect):
    server.script(
        respond(200, {"data": [{"id": "a/b c"}], "has_more": True, "last_id": "a/b c"}),
        respond(200, {"data": [{"id": "z"}], "has_more": False, "last_id": "z"}),
    )
    backend = await connect(models_path="/v1/models?limit=1000")
    assert [info.id for info in await backend.models()] == ["a/b c", "z"]
    assert [r.path for r in server.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=a%2Fb%20c",
    ]


async def test_a_list_without_end_is_left(server, connect):
    endless = respond(200, {"data": [{"id": "a"}], "has_more": True, "last_id": "a"})
    server.script(*[endless] * 100)
    assert len(await (await connect()).models()) == 1
    assert len(server.requests) == 2


async def test_no_more_pages_are_asked_for_when_the_time_is_up(server, connect, monkeypatch):
    monkeypatch.setattr("plugway_anthropic_wire._models.MORE_SECONDS", -1.0)
    server.script(respond(200, {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}))
    assert [info.id for info in await (await connect()).models()] == ["a"]
    assert len(server.requests) == 1


@pytest.mark.parametrize("listed", [None, [], "x", {"data": None}, {"data": [1, {}, {"id": 2}]}])
async def test_a_list_that_is_none_is_empty(server, connect, listed):
    server.script(respond(200, listed if listed is not None else b"null", BAD_JSON))
    assert await (await connect()).models() == []

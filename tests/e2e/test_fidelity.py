"""An Anthropic upstream and its client exchange the same bytes on both sides of the gateway."""

import json

import anyio
import pytest

from plugway.testing import (
    Cut,
    RawClient,
    ScriptedUpstream,
    WaitFor,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    messages_request,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

# Spacing, order, escapes, numbers beyond doubles, unknown members at every level.
ODD_BODY = (
    b'\n{ "unknown_top": {"deep": [1, 2.0, 1e3, 123456789012345678901234567890, "\\u00e9\\/"]},\n'
    b'"model":"claude-x" , "max_tokens": 100,"context_management":{"edits":[]},\t'
    b'"messages":[{"role":"user","content":[{"type":"future_block","x":null}],"extra":1}],'
    b'"system":[{"type":"text","text":"x-anthropic-billing-header: cc_version=1; \xe2\x80\xa8"}],'
    b'"stream":%s,"max_tokens_too":0.10}\n'
)
CLIENT_LINES = [
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "context-1m-2025-08-07,never-seen-2031-01-01"),
    ("anthropic-dangerous-direct-browser-access", "true"),
    ("anthropic-future-header", "a=b; c"),
    ("x-claude-code-session-id", "5d0c"),
    ("x-stainless-retry-count", "0"),
    ("x-app", "cli"),
    ("user-agent", "claude-cli/2.1.329 (external, cli)"),
    ("accept", "application/json"),
    ("x-unknown", "1"),
    ("x-unknown", "2"),
    ("x-utf8", "caf\u00c3\u00a9"),
]
HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"request-id: req_upstream\r\nanthropic-ratelimit-requests-remaining: 9\r\n"
    b"anthropic-organization-id: org\r\nanthropic-future: 1\r\nx-future: 1\r\ntransfer-encoding: chunked\r\n\r\n"
)


def wire(events):
    return b"".join(f"event: {n}\ndata: {json.dumps(d)}\n\n".encode() for n, d in events)


PLAIN = wire(anthropic_stream("Hello.", thinking="Hm.", tool_calls=[("Read", {"p": "\u00e9"})]))
EVENTS = [text.encode() + b"\n\n" for text in PLAIN.decode().split("\n\n") if text]
STREAMS = {
    "plain": PLAIN,
    "comments": b": hi\n\n" + PLAIN.replace(b"event: content_block_stop", b": x\nevent: content_block_stop"),
    "crlf": PLAIN.replace(b"\n", b"\r\n"),
    "no spaces": PLAIN.replace(b"event: ", b"event:").replace(b"data: ", b"data:"),
    "unknown events": PLAIN.replace(
        b"event: message_delta", b'event: new_thing\ndata: {"type":"new_thing"}\n\nevent: message_delta'
    ),
    "unknown deltas": PLAIN.replace(b"text_delta", b"future_delta"),
    "pings": PLAIN.replace(b"event: content_block_start", b'event: ping\ndata: {"type": "ping"}\n\nevent: content_block_start'),
    "ids and retry": b"id: 1\nretry: 10\n" + PLAIN,
    "data in two lines": PLAIN.replace(b'data: {"type": "message_stop"}', b'data: {"type":\ndata: "message_stop"}'),
    "byte order mark": b"\xef\xbb\xbf" + PLAIN,
    "text that looks like events": wire(anthropic_stream("\nevent: message_stop\ndata: {}\n\n")),
    "usage of nothing": PLAIN.replace(b'"usage"', b'"no_usage"'),
    "usage that is absurd": PLAIN.replace(b'"output_tokens": 5', b'"output_tokens": -1e99'),
    "after the end": PLAIN + b"event: late\ndata: {}\n\n",
    "a megabyte": wire(anthropic_stream("x" * 2**20)),
}  # fmt: skip


@pytest.fixture
async def upstream():
    async with ScriptedUpstream() as found:
        yield found


@pytest.fixture
async def running(upstream):
    async with gateway([build_plugin(Anthropic, "cloud", api_key="k", base_url=upstream.url)]) as g:
        yield g


async def ask(running, body, headers=CLIENT_LINES, path="/v1/messages?beta=true"):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/1.1",
        f"host: 127.0.0.1:{running.port}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        f"authorization: Bearer {running.token}",
        *(f"{name}: {value}" for name, value in headers),
    ]
    async with RawClient(running.url) as client:
        await client.send("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        return await client.read()


def small(**fields):
    return {
        "model": "claude-x",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "x"}],
        **fields,
    }


# ── requests ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [b"true", b"false"])
async def test_the_request_arrives_byte_for_byte(upstream, running, stream):
    body = ODD_BODY % stream
    await ask(running, body)
    (arrived,) = upstream.requests
    assert arrived.body == body
    assert arrived.path == "/v1/messages?beta=true"
    own = {"host", "content-length", "accept-encoding", "x-api-key"}
    got = [(k.lower(), v) for k, v in arrived.headers if k.lower() not in own]
    assert sorted(got) == sorted([*CLIENT_LINES, ("content-type", "application/json")])


async def test_routing_changes_only_the_model_of_a_request(upstream, running):
    body = ODD_BODY % b"false"
    await ask(running, body.replace(b'"claude-x"', b'"anthropic/cloud/claude-x"'))
    (arrived,) = upstream.requests
    assert json.loads(arrived.body) == json.loads(body)
    for kept in (b"1e3", b"123456789012345678901234567890", b"\\u00e9\\/", b"0.10"):
        assert kept in arrived.body


@pytest.mark.parametrize(
    "path", ["/v1/messages", "/v1/messages?beta=true&x=%2F%20+", "/v1/v1/messages"]
)
async def test_the_query_arrives_as_it_was_written(upstream, running, path):
    await ask(running, small(), path=path)
    assert upstream.requests[0].path == path.replace("/v1/v1/", "/v1/")


@pytest.mark.parametrize(
    "line",
    [
        ("cookie", "canary"),
        ("proxy-authorization", "canary"),
        ("x-goog-api-key", "canary"),
        ("api-key", "canary"),
        ("x-api-key", "canary"),
        ("plugway-token", "canary"),
        ("x-forwarded-for", "canary"),
        ("forwarded", "for=canary"),
        ("te", "canary"),
    ],
)
@pytest.mark.parametrize("plugin", [Anthropic, AnthropicCompatible])
async def test_credentials_and_connection_headers_are_not_forwarded(upstream, plugin, line):
    key = {"api_key": "k"} if plugin is Anthropic else {}
    async with gateway([build_plugin(plugin, "up", base_url=upstream.url, **key)]) as running:
        response = await ask(running, small(), [line])
    assert response.status == 200
    (arrived,) = upstream.requests
    assert "canary" not in str(arrived.headers)
    assert running.token not in str(arrived.headers)


async def test_other_servers_learn_nothing_about_the_client(upstream):
    made = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
    async with gateway([made]) as running:
        await ask(running, small(), [*CLIENT_LINES, ("x-portkey-custom-host", "http://evil")])
    (arrived,) = upstream.requests
    assert {name.lower() for name, _ in arrived.headers} == {
        "host",
        "content-type",
        "content-length",
        "accept",
        "accept-encoding",
        "user-agent",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "anthropic-future-header",
        "x-claude-code-session-id",
    }
    assert arrived.header("user-agent") == "plugway"
    assert arrived.path == "/v1/messages"


async def test_a_body_of_twenty_megabytes_arrives_whole(upstream, running):
    body = json.dumps(small(messages=[{"role": "user", "content": "x" * 20_000_000}])).encode()
    response = await ask(running, body)
    assert response.status == 200
    assert upstream.requests[0].body == body


# ── streams ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [1, 7, 4096, 10**7])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
async def test_a_stream_is_returned_byte_for_byte(upstream, running, stream, size):
    size = max(size, len(stream) // 500)
    chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
    upstream.script([HEAD, *(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks), b"0\r\n\r\n"])
    response = await ask(running, small(stream=True))
    assert (response.status, response.complete) == (200, True)
    assert response.body == stream


async def test_a_stream_without_chunks_is_returned(upstream, running):
    upstream.script(sse([PLAIN], chunked=False))
    response = await ask(running, small(stream=True))
    assert (response.body, response.complete) == (PLAIN, True)


async def test_each_chunk_is_forwarded_as_it_arrives(upstream, running):
    go = anyio.Event()
    upstream.script(sse([*EVENTS[:4], WaitFor(go), *EVENTS[4:]]))
    asked = messages_request(small(stream=True), running.token, host=f"127.0.0.1:{running.port}")
    async with RawClient(running.url) as client:
        await client.send(asked)
        early = b"".join(EVENTS[:4])
        assert (await client.read_bytes(len(early), seconds=2)).body == early
        go.set()
        assert (await client.read()).body == PLAIN


async def test_headers_of_a_stream_are_returned(upstream, running):
    upstream.script([HEAD, b"%x\r\n%s\r\n0\r\n\r\n" % (len(PLAIN), PLAIN)])
    response = await ask(running, small(stream=True))
    assert response.header("content-type") == "text/event-stream; charset=utf-8"
    assert response.header("request-id") == response.header("plugway-request-id")
    assert response.header("plugway-upstream-request-id") == "req_upstream"
    assert response.header("anthropic-ratelimit-requests-remaining") == "9"
    assert response.header("anthropic-organization-id") == "org"
    assert response.header("anthropic-future") == "1"
    assert response.header("x-future") is None
    assert response.header("plugway-request-id").startswith("req_")


# ── complete responses ───────────────────────────────────────────────────────────────────────────


async def test_a_message_is_returned_byte_for_byte(upstream, running):
    body = b' {"content":[{"type":"new"}],"x":1.50,"model":"claude-x-20990101" , "n":1e400}\n'
    body = body.replace(b"1e400", b"123456789012345678901234567890")
    upstream.script(respond(200, body, {"content-type": "application/json", "request-id": "r"}))
    response = await ask(running, small())
    assert (response.status, response.body) == (200, body)
    assert response.header("plugway-upstream-request-id") == "r"


async def test_a_count_is_returned_byte_for_byte(upstream, running):
    body = b'{"input_tokens" : 2095 }'
    upstream.script(respond(200, body, {"content-type": "application/json"}))
    raw = b'{"model":"claude-x" ,"messages":[{"role":"user","content":"x"}],"thinking":{}}'
    response = await ask(running, raw, path="/v1/messages/count_tokens?beta=true")
    assert (response.status, response.body) == (200, body)
    (arrived,) = upstream.requests
    assert (arrived.path, arrived.body) == ("/v1/messages/count_tokens?beta=true", raw)


async def test_headers_about_the_upstreams_origin_are_not_returned(upstream, running):
    never = {
        "set-cookie": "canary",
        "www-authenticate": "canary",
        "strict-transport-security": "canary",
        "access-control-allow-origin": "canary",
        "alt-svc": "canary",
        "server": "canary",
    }
    upstream.script(respond(200, anthropic_message(model="claude-x"), never))
    response = await ask(running, small())
    assert b"canary" not in response.head


# ── errors ───────────────────────────────────────────────────────────────────────────────────

ERRORS = {
    "in the envelope": (
        529,
        b'{"type":"error", "error":{"type":"overloaded_error","message":"O"}}',
    ),
    "with details": (
        429,
        b'{"type":"error","error":{"type":"rate_limit_error","details":{"a":1}}}',
    ),
    "too long": (
        400,
        b'{"type":"error","error":{"message":"prompt is too long: 2 tokens > 1 maximum"}}',
    ),
    "a new status": (418, b'{"type":"error","error":{"type":"new_error","message":"x"}}'),
    "text": (502, b"Bad Gateway"),
    "a web page": (503, b"<html>down</html>"),
    "not utf-8": (500, b"\xff\xfe\x00"),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("status", "body"), ERRORS.values(), ids=list(ERRORS))
async def test_an_error_is_returned_byte_for_byte(upstream, running, status, body, stream):
    lines = {
        "content-type": "application/json",
        "plugway-upstream-request-id": "req_upstream",
        "retry-after": "20",
        "retry-after-ms": "20000",
        "x-should-retry": "true",
        "anthropic-ratelimit-tokens-reset": "2026-01-01T00:00:00Z",
    }
    sent = {name.removeprefix("plugway-upstream-"): value for name, value in lines.items()}
    upstream.script(respond(status, body, sent))
    response = await ask(running, small(stream=stream))
    assert (response.status, response.body, response.complete) == (status, body, True)
    assert {name: response.header(name) for name in lines} == lines


@pytest.mark.parametrize("at", [3, 5, 8])
async def test_an_error_event_in_the_middle_is_returned_unchanged(upstream, running, at):
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"O"}}\n\n'
    upstream.script(sse([*EVENTS[:at], error]))
    response = await ask(running, small(stream=True))
    assert (response.status, response.body) == (200, b"".join(EVENTS[:at]) + error)


async def test_an_interrupted_stream_stays_interrupted(upstream, running):
    upstream.script(sse(EVENTS[:5], end=Cut()))
    response = await ask(running, small(stream=True))
    assert (response.body, response.complete) == (b"".join(EVENTS[:5]), False)
    assert response.ending in {"fin", "reset"}


# ── the name of the model ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
async def test_the_client_sees_the_model_that_it_asked_for(upstream, running, stream):
    upstream.script(
        sse([b": hello\n\n", *anthropic_stream("real", model="real")])
        if stream
        else respond(200, anthropic_message("real", model="real"))
    )
    asked = "anthropic/cloud/claude-x"
    response = await ask(running, small(model=asked, stream=stream))
    message = response.events[0][1]["message"] if stream else response.json
    assert message["model"] == asked
    assert "served-by=cloud/claude-x" in response.header("plugway-receipt")
    if stream:
        assert response.events[1:] == anthropic_stream("real", model="real")[1:]
    else:
        assert response.json == anthropic_message("real", model=asked)


@pytest.mark.parametrize("stream", [True, False])
async def test_without_routing_the_upstreams_model_name_stays(upstream, running, stream):
    upstream.script(
        sse(anthropic_stream("x", model="claude-x-20990101"))
        if stream
        else respond(200, anthropic_message("x", model="claude-x-20990101"))
    )
    response = await ask(running, small(stream=stream))
    message = response.events[0][1]["message"] if stream else response.json
    assert message["model"] == "claude-x-20990101"

"""Only those of an upstream's headers that are meant for a client reach it, on every path."""

from __future__ import annotations

import orjson
import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream

pytestmark = pytest.mark.anyio

PASSING = {
    "retry-after-ms": "1500",
    "anthropic-ratelimit-requests-remaining": "9",
    "anthropic-organization-id": "org",
    "openai-processing-ms": "12",
    "x-ratelimit-remaining-tokens": "100",
    "x-codex-primary-used-percent": "5",
    "cf-ray": "8f-FRA",
}
OURS = {
    "plugway-receipt": "served-by=forged",
    "plugway-request-id": "req_forged",
    "plugway-anything": "forged",
    "request-id": "req_upstream",
    "x-request-id": "req_upstream",
}
BARRED = {
    "keep-alive": "timeout=5",
    "proxy-authenticate": "Basic",
    "proxy-connection": "keep-alive",
    "set-cookie": "a=b",
    "set-cookie2": "a=b",
    "server": "forged",
    "date": "Thu, 01 Jan 1970 00:00:00 GMT",
    "access-control-allow-origin": "*",
    "strict-transport-security": "max-age=63072000",
    "alt-svc": 'h3=":443"',
    "clear-site-data": '"*"',
    "www-authenticate": "Basic",
    "refresh": "0; url=https://evil.example",
    "link": "<https://evil.example>; rel=preload",
    "location": "https://evil.example",
    "content-disposition": "attachment",
    "content-security-policy": "default-src *",
    "report-to": "{}",
    "nel": "{}",
    "service-worker-allowed": "/",
    "x-accel-redirect": "/etc/passwd",
    "x-sendfile": "/etc/passwd",
    "x-future": "1",
    "via": "1.1 forged",
    "cache-control": "public, max-age=9999",
    "etag": '"1"',
    "trailer": "set-cookie",
    "anthropic-named": "belongs to the connection",
    "anthropic-long": "x" * 2000,
    "anthropic-odd": "a\tb",
}
SENT = [*PASSING.items(), *OURS.items(), *BARRED.items(), ("connection", "x, Anthropic-Named")]


def plugins(url):
    return [
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(Anthropic, "anthropic", api_key="k", base_url=url),
        build_plugin(AnthropicCompatible, "compatible", base_url=url, zone="vendor"),
        build_plugin(OpenAICompatible, "chat", base_url=url, api_key="k", zone="vendor"),
    ]


def scripted(status):
    """A server whose every response has all of these headers."""

    def answer(request):
        if status != 200:
            return respond(status, {"error": {"type": "x", "message": "no"}}, SENT)
        streams = request.json.get("stream") is True
        if request.path.endswith("count_tokens"):
            return respond(200, {"input_tokens": 5}, SENT)
        if request.path.endswith("completions"):
            whole, events = chat_message("Hello."), chat_stream("Hello.")
        else:
            whole, events = anthropic_message("Hello."), anthropic_stream("Hello.")
        return sse(events, headers=SENT) if streams else respond(200, whole, SENT)

    return answer


PATHS = {
    "messages": ("/v1/messages", "anthropic", {}),
    "another server": ("/v1/messages", "compatible", {}),
    "translated": ("/v1/messages", "chat", {}),
    "relayed": ("/v1/chat/completions", "chat", {}),
    "translated back": ("/v1/chat/completions", "anthropic", {}),
    "count": ("/v1/messages/count_tokens", "anthropic", {}),
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [200, 400, 429, 500])
@pytest.mark.parametrize("path", PATHS)
async def test_only_headers_for_clients_are_returned(path, status, stream):
    where, target, more = PATHS[path]
    async with (
        ScriptedUpstream(otherwise=scripted(status)) as upstream,
        gateway(plugins(upstream.url)) as running,
    ):
        body = request_body(model=f"anthropic/{target}/m", stream=stream, **more)
        answer = await running.post(body, where)
        lines = answer.headers.multi_items()
    got = dict(lines)
    assert len(lines) == len(got), "no line stands twice"
    forged = {n: v for n, v in BARRED.items() if got.get(n) == v}
    assert not forged
    for name in ("plugway-receipt", "plugway-request-id", "request-id"):
        assert got[name]
        assert got[name] != OURS[name]
    assert got["request-id"] == got["plugway-request-id"]
    assert "plugway-anything" not in got
    assert got.get("x-request-id", got["request-id"]) == got["request-id"]
    if target != "chat" or path == "relayed":
        limits = "anthropic-ratelimit-requests-remaining"
        assert got[limits] == "9"
        assert got["plugway-upstream-request-id"] == "req_upstream"
    assert ("content-length" in got) != ("transfer-encoding" in got)


async def test_neither_early_hints_nor_trailers_reach_a_client():
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\nset-cookie: a=b\r\n\r\n"
    body = orjson.dumps(anthropic_message("Hello."))
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    end = b"0\r\nset-cookie: a=b\r\nanthropic-late: 1\r\nplugway-receipt: forged\r\n\r\n"
    async with ScriptedUpstream() as upstream:
        upstream.script([early + head + b"%x\r\n%b\r\n" % (len(body), body) + end])
        async with gateway(plugins(upstream.url)) as running:
            answer = await running.post(request_body(model="anthropic/anthropic/m"))
    assert answer.status_code == 200
    assert not {"link", "set-cookie", "anthropic-late"} & answer.headers.keys()
    assert "forged" not in str(answer.headers)


async def test_headers_named_in_connection_are_not_forwarded():
    async with (
        ScriptedUpstream(otherwise=scripted(200)) as upstream,
        gateway(plugins(upstream.url)) as running,
    ):
        lines = {"connection": "keep-alive, X-Hop, anthropic-hop", "x-hop": "1"}
        lines |= {"anthropic-hop": "1", "anthropic-stays": "1"}
        answer = await running.client.post(
            "/v1/messages", json=request_body(model="anthropic/anthropic/m"), headers=lines
        )
    assert answer.status_code == 200
    names = {name for name, _ in upstream.requests[0].headers}
    assert not {"x-hop", "anthropic-hop"} & names
    assert "anthropic-stays" in names


async def test_a_plugins_reply_cannot_contain_connection_headers():
    from plugway import NoOptions, Plugin, Reply, hookimpl

    class Answers(Plugin[NoOptions]):
        @hookimpl
        async def answer(self, request, exchange):
            lines = (("transfer-encoding", "chunked"), ("date", "now"), ("x-own", "1"))
            lines += (("request-id", "forged"), ("content-length", "3"), ("set-cookie", "a=b"))
            return Reply.message(anthropic_message("Hello."), headers=lines)

    async with gateway([Answers(NoOptions(), name="answers")]) as running:
        for stream in (False, True):
            answer = await running.post(request_body(stream=stream))
            assert answer.status_code == 200
            assert answer.headers["x-own"] == "1"
            assert answer.headers["request-id"] == answer.headers["plugway-request-id"]
            assert "set-cookie" not in answer.headers
            assert answer.content


@pytest.mark.parametrize("path", ["messages", "relayed"])
@pytest.mark.parametrize(
    "kind",
    ["text/html", 'application/json; charset=utf-7; x="<b>"', "application/xml", None, "named"],
)
async def test_json_gets_the_json_content_type_whatever_the_upstreams(path, kind):
    where, target, _ = PATHS[path]
    whole = chat_message("<b>") if target == "chat" else anthropic_message("<b>")
    lines = [("connection", "content-type")] if kind == "named" else []
    lines += [("content-type", kind)] if kind not in (None, "named") else []
    async with (
        ScriptedUpstream(otherwise=respond(200, whole, lines)) as upstream,
        gateway(plugins(upstream.url)) as running,
    ):
        answer = await running.post(request_body(model=f"anthropic/{target}/m"), where)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"


async def test_an_upstreams_page_is_not_returned_as_a_page():
    page = respond(403, b"<html><script>alert(1)</script>", [("content-type", "text/html")])
    async with ScriptedUpstream(otherwise=page) as upstream, gateway(plugins(upstream.url)) as at:
        answer = await at.post(request_body(model="anthropic/anthropic/m"))
    assert answer.status_code == 403
    assert "html" not in answer.headers["content-type"]


async def test_all_forwarded_headers_fit_into_a_clients_limit():
    lines = [(f"anthropic-{'n' * 200}-{number}", "v" * 900) for number in range(40)]
    lines += [("anthropic-" + "n" * 10_000, "v"), ("retry-after", "7")]
    script = respond(200, anthropic_message("Hello."), lines)
    async with ScriptedUpstream(otherwise=script) as upstream, gateway(plugins(upstream.url)) as at:
        answer = await at.post(request_body(model="anthropic/anthropic/m"))
    assert answer.status_code == 200
    assert answer.headers["retry-after"] == "7"
    assert sum(len(name) + len(value) + 4 for name, value in answer.headers.items()) < 12_000


@pytest.mark.parametrize("status", [b"000", b"099"])
async def test_a_status_below_100_is_an_invalid_response(status):
    head = b"HTTP/1.1 " + status + b" OK\r\ncontent-length: 2\r\n\r\n{}"
    async with ScriptedUpstream() as upstream:
        upstream.script([head])
        async with gateway(plugins(upstream.url)) as running:
            answer = await running.post(request_body(model="anthropic/anthropic/m"))
    assert answer.status_code == 502
    assert "sent an invalid HTTP response" in answer.text

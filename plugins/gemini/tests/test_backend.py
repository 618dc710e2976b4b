"""The backend behind a real gateway: keys, errors, second tries, counts, lists, cuts."""

import json
import time
from contextlib import suppress
from typing import Any

import anyio
import httpx2
import pytest
from gemini_answers import (
    USAGE,
    Server,
    blocked,
    call,
    hello,
    piece,
    refused,
    sse,
    stream,
    text,
    thought,
)

from plugway.testing import (
    ERRORS,
    Cut,
    Hold,
    LeakCheck,
    ScriptedUpstream,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_capabilities import Ledger
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_translation import Reasoning

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MODEL = "gemini-3-pro"
TOOL = {
    "name": "Read",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string", "pattern": "^/", "description": "where"}},
    },
}
KEY = "AIzaCanary-1f2e3d4c"


@pytest.fixture
async def server():
    async with ScriptedUpstream(otherwise=Server(hello())) as found:
        yield found


def plugin(server, **options) -> Any:
    return build_plugin(Gemini, "g", base_url=server.url, api_key=KEY, **options)


def body(stream=True, **fields):
    return request_body(model=MODEL, stream=stream, **fields)


def asked(server):
    """The requests for an answer."""
    return [request for request in server.requests if "enerateContent" in request.path]


async def answered(server, *before, stream=True, **fields):
    async with gateway([*before, plugin(server)]) as running:
        return await running.post(body(stream, **fields))


async def test_the_key_is_in_a_header_and_nowhere_else(server):
    await answered(server)
    await answered(server, stream=False)
    streamed, whole = server.requests
    assert streamed.path == f"/v1beta/models/{MODEL}:streamGenerateContent?alt=sse"
    assert whole.path == f"/v1beta/models/{MODEL}:generateContent"
    for request in server.requests:
        assert request.header("x-goog-api-key") == KEY
        assert request.header("authorization") is None
        assert KEY not in request.path
        assert KEY.encode() not in request.body


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer(server, streamed):
    async with gateway([plugin(server)]) as running:
        if streamed:
            events = await running.stream("hi", model=MODEL)
            assert [e["delta"]["text"] for n, e in events if n == "content_block_delta"] == ["Hel", "lo"]  # fmt: skip
            usage = next(e["usage"] for n, e in events if n == "message_delta")
        else:
            message = await running.ask("hi", model=MODEL)
            assert message["content"] == [{"type": "text", "text": "Hello"}]
            usage = message["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (20, 100, 37)  # fmt: skip


async def test_counts_and_lists(server):
    entries = [
        {
            "name": "models/gemini-3-pro",
            "displayName": "Gemini 3 Pro",
            "inputTokenLimit": 1048576,
            "outputTokenLimit": 65536,
            "supportedGenerationMethods": ["generateContent", "countTokens"],
            "thinking": True,
        },
        {"name": "models/text-embedding-004", "supportedGenerationMethods": ["embedContent"]},
        {
            "name": "models/gemini-2.5-flash-image",
            "supportedGenerationMethods": ["generateContent"],
        },
    ]
    more = [{"name": "models/gemma-3", "supportedGenerationMethods": ["generateContent"]}]
    made = plugin(server)
    async with gateway([made]) as running:
        counted = await running.post(body(), path="/v1/messages/count_tokens")
        assert counted.json() == {"input_tokens": 42}
        last = server.requests[-1]
        assert last.path == f"/v1beta/models/{MODEL}:countTokens"
        assert last.json["generateContentRequest"]["model"] == f"models/{MODEL}"
        server.script(
            respond(200, {"models": entries, "nextPageToken": "a/b"}),
            respond(200, {"models": more}),
        )
        (backend,) = made.register_backends()
        found = {info.id: info for info in await backend.models()}
    assert [r.path for r in server.requests[-2:]] == [
        "/v1beta/models?pageSize=1000",
        "/v1beta/models?pageSize=1000&pageToken=a%2Fb",
    ]
    assert list(found) == ["gemini-3-pro", "gemma-3"]
    info = found["gemini-3-pro"]
    assert (info.context_tokens, info.max_output_tokens) == (1_048_576, 65_536)
    assert info.capabilities == {"tools", "images", "structured_output", "thinking"}


async def test_nothing_to_write_is_counted(server):
    response = await answered(server, stream=False, max_tokens=0)
    assert response.json()["usage"] == {"input_tokens": 42, "output_tokens": 0}
    assert ":countTokens" in server.requests[0].path


@pytest.mark.parametrize(
    ("name", "status", "kind", "words"),
    [
        ("gemini.context_overflow", 400, "invalid_request_error", "prompt is too long: 1200293 tokens > 1048576 maximum"),
        ("gemini.context_overflow_in_array", 400, "invalid_request_error", "prompt is too long: 1200293 tokens > 1048576 maximum"),
        ("gemini.model_not_found", 404, "not_found_error", "models/no-such-model is not found"),
        ("gemini.overloaded", 529, "overloaded_error", "overloaded"),
        ("gemini.rate_limited", 429, "rate_limit_error", "exceeded your current quota"),
        ("gemini.unauthorized", 401, "authentication_error", "option `api_key` of `g`"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("streamed", [True, False])
async def test_googles_errors_are_told_in_the_clients_words(
    server, name, status, kind, words, streamed
):
    server.script(ERRORS[name].script())
    response = await answered(server, build_plugin(ErrorNormalizer, "e"), stream=streamed)
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (status, kind)
    assert words in error["message"]
    assert KEY not in response.text
    assert len(asked(server)) == 1
    if status == 429:
        assert float(response.headers["retry-after"]) > 0
    if status == 401:
        assert response.headers["x-should-retry"] == "false"


async def test_a_refused_key_names_its_place_without_other_plugins(server):
    server.script(ERRORS["gemini.unauthorized"].script())
    response = await answered(server)
    assert response.status_code == 401
    assert "`plugway keys`" in response.json()["error"]["message"]


async def test_a_quota_for_the_day_is_not_asked_for_again(server):
    quota = {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
    }
    server.script(refused(429, "You exceeded your current quota.", "RESOURCE_EXHAUSTED", [quota]))
    response = await answered(server)
    assert (response.status_code, response.headers["x-should-retry"]) == (429, "false")


# ── second tries ─────────────────────────────────────────────────────────────────────────────


async def test_a_refused_keyword_is_learnt_and_the_request_sent_again(server):
    place = "tools[0].function_declarations[0].parameters.properties[0].value"
    server.script(refused(400, f"Invalid JSON payload received. Unknown name \"pattern\" at '{place}': Cannot find field."))  # fmt: skip
    async with gateway([plugin(server)]) as running:
        first = await running.post(body(tools=[TOOL]))
        again = await running.post(body(tools=[TOOL]))
    assert (first.status_code, again.status_code) == (200, 200)
    sent = [b'"pattern"' in request.body for request in server.requests]
    assert sent == [True, False, False]
    deadline = time.monotonic() + 5

    def learnt():
        return Ledger().about("gemini", MODEL, server.url).rejected_keywords

    while not learnt() and time.monotonic() < deadline:
        await anyio.lowlevel.checkpoint()
    assert learnt() == {"pattern"}
    assert not Ledger().about("gemini", MODEL, "http://127.0.0.1:9").rejected_keywords


async def test_nesting_that_is_too_deep_is_learnt(server):
    deep = {"type": "string"}
    for _ in range(8):
        deep = {"type": "object", "properties": {"a": deep}}
    server.script(refused(400, "FunctionDeclaration 'Read' in the request exceeds the maximum allowed nesting depth."))  # fmt: skip
    response = await answered(server, tools=[{**TOOL, "input_schema": deep}])
    assert response.status_code == 200
    first, second = (request.body.count(b'"properties"') for request in server.requests)
    assert (first, second) == (8, 4)


async def test_a_second_refusal_is_told(server):
    server.script(*[refused(400, f"Unknown name \"{name}\": Cannot find field.") for name in ("systemInstruction", "generationConfig", "x")])  # fmt: skip
    response = await answered(server, system="s")
    assert response.status_code == 400
    assert "generationConfig" in response.json()["error"]["message"]
    assert len(server.requests) == 2


def calling(signed):
    """A conversation with a call whose signature Google may refuse."""
    mark = Reasoning.of("g", MODEL).block("", {"next": signed})
    return [
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": [mark, {"type": "tool_use", "id": "a", "name": "Read", "input": {}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": "x"}]},
    ]


async def test_a_signature_that_is_refused_is_bypassed(server):
    server.script(refused(400, "Corrupted thought signature."))
    response = await answered(server, messages=calling("BAD="), tools=[TOOL])
    assert response.status_code == 200
    marks = [request.json["contents"][1]["parts"][0]["thoughtSignature"] for request in server.requests]  # fmt: skip
    assert marks == ["BAD=", "skip_thought_signature_validator"]


THOUGHT = {"promptTokenCount": 9, "thoughtsTokenCount": 5, "totalTokenCount": 14}


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "useless",
    [
        (piece(thought("hm")), piece(finish="MALFORMED_FUNCTION_CALL", finishMessage="print(")),
        (piece(finish="STOP"),),
        (piece(thought("hm")), piece(usage=THOUGHT)),
    ],
    ids=["malformed", "empty", "thinking without a reason"],
)
async def test_an_answer_of_no_use_is_asked_for_once_more_with_simpler_tools(
    server, streamed, useless
):
    good = (piece(call("Read", {"path": "/a"}, "x"), finish="STOP", usage=USAGE),)
    async with ScriptedUpstream(otherwise=Server(useless, good)) as upstream:
        response = await answered(upstream, stream=streamed, tools=[TOOL])
        assert response.status_code == 200
        assert [b"pattern" in request.body for request in upstream.requests] == [True, False]
    assert "tool_use" in response.text


@pytest.mark.parametrize("streamed", [True, False])
async def test_one_that_stays_useless_is_an_error_and_never_an_empty_turn(server, streamed):
    broken = (piece(finish="MALFORMED_FUNCTION_CALL", finishMessage="print("),)
    async with ScriptedUpstream(otherwise=Server(broken)) as upstream:
        response = await answered(upstream, stream=streamed, tools=[TOOL])
        assert len(upstream.requests) == 2
    assert response.status_code == 502
    assert "MALFORMED_FUNCTION_CALL" in response.json()["error"]["message"]


async def test_a_blocked_prompt_is_a_refusal_with_words(server):
    async with (
        ScriptedUpstream(otherwise=Server((blocked(),))) as upstream,
        gateway([plugin(upstream)]) as running,
    ):
        message = await running.ask("hi", model=MODEL)
    assert message["stop_reason"] == "refusal"
    assert "SAFETY" in message["content"][0]["text"]


async def test_a_complete_body_needs_no_reason(server):
    """Google omits it in some (router-for-me/CLIProxyAPI#5226)."""
    async with (
        ScriptedUpstream(otherwise=Server((piece(text("Hello."), usage=USAGE),))) as upstream,
        gateway([plugin(upstream)]) as running,
    ):
        message = await running.ask("hi", model=MODEL)
    assert (message["content"][0]["text"], message["stop_reason"]) == ("Hello.", "end_turn")


# ── cuts, and clients that leave ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
async def test_a_stream_that_is_cut_ends_without_an_end(server, kept):
    raw = sse(piece(text("one")), piece(text("two")), piece(text("three"), finish="STOP"))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    server.script([head + raw[: int(len(raw) * kept)], Cut()])
    told, status = b"", 0
    async with gateway([plugin(server)]) as running:
        with suppress(httpx2.RemoteProtocolError):  # the client sees the cut, where there was text
            async with running.client.stream("POST", "/v1/messages", json=body()) as response:
                status = response.status_code
                async for chunk in response.aiter_raw():
                    told += chunk
    assert b"message_stop" not in told
    assert b"one" in told or status >= 500


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_a_stream_that_is_cut_at_any_byte_is_never_told_as_whole(server):
    pieces = (piece(thought("hm")), piece(text("ü")), piece(call("Read", {"a": 1}), finish="STOP"))
    raw = sse(*pieces)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    whole = 0
    async with gateway([plugin(server)]) as running:
        for end in range(len(raw) + 1):
            server.script([head + raw[:end], Cut()])
            told, status = b"", 0
            with suppress(httpx2.RemoteProtocolError):
                async with running.client.stream("POST", "/v1/messages", json=body()) as response:
                    status = response.status_code
                    async for chunk in response.aiter_raw():
                        told += chunk
            whole += b"message_stop" in told
            assert b"event: error" not in told
            assert status >= 500 or b"content_block_start" in told
    assert whole == 1


async def test_one_that_is_cut_after_its_end_is_whole(server):
    raw = sse(piece(text("one"), finish="STOP"))
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    server.script([head + b"%x\r\n%b\r\n" % (len(raw), raw), Cut()])
    async with gateway([plugin(server)]) as running:
        events = await running.stream("hi", model=MODEL)
    assert events[-1][0] == "message_stop"


async def test_an_error_inside_a_stream_before_content_keeps_its_status(server):
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    server.script(stream(error))
    response = await answered(server, build_plugin(ErrorNormalizer, "e"))
    assert (response.status_code, response.json()["error"]["type"]) == (529, "overloaded_error")


async def test_an_error_after_content_cuts_the_stream(server):
    error = {"error": {"code": 500, "message": "Internal error.", "status": "INTERNAL"}}
    server.script(stream(piece(text("one")), error))
    told = b""
    async with gateway([plugin(server)]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            async with running.client.stream("POST", "/v1/messages", json=body()) as response:
                async for chunk in response.aiter_raw():
                    told += chunk
    assert b"one" in told
    assert b"message_stop" not in told
    assert b"event: error" not in told


@pytest.mark.parametrize("answer", [respond(200, b"<html>", {"content-type": "text/html"}), respond(200, b"[]"), respond(200, b"{")])  # fmt: skip
@pytest.mark.parametrize("streamed", [True, False])
async def test_what_is_no_answer_is_an_error(server, answer, streamed):
    server.script(answer, answer)
    response = await answered(server, stream=streamed)
    assert response.status_code in {500, 502}
    assert response.json()["type"] == "error"


async def test_a_client_that_leaves_ends_the_work_upstream(server):
    raw = sse(piece(text("one")))
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    server.script([head + raw, Hold()])
    async with gateway([plugin(server)]) as running:
        async with running.client.stream("POST", "/v1/messages", json=body()) as response:
            async for _ in response.aiter_raw():
                break
        with anyio.fail_after(5):
            await server.requests[0].left.wait()


async def test_nothing_is_left_behind(server):
    async with gateway([plugin(server)]) as running:
        await running.ask("warm", model=MODEL)
        async with LeakCheck():
            for _ in range(5):
                await running.stream("hi", model=MODEL)


async def test_what_was_done_is_on_the_receipt_and_explained(server):
    async with gateway([plugin(server)]) as running:
        response = await running.post(
            body(stream=False, metadata={"user_id": "u"}), path="/v1/messages/explain"
        )
    found = response.json()
    assert found["upstream_request"]["body"]["contents"] == [
        {"role": "user", "parts": [{"text": request_body()["messages"][0]["content"]}]}
    ]
    path = f"/v1beta/models/{found['attempts'][0]['model']}:generateContent"
    assert found["upstream_request"]["url"] == f"{server.url}{path}"
    assert found["upstream_request"]["headers"] == {"content-type": "application/json"}
    assert "metadata" in json.dumps(found)
    assert not asked(server)


@pytest.mark.parametrize(
    "name", ["../../v1/files/x", "m/../..", "..", "/m", "m//x", "tunedModels/."]
)
@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_model_that_leads_elsewhere_in_the_path_is_refused(server, name, path):
    made = plugin(server)
    async with gateway([made]) as running:
        refused = await running.post(request_body(model=f"anthropic/{made.name}/{name}"), path)
    assert refused.status_code == 400, refused.text
    assert "not a valid model name" in refused.text
    assert not server.requests

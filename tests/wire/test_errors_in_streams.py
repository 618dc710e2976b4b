"""Errors that servers report after the head of an answer, in every form that they have for it.

Sources: llama.cpp `tools/server/server.cpp` (`error:` lines before b4000, then events without a
name), lmstudio-ai/lmstudio-bug-tracker#2220 (an event after the answer's first one), vLLM's
`create_streaming_error_response`, Ollama's JSON lines, oobabooga/textgen#7257.
"""

from __future__ import annotations

from typing import Any

import httpx2
import orjson
import pytest

from plugway.testing import (
    ReceivedRequest,
    ScriptedUpstream,
    anthropic_stream,
    build_plugin,
    gateway,
    parse_sse,
    respond,
    sse,
)
from plugway_error_normalizer import ErrorNormalizer
from plugway_openai_api import OpenAIApi
from tests.receipts.servers import Receipts, answer
from tests.wire.adapted import PLUGINS
from tests.wire.ways import PATHS, asked

pytestmark = pytest.mark.anyio

OVERFLOW = (
    "request (13392 tokens) exceeds the available context size (8192 tokens), try increasing it"
)
GRAMMAR = (
    'Engine protocol predict request returned 400: {"error":{"code":400,"message":"Failed to '
    'initialize samplers: failed to parse grammar","type":"invalid_request_error"}}'
)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "format": "uuid"}}}
STREAM, JSON, LINES = "text/event-stream", "application/json", "application/x-ndjson"
LOCAL = ("llama-server", "lmstudio", "ollama", "vllm", "anthropic-compatible")
BOTH = ("llama-server", "chat", "responses")


def dumped(value: Any) -> bytes:
    return orjson.dumps(value)


def first_event() -> bytes:
    name, data = anthropic_stream("x")[0]
    return b"event: %b\ndata: %b\n\n" % (name.encode(), dumped(data))


def told(words: str) -> dict[str, Any]:
    return {"code": 400, "message": words, "type": "invalid_request_error"}


FORMS = {
    "status 400": (400, JSON, lambda w: dumped({"error": told(w)})),
    "status 500, text alone": (500, JSON, lambda w: dumped({"error": w})),
    "status 200, JSON": (200, JSON, lambda w: dumped({"error": told(w)})),
    "status 200, text alone": (200, JSON, lambda w: dumped({"error": w})),
    "status 200, JSON lines": (200, LINES, lambda w: dumped({"error": w}) + b"\n"),
    "event": (200, STREAM, lambda w: b"event: error\ndata: %b\n\n" % dumped({"error": told(w)})),
    "event of the Messages API": (200, STREAM, lambda w: b"event: error\ndata: %b\n\n" % dumped({"type": "error", "error": {"type": "api_error", "message": w}})),
    "event with text": (200, STREAM, lambda w: b"event: error\ndata: %b\n\n" % w.encode()),
    "event without envelope": (200, STREAM, lambda w: b"event: error\r\ndata: %b\r\n\r\n" % dumped(told(w))),
    "no event": (200, STREAM, lambda w: b"data: %b\n\n" % dumped({"error": told(w)})),
    "no event, end mark": (200, STREAM, lambda w: b"data: %b\n\ndata: [DONE]\n\n" % dumped({"error": told(w)})),
    "no event, text alone": (200, STREAM, lambda w: b"data: %b\n\n" % dumped({"error": w})),
    "no event, typed": (200, STREAM, lambda w: b"data: %b\n\n" % dumped({"type": "error", "error": {"type": "api_error", "message": w}})),
    "no event, no envelope": (200, STREAM, lambda w: b"data: %b\n\n" % dumped(told(w))),
    "no event, vLLM": (200, STREAM, lambda w: b"data: %b\n\n" % dumped({"object": "error", "message": w, "type": "BadRequestError", "code": 400})),
    "no event, no end": (200, STREAM, lambda w: b"data: %b" % dumped({"error": told(w)})),
    "error line": (200, STREAM, lambda w: b"error: %b\n\n" % dumped(told(w))),
    "error line, envelope": (200, STREAM, lambda w: b"error: %b\n\n" % dumped({"error": told(w)})),
    "error line, text": (200, STREAM, lambda w: b"error: %b\n\ndata: [DONE]\n\n" % w.encode()),
    "bare JSON": (200, STREAM, lambda w: dumped({"error": told(w)}) + b"\n"),
    "after a comment and a ping": (200, STREAM, lambda w: b': wait\n\nevent: ping\ndata: {"type":"ping"}\n\ndata: %b\n\n' % dumped({"error": told(w)})),
    "after the first event": (200, STREAM, lambda w: first_event() + b"event: error\ndata: %b\n\n" % dumped({"type": "error", "error": {"type": "api_error", "message": w}})),
    "after the first event, no event": (200, STREAM, lambda w: first_event() + b"data: %b\n\n" % dumped({"error": told(w)})),
    "after the first event, error line": (200, STREAM, lambda w: first_event() + b"error: %b\n\n" % dumped(told(w))),
}  # fmt: skip
WAYS = [
    *((server, form) for form in FORMS for server in BOTH),
    *((server, form) for form in ("no event", "error line") for server in LOCAL[1:]),
]


async def exchanged(server, form, words, *, refuses=lambda body: True, dialect="messages"):
    """The client's response, the bodies that the server got, and the receipt."""
    status, kind, made = FORMS[form]
    sent = []

    def otherwise(request: ReceivedRequest) -> Any:
        if request.method == "GET" or "count" in request.path or "/api/" in request.path:
            return answer(request)
        sent.append(request.json)
        if not refuses(request.json):
            return answer(request)
        return respond(status, made(words), {"content-type": kind})

    receipts = Receipts()
    async with ScriptedUpstream(otherwise=otherwise) as upstream:
        plugins = [
            receipts,
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(ErrorNormalizer, "errors"),
            PLUGINS[server](upstream.url),
        ]
        async with gateway(plugins) as running:
            body = asked(dialect, schema=SCHEMA, stream=True)
            response = await running.post(body, PATHS[dialect])
            await receipts.done.wait()
    return response, sent, receipts.lines


@pytest.mark.parametrize(("server", "form"), WAYS)
async def test_a_prompt_that_is_too_long_is_told_so_that_the_client_compacts(server, form):
    response, _, _ = await exchanged(server, form, OVERFLOW)
    assert response.status_code == 400
    message = response.json()["error"]["message"]
    assert message.startswith("prompt is too long: 13392 tokens > 8192 maximum")


def has_format(body: dict[str, Any]) -> bool:
    return b'"format":' in dumped(body["tools"])


@pytest.mark.parametrize(("server", "form"), WAYS)
async def test_a_schema_of_which_no_grammar_can_be_made_is_adapted_and_sent_again(server, form):
    response, sent, lines = await exchanged(server, form, GRAMMAR, refuses=has_format)
    assert response.status_code == 200
    assert parse_sse(response.content)[-1][0] == "message_stop"
    assert [has_format(body) for body in sent] == [True, False]
    assert "tools.input_schema.format: `Read`: the target does not support it" in "\n".join(lines)


@pytest.mark.parametrize("form", ["no event", "error line", "event of the Messages API"])
async def test_a_client_of_the_servers_own_api_is_told_before_a_stream_begins(form):
    response, _, _ = await exchanged("chat", form, OVERFLOW, dialect="chat")
    assert response.status_code == 400
    assert "13392 tokens" in response.json()["error"]["message"]


@pytest.mark.parametrize("server", LOCAL)
async def test_what_cannot_be_adapted_is_told_with_the_tool_and_its_keyword(server):
    words = "Failed to initialize samplers: failed to parse grammar"
    response, sent, _ = await exchanged(server, "no event", words)
    assert response.status_code == 400
    assert "`Read`" in response.json()["error"]["message"]
    assert len(sent) <= 2


@pytest.mark.parametrize("server", LOCAL)
@pytest.mark.parametrize(
    "words",
    [
        "Unable to generate parser for this template. Automatic parser generation failed: While "
        "executing CallExpression: Error: Jinja Exception: System message must be at the beginning.",
        "Failed to parse input at pos 7: <tool_call> It builds a grammar from a JSON schema.",
        "The model produced output that does not match the expected peg-native format (grammar)",
    ],
    ids=["the chat template", "what the model wrote", "the format"],
)
async def test_a_tool_is_not_blamed_for_another_error(server, words):
    response, _, _ = await exchanged(server, "no event", words)
    assert "`Read`" not in response.json()["error"]["message"]


async def test_a_keyword_that_the_server_names_is_told_with_the_tools_that_have_it():
    words = "JSON schema error at #/properties/a: enum must be a non-empty array"
    tools = [
        {
            "name": "Find",
            "input_schema": {"type": "object", "properties": {"b": {"pattern": "^b$"}}},
        },
        {"name": "Read", "input_schema": {"type": "object", "properties": {"a": {"enum": []}}}},
    ]
    refusal = respond(400, {"error": told(words)})
    async with (
        ScriptedUpstream(
            otherwise=lambda r: answer(r) if r.method == "GET" else refusal
        ) as upstream,
        gateway([PLUGINS["llama-server"](upstream.url)]) as running,
    ):
        response = await running.post({**asked("messages"), "tools": tools})
    message = response.json()["error"]["message"]
    assert "`Read` (`enum`)" in message
    assert "`Find`" not in message


async def test_each_refusal_that_teaches_something_else_is_heeded():
    bounds = {"type": "string", "pattern": "[a-z]", "maxLength": 65_536}
    schema = {"type": "object", "properties": {"a": bounds}}
    sent = []

    def otherwise(request: ReceivedRequest) -> Any:
        if request.method == "GET":
            return answer(request)
        sent.append(orjson.dumps(request.json["tools"]))
        words = "JSON schema conversion failed:\nPattern must start with '^' and end with '$'"
        if b'"pattern":' not in sent[-1]:
            words = "Failed to initialize samplers: failed to parse grammar"
        refused = b'"pattern":' in sent[-1] or b'"maxLength":' in sent[-1]
        return respond(400, {"error": told(words)}) if refused else answer(request)

    async with (
        ScriptedUpstream(otherwise=otherwise) as upstream,
        gateway([PLUGINS["anthropic-compatible"](upstream.url)]) as running,
    ):
        response = await running.post(asked("messages", schema=schema, stream=True))
    assert response.status_code == 200
    assert len(sent) == 3


@pytest.mark.parametrize(
    "last", [b"data: %b\n\n", b"error: %b\n\n", b"data: %b\n\ndata: [DONE]\n\n"]
)
async def test_an_error_that_ends_an_answer_is_recorded_in_the_servers_words(last, caplog):
    begun = [
        b"event: %b\ndata: %b\n\n" % (n.encode(), dumped(d)) for n, d in anthropic_stream()[:4]
    ]
    ended = last % dumped({"error": told("the slot was lost")})
    async with (
        ScriptedUpstream(otherwise=lambda request: sse([*begun, ended])) as upstream,
        gateway([PLUGINS["llama-server"](upstream.url)]) as running,
    ):
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.post({**asked("messages"), "tools": [], "stream": True})
    assert "stream cut: the slot was lost" in caplog.text


async def test_a_stream_without_its_first_event_gets_one():
    """As llama-server sends it where the first token is the half of a character."""
    events = [b"event: %b\ndata: %b\n\n" % (n.encode(), dumped(d)) for n, d in anthropic_stream()]
    async with (
        ScriptedUpstream(otherwise=lambda request: sse(events[1:])) as upstream,
        gateway([PLUGINS["llama-server"](upstream.url)]) as running,
    ):
        response = await running.post({**asked("messages"), "tools": [], "stream": True})
    first, *others = parse_sse(response.content)
    assert first[0] == "message_start"
    assert first[1]["message"]["model"] == "m"
    assert [name for name, _ in others] == [name for name, _ in anthropic_stream()[1:]]

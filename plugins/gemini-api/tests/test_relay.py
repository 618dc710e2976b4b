"""A client of Gemini's API in front of Google's: its bytes arrive, and those of the reply come back."""

import json

import orjson
import pytest
from gemini_answers import SIGNATURE, USAGE, Google, call, piece, refused, sse, text

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import Cut, StrictUpstream, build_plugin, respond
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_gemini import Gemini
from plugway_gemini_api._seal import Sealed, sealed
from plugway_resilience import Resilience
from plugway_server_tools import ServerTools
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
MODEL = "google/gemini-3-pro"
LAYERS = (Thinking, Resilience, ErrorNormalizer, ServerTools, ToolRepair, ContextGuard, FieldPolicy)
USER = {"role": "user", "parts": [{"text": "hi"}]}
KEY = "AIzaSecret"

IMAGE = {
    "inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="},
    "thoughtSignature": "c2ln",
}
CODE = {"executableCode": {"id": "x1", "language": "PYTHON", "code": "print(1)"}}
OUTPUT = {"codeExecutionResult": {"id": "x1", "outcome": "OUTCOME_OK", "output": "1\n"}}
BESIDE = {
    "groundingMetadata": {
        "webSearchQueries": ["sky"],
        "searchEntryPoint": {"renderedContent": "<b>"},
    },
    "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}],
    "avgLogprobs": -0.25,
    "logprobsResult": {"chosenCandidates": [{"token": "a", "logProbability": -0.25}]},
    "newField": {"n": 1},
}
PIECES = (
    piece(text("Look: ", thought=True), IMAGE),
    piece(CODE, OUTPUT, call("look", {"at": "a"}, id_="c1", thoughtSignature=SIGNATURE)),
    piece(text("Hi."), finish="STOP", usage=USAGE, **BESIDE),
)
# Spaces, an unknown order, escapes, a duplicate of nothing: what a rewritten body would not keep.
BODY = (
    b'{ "generationConfig": {"temperature": 1.50, "responseModalities": ["TEXT", "IMAGE"],'
    b' "candidateCount": 2, "responseLogprobs": true, "logprobs": 3},\n'
    b'  "tools": [{"googleSearch": {}}, {"codeExecution": {}}, {"urlContext": {}}],'
    b' "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],'
    b' "contents": [ {"role": "user", "parts": [{"text": "h\\u0069"}]},'
    b' {"role": "model", "parts": [{"text": "Yes", "thoughtSignature": "%b"}]},'
    b' {"role": "user", "parts": [{"text": "go on"}]} ] }' % SIGNATURE.encode()
)


class Watching(Plugin[NoOptions]):
    """Keeps outcomes and receipts; changes the request where told to."""

    def __init__(self, **fields):
        super().__init__(NoOptions(), name="watching")
        self.fields, self.outcomes, self.lines = fields, [], []

    @hookimpl
    def prepare_attempt(self, request, attempt, exchange):
        return request.replace(because="a test", **self.fields) if self.fields else None

    @hookimpl
    async def finished(self, exchange, outcome):
        self.outcomes.append(outcome)
        self.lines.append([entry.what for entry in exchange.receipt])


class Stack:
    """Starts the usual plugins in front of Google."""

    def __init__(self, serving):
        self.serving = serving

    def __call__(self, upstream, *, fields=None, more=(), options=None, **server):
        self.watching = Watching(**(fields or {}))
        layers = [build_plugin(layer, layer.__name__.lower()) for layer in LAYERS]
        given = {"base_url": upstream.url, "api_key": KEY, **(options or {})}
        backend = build_plugin(Gemini, "google", **given)
        between = [*more, *layers, self.watching]
        return self.serving(backend, between=between, upstream=upstream, **server)


@pytest.fixture
def stack(serving):
    return Stack(serving)


@pytest.fixture
async def google():
    said = Google()
    async with StrictUpstream("gemini", otherwise=said) as upstream:
        upstream.said = said
        yield upstream


def answers(google, *pieces, stream):
    body = sse(*pieces) if stream else json.dumps(pieces[0], indent=2).encode()
    kind = "text/event-stream" if stream else "application/json; charset=UTF-8"
    google.said.next.append(respond(200, body, {"content-type": kind}))
    return body


def asked(google):
    """The requests for content."""
    return [request for request in google.requests if request.method == "POST"]


async def post(running, body, *, stream=False, model=MODEL, query="?alt=sse"):
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    method = f"streamGenerateContent{query}" if stream else "generateContent"
    return await running.gate.client.post(
        f"/v1beta/models/{model}:{method}",
        content=raw,
        headers={"content-type": "application/json"},
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_body_and_reply_pass_byte_for_byte(google, stack, stream):
    async with stack(google) as running:
        body = answers(google, *(PIECES if stream else PIECES[::-1]), stream=stream)
        answer = await post(running, BODY, stream=stream)
    assert answer.status_code == 200, answer.text
    assert answer.content == body
    assert answer.headers["content-type"].startswith(
        "text/event-stream" if stream else "application/json"
    )
    (sent,) = asked(google)
    assert sent.body == BODY
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    assert sent.path == f"/v1beta/models/gemini-3-pro:{method}"
    assert sent.header("x-goog-api-key") == KEY
    (outcome,) = stack.watching.outcomes
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens) == (20, 37)
    assert outcome.usage.cache_read_tokens == 100
    (lines,) = stack.watching.lines
    assert "`google/gemini-3-pro` receives the prompt as the client wrote it" in lines
    assert not [line for line in lines if line.startswith(("drop", "emulate", "not translated"))]


async def test_the_model_in_a_body_is_the_routed_one(google, stack):
    async with stack(google) as running:
        answers(google, PIECES[2], stream=False)
        body = {"model": "models/other", "contents": [USER], "generationConfig": {"topK": 5}}
        assert (await post(running, body)).status_code == 200
    assert google.requests[-1].json == {**body, "model": "models/gemini-3-pro"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_that_a_plugin_changed_is_translated(google, stack, stream):
    async with stack(google, fields={"system": "Be brief."}) as running:
        answers(google, piece(text("Hi."), finish="STOP", usage=USAGE, **BESIDE), stream=stream)
        answer = await post(running, {"contents": [USER], "safetySettings": []}, stream=stream)
    assert answer.status_code == 200, answer.text
    assert b"newField" not in answer.content
    assert google.requests[-1].json["systemInstruction"] == {"parts": [{"text": "Be brief."}]}
    assert not [line for line in stack.watching.lines[0] if "as the client wrote it" in line]


async def test_what_a_translation_cannot_carry_is_refused_only_where_it_is_translated(
    google, stack
):
    config = {"generationConfig": {"candidateCount": 2}}
    async with stack(google, fields={"system": "Be brief."}) as running:
        answer = await post(running, {"contents": [USER], **config})
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (400, "INVALID_ARGUMENT")
    assert "generationConfig.candidateCount" in error["message"]
    assert asked(google) == []


async def test_a_stream_as_one_array_is_translated(google, stack):
    async with stack(google) as running:
        answers(google, piece(text("Hi."), finish="STOP"), stream=True)
        answer = await post(running, {"contents": [USER]}, stream=True, query="")
    assert answer.json()[0]["candidates"][0]["content"]["parts"] == [{"text": "Hi."}]


@pytest.mark.parametrize("name", ["thoughtSignature", "thought_signature"])
async def test_thinking_of_a_translated_reply_is_translated_back(google, stack, name):
    block = {"type": "thinking", "thinking": "hm", "signature": "claude's"}
    said = {"role": "model", "parts": [{"text": "Yes", name: sealed([Sealed(block)], "m")}]}
    async with stack(google) as running:
        answers(google, PIECES[2], stream=False)
        answer = await post(running, {"contents": [USER, said, USER]})
    assert answer.status_code == 200
    assert b"cGx1Z3dheS4xL" not in google.requests[-1].body


async def test_calls_of_another_model_without_signatures_are_translated_after_a_refusal(
    google, stack
):
    result = {"functionResponse": {"name": "look", "response": {"output": "x"}}}
    said = {"role": "model", "parts": [call("look")]}
    body = {"contents": [USER, said, {"role": "user", "parts": [result]}]}
    body["tools"] = [{"functionDeclarations": [{"name": "look"}]}]
    async with stack(google) as running:
        answers(google, PIECES[2], stream=False)
        answer = await post(running, body)
    assert answer.status_code == 200, answer.text
    first, second = asked(google)
    assert first.json == body
    (again,) = second.json["contents"][1]["parts"]
    assert again["thoughtSignature"] == "skip_thought_signature_validator"
    lines = stack.watching.lines[0]
    assert any(line.startswith("translated and retried after a refusal") for line in lines)


async def test_a_keyword_of_a_schema_that_gemini_rejects_is_left_out_after_a_refusal(google, stack):
    schema = {"type": "object", "properties": {"at": {"type": "string", "contentEncoding": "x"}}}
    tools = [{"functionDeclarations": [{"name": "look", "parameters": schema}]}]
    async with stack(google) as running:
        answers(google, PIECES[2], stream=False)
        answer = await post(running, {"contents": [USER], "tools": tools})
        assert answer.status_code == 200, answer.text
        lossy = {"contents": [USER], "tools": tools, "safetySettings": [{}]}
        refused_again = await post(running, lossy)
    assert "contentEncoding" in refused_again.json()["error"]["message"]
    first, second, third = asked(google)
    assert b"contentEncoding" in first.body
    assert b"contentEncoding" not in second.body
    assert b"contentEncoding" in third.body


@pytest.mark.parametrize("stream", [False, True])
async def test_googles_error_reaches_the_client_with_its_details(google, stack, stream):
    details = [
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "PerDay"}],
        },
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"},
    ]
    async with stack(google) as running:
        google.said.next = [refused(429, "Quota exceeded.", "RESOURCE_EXHAUSTED", details)] * 9
        answer = await post(running, {"contents": [USER]}, stream=stream)
    assert answer.status_code == 429
    error = {"code": 429, "message": "Quota exceeded.", "status": "RESOURCE_EXHAUSTED"}
    assert answer.json() == {"error": {**error, "details": details}}


async def test_a_rejected_key_of_the_gateway_is_not_the_clients(google, stack):
    async with stack(google) as running:
        google.said.next = [refused(400, "API key not valid. Please pass a valid API key.")] * 9
        answer = await post(running, {"contents": [USER]})
    assert answer.status_code == 401
    assert "`google`" in answer.json()["error"]["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_status_200_is_an_error(google, stack, stream):
    error = {"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}}
    async with stack(google) as running:
        for _ in range(9):
            answers(google, error, stream=stream)
        answer = await post(running, {"contents": [USER]}, stream=stream)
    assert (answer.status_code, answer.json()) == (503, error)


@pytest.mark.parametrize(
    "args", [{"a": 1}, {"finishReason": "STOP"}, {"promptFeedback": {"blockReason": "OTHER"}}]
)
async def test_a_stream_without_an_end_is_cut(google, stack, args):
    async with stack(google) as running:
        answers(google, piece(text("So")), piece(call("look", args)), stream=True)
        with pytest.raises(Exception, match=r"peer closed|incomplete|[Cc]onnection"):
            await post(running, {"contents": [USER]}, stream=True)
    assert stack.watching.outcomes[0].error


async def test_an_upstream_that_dies_within_a_stream_cuts_it(google, stack):
    body = sse(*PIECES)
    async with stack(google) as running:
        kind = {"content-type": "text/event-stream", "content-length": "9999"}
        google.said.next = [[*respond(200, body[:-40], kind), Cut()]]
        with pytest.raises(Exception, match=r"peer closed|incomplete|[Cc]onnection"):
            await post(running, {"contents": [USER]}, stream=True)


@pytest.mark.parametrize("junk", [b"", b"[]", b"<html>", b'"text"', b"{}"])
async def test_a_reply_that_is_no_object_is_a_502(google, stack, junk):
    async with stack(google) as running:
        google.said.next = [respond(200, junk, {"content-type": "application/json"})] * 9
        answer = await post(running, {"contents": [USER]})
    assert answer.status_code >= 500
    assert answer.json()["error"]["code"] == answer.status_code


@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_count_is_googles_own_of_the_clients_body(google, stack, wrapped):
    asked = {"contents": [USER]}
    body = {"generateContentRequest": {"model": "models/mine", **asked}} if wrapped else asked
    async with stack(google) as running:
        answer = await running.post(body, "countTokens", MODEL)
    details = [{"modality": "TEXT", "tokenCount": 42}]
    assert answer.json() == {"totalTokens": 42, "promptTokensDetails": details}
    sent = {"generateContentRequest": {"model": "models/gemini-3-pro", **asked}}
    assert google.requests[-1].json == (sent if wrapped else asked)


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("given", [None, 9000])
async def test_a_lower_output_limit_is_set_in_the_clients_body(google, stack, config, given):
    limit = {} if given is None else {"maxOutputTokens": given}
    body = {"contents": [USER], config: {"topK": 3, **limit}, "safetySettings": []}

    class Limits(Plugin[NoOptions]):
        """As a budget does."""

        @hookimpl
        def prepare_attempt(self, request, attempt, exchange):
            request.original.made_up.discard("max_tokens")
            return request.replace(max_tokens=77, because="a budget")

    async with stack(google, more=[Limits(NoOptions(), name="limits")]) as running:
        google._without = ("known_fields",)
        answers(google, PIECES[2], stream=False)
        answer = await post(running, body)
    assert answer.status_code == 200, answer.text
    assert google.requests[-1].json == {**body, config: {"topK": 3, "maxOutputTokens": 77}}


async def test_the_configured_thresholds_replace_the_clients(google, stack):
    async with stack(google, options={"safety": "BLOCK_ONLY_HIGH"}) as running:
        answers(google, PIECES[2], stream=False)
        settings = [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}]
        await post(running, {"contents": [USER], "safetySettings": settings})
    found = google.requests[-1].json["safetySettings"]
    assert {one["threshold"] for one in found} == {"BLOCK_ONLY_HIGH"}
    assert "set safetySettings: the option `safety`" in stack.watching.lines[0]


LIMITED = [{"name": "phone", "token": "phone-token", "models": ["google/gemini-3-pro"]}]


async def limited(running, body):
    return await running.gate.client.post(
        f"/v1beta/models/{MODEL}:generateContent",
        json=body,
        headers={"authorization": "", "x-goog-api-key": "phone-token"},
    )


CHOICES = {
    "a file store": {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/x"]}}]},
    "one tool without a list": {"tools": {"fileSearch": {"fileSearchStoreNames": ["x"]}}},
    "a server": {"tools": [{"mcpServers": [{"name": "x"}]}]},
    "a tier": {"serviceTier": "priority"},
    "another model": {"generationConfig": {"modelSelectionConfig": {"x": 1}}},
    "a route": {"generation_config": {"routing_config": {"manualMode": {"modelName": "x"}}}},
    "a stored file": {"contents": [{"parts": [{"fileData": {"fileUri": "files/abc"}}]}]},
    "Google's address of one": {
        "contents": [
            {
                "parts": [
                    {
                        "file_data": {
                            "file_uri": "https://generativelanguage.googleapis.com/v1beta/files/x"
                        }
                    }
                ]
            }
        ]
    },
}


@pytest.mark.parametrize("choice", CHOICES.values(), ids=list(CHOICES))
async def test_a_limited_token_chooses_nothing_but_a_model(google, stack, choice):
    async with stack(google, tokens=LIMITED) as running:
        answer = await limited(running, {"contents": [USER], **choice})
    assert answer.status_code in (400, 403), answer.text
    assert "may only use certain models" in answer.json()["error"]["message"]
    assert asked(google) == []


async def test_a_limited_tokens_own_body_is_relayed_without_unknown_fields(google, stack):
    schema = {"type": "OBJECT", "properties": {"model": {"type": "STRING"}}, "required": ["model"]}
    config = {
        "maxOutputTokens": 9,
        "thinkingConfig": {"thinkingBudget": 128},
        "responseSchema": schema,
    }
    config["responseMimeType"] = "application/json"
    body = {"contents": [USER], "generationConfig": config, "safetySettings": []}
    async with stack(google, tokens=LIMITED) as running:
        reply = answers(google, PIECES[2], stream=False)
        answer = await limited(running, {**body, "cachedContent": "cachedContents/x", "labels": {}})
    assert answer.content == reply
    assert google.requests[-1].json == body

"""Embeddings through the gateway: routed as any request, asked in steps, told in OpenAI's words."""

import base64
import struct

import openai
import orjson
import pytest

from plugway.testing import Hold, ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_embeddings import AT_ONCE, MOST_INPUTS
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router
from plugway_vllm import Vllm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

SERVERS = {
    "openai": (OpenAI, "/v1", {"api_key": "k"}),
    "openai-compatible": (OpenAICompatible, "/v1", {}),
    "ollama": (Ollama, "", {}),
    "lmstudio": (LmStudio, "", {}),
    "llama-server": (LlamaServer, "", {}),
    "vllm": (Vllm, "", {}),
}


def vectors(request):
    """A vector for each input, that begins with its number; the last one first."""
    inputs = request.json["input"]
    data = [
        {"object": "embedding", "index": at, "embedding": [len(one), 0.5, -1]}
        for at, one in enumerate(inputs)
    ]
    usage = {"prompt_tokens": 2 * len(inputs), "total_tokens": 2 * len(inputs)}
    return respond(200, {"object": "list", "data": data[::-1], "model": "real", "usage": usage})


class Running:
    def __init__(self, gate, upstream):
        self.gate = gate
        self.upstream = upstream

    async def ask(self, **fields):
        body = {"model": "up/e", "input": "hello", **fields}
        return await self.gate.post(body, "/v1/embeddings")

    @property
    def asked(self):
        return [one for one in self.upstream.requests if one.path.endswith("/embeddings")]


@pytest.fixture(params=["openai-compatible"])
async def running(request):
    kind, path, options = SERVERS[request.param]
    async with ScriptedUpstream(otherwise=vectors) as upstream:
        backend = build_plugin(kind, "up", base_url=upstream.url + path, **options)
        async with gateway([build_plugin(OpenAIApi, "openai-api"), backend]) as gate:
            yield Running(gate, upstream)


@pytest.mark.parametrize("running", list(SERVERS), indirect=True)
async def test_every_server_of_openais_embeddings_is_asked_at_its_path(running):
    answer = await running.ask(input=["a", "bcd"], dimensions=3)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [one["embedding"] for one in found["data"]] == [[1, 0.5, -1], [3, 0.5, -1]]
    assert [one["index"] for one in found["data"]] == [0, 1]
    assert (found["object"], found["model"]) == ("list", "up/e")
    assert found["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
    (asked,) = running.asked
    assert asked.path == "/v1/embeddings"
    assert asked.json == {"model": "e", "input": ["a", "bcd"], "dimensions": 3}
    assert "served-by=up/e" in answer.headers["plugway-receipt"]


async def test_the_sdk_asks_in_base64_and_understands_the_answer(running):
    plain = openai.DefaultAsyncHttpxClient(verify=False)
    settings = {"base_url": f"{running.gate.url}/v1", "api_key": running.gate.token}
    async with openai.AsyncOpenAI(**settings, http_client=plain) as client:
        found = await client.embeddings.create(model="up/e", input=["a", "bcd"])
    assert [one.embedding for one in found.data] == [[1, 0.5, -1], [3, 0.5, -1]]
    answer = await running.ask(encoding_format="base64")
    (one,) = answer.json()["data"]
    assert struct.unpack("<3f", base64.b64decode(one["embedding"])) == (5, 0.5, -1)


async def test_many_inputs_are_sent_in_steps_and_come_back_in_order(running):
    inputs = ["x" * (1 + at % 7) for at in range(2 * AT_ONCE + 1)]
    found = (await running.ask(input=inputs)).json()
    assert [one["embedding"][0] for one in found["data"]] == [len(one) for one in inputs]
    assert [len(one.json["input"]) for one in running.asked] == [AT_ONCE, AT_ONCE, 1]
    assert found["usage"]["prompt_tokens"] == 2 * len(inputs)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
async def test_tokens_go_on_as_they_came(running, tokens):
    assert (await running.ask(input=tokens)).status_code == 200
    sent = running.asked[0].json["input"]
    assert sent == (tokens if isinstance(tokens[0], list) else [tokens])


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", ""]}, "input"),
        ({"input": ["a", 1]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": {}}, "input"),
        ({"input": ["a"] * (MOST_INPUTS + 1)}, "input"),
        ({"model": ""}, "model"),
        ({"model": 1}, "model"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": -1}, "dimensions"),
        ({"dimensions": "x"}, "dimensions"),
    ],
)
async def test_what_is_wrong_is_a_400_that_names_it(running, fields, where):
    answer = await running.ask(**fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert where in error["message"]
    assert running.asked == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"1"])
async def test_a_body_that_is_no_object_is_a_400(running, body):
    answer = await running.gate.post(body, "/v1/embeddings")
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


# ── who answers ──────────────────────────────────────────────────────────────────────────────────


async def test_a_backend_without_embeddings_says_so():
    async with ScriptedUpstream() as up:
        backend = build_plugin(AnthropicCompatible, "up", base_url=up.url, models=["e"])
        async with gateway([build_plugin(OpenAIApi, "openai-api"), backend]) as gate:
            answer = await gate.post({"model": "up/e", "input": "a"}, "/v1/embeddings")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "model_not_found")
    assert "`up/e` does not create embeddings" in error["message"]


async def test_the_router_decides_and_no_other_target_is_tried():
    async with ScriptedUpstream(otherwise=vectors) as first, ScriptedUpstream() as second:
        routes = {"text-embedding-*": ["one/e", "two/e"]}
        stack = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(Router, "router", models=routes),
        ]
        for name, up in (("one", first), ("two", second)):
            stack.append(build_plugin(OpenAICompatible, name, base_url=f"{up.url}/v1"))
        async with gateway(stack) as gate:
            body = {"model": "text-embedding-3-small", "input": "a"}
            answer = await gate.post(body, "/v1/embeddings")
            assert answer.json()["model"] == "text-embedding-3-small"
            assert first.requests[-1].json["model"] == "e"
            first.script(respond(503, {"error": {"message": "busy"}}))
            failed = await gate.post(body, "/v1/embeddings")
        assert failed.status_code == 503
        assert second.requests == []


async def test_a_limited_token_makes_embeddings_with_its_models_only():
    tokens = [{"name": "phone", "token": "phone-token", "models": ["one/*"]}]
    async with ScriptedUpstream(otherwise=vectors) as up:
        stack = [build_plugin(OpenAIApi, "openai-api")]
        url = f"{up.url}/v1"
        stack += [build_plugin(OpenAICompatible, name, base_url=url) for name in ("one", "two")]
        async with gateway(stack, tokens=tokens) as gate:
            gate.client.headers["authorization"] = "Bearer phone-token"
            served = await gate.post({"model": "one/e", "input": "a"}, "/v1/embeddings")
            refused = await gate.post({"model": "two/e", "input": "a"}, "/v1/embeddings")
            gate.client.headers["authorization"] = "Bearer wrong"
            nobody = await gate.post({"model": "one/e", "input": "a"}, "/v1/embeddings")
        assert served.status_code == 200
        assert (refused.status_code, nobody.status_code) == (400, 401)
        assert "message" in refused.json()["error"]
        assert len(up.requests) == 1


async def test_a_cloud_model_of_ollama_needs_consent():
    async with ScriptedUpstream(otherwise=vectors) as up:
        stack = [build_plugin(OpenAIApi, "openai-api"), build_plugin(Ollama, "up", base_url=up.url)]
        async with gateway(stack) as gate:
            body = {"model": "up/big-cloud", "input": "a"}
            answer = await gate.post({**body, "model": "up/big:cloud"}, "/v1/embeddings")
        assert answer.status_code == 400
        assert "cloud_models" in answer.json()["error"]["message"]
        assert [one for one in up.requests if one.method == "POST"] == []


# ── failures ─────────────────────────────────────────────────────────────────────────────────────

BAD = [
    b"no json",
    orjson.dumps({}),
    orjson.dumps({"data": []}),
    orjson.dumps({"data": [{"index": 0, "embedding": []}]}),
    orjson.dumps({"data": [{"index": 0, "embedding": "AAAA"}]}),
    orjson.dumps({"data": [{"index": 0, "embedding": [1, "x"]}]}),
    orjson.dumps({"data": [{"index": 1, "embedding": [1]}]}),
    orjson.dumps({"data": [{"embedding": [1]}, {"embedding": [1]}]}),
    orjson.dumps({"data": [{"index": 0, "embedding": [None]}]}),
]


@pytest.mark.parametrize("answer", BAD)
async def test_an_answer_that_is_none_is_a_502(running, answer):
    running.upstream.script(respond(200, answer, {"content-type": "application/json"}))
    found = await running.ask()
    assert found.status_code == 502
    assert found.json()["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("status", "told"), [(400, 400), (401, 401), (404, 404), (429, 429), (500, 500), (529, 503)]
)
async def test_failures_of_a_server_are_in_openais_envelope(running, status, told):
    body = {"error": {"message": "it is so", "type": "x", "code": "y", "param": None}}
    running.upstream.script(respond(status, body, {"retry-after": "3"}))
    answer = await running.ask()
    assert answer.status_code == told
    assert "it is so" in answer.json()["error"]["message"]
    if status == 429:
        assert answer.headers["retry-after"] == "3"


async def test_a_server_that_never_answers_is_a_504():
    async with ScriptedUpstream([Hold()]) as up:
        stack = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(OpenAICompatible, "up", base_url=f"{up.url}/v1"),
        ]
        async with gateway(stack, first_event_local_seconds=0.3) as gate:
            answer = await gate.post({"model": "up/e", "input": "a"}, "/v1/embeddings")
        assert answer.status_code == 504
        assert "timed out" in answer.json()["error"]["message"]

"""An ambiguous request is not sent to any server, whichever API the client uses."""

from __future__ import annotations

import gzip
import zlib

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MESSAGES = ('"model":"m"', '"max_tokens":9', '"messages":[{"role":"user","content":"hi"}]')
CHAT = MESSAGES
RESPONSES = ('"model":"m"', '"max_output_tokens":9', '"input":[{"role":"user","content":"hi"}]')
PATHS = {
    "/v1/messages": MESSAGES,
    "/v1/messages/count_tokens": MESSAGES,
    "/v1/messages/explain": MESSAGES,
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
}
BACKENDS = {
    "messages": lambda url: build_plugin(AnthropicCompatible, "up", base_url=url, models=["m"]),
    "chat": lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1"),
    "responses": lambda url: build_plugin(OpenAI, "up", base_url=f"{url}/v1", api_key="k"),
    "gemini": lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
}
LONG = "x" * 5000
TWICE = [
    ('"stream":false', '"stream":true'),
    ('"stream":true', '"stream":true'),
    ('"model":"other"',),
    ('"messages":[]', '"messages":[{"role":"user","content":"x"}]', '"input":"x"', '"input":"y"'),
    ('"tools":[]', '"to\\u006fls":[]'),
    ('"temperature":12', '"temperature":1'),
    (' "unknown" : {"a": 1}', ' "unknown" : {"a": 1} '),
    (f'"unknown":"{LONG}"', '"unknown":""'),
    ('"metadata":{"user_id":"a"}', '"metadata":{"user_id":"b"}'),
]


@pytest.fixture(params=BACKENDS)
async def both(request):
    async with ScriptedUpstream() as upstream:
        made = BACKENDS[request.param](upstream.url)
        stack = [build_plugin(OpenAIApi, "openai-api"), made]
        stack.insert(0, build_plugin(Router, "router", models={"*": ["up/m"]}))
        async with gateway(stack) as running:
            yield running, upstream


def asked(upstream):
    return [request.path for request in upstream.requests if request.method == "POST"]


@pytest.mark.parametrize("path", PATHS)
async def test_a_duplicate_field_is_a_400_that_names_it(both, path):
    running, upstream = both
    for more in TWICE:
        body = "{" + ",".join((*PATHS[path], *more)) + "}"
        answer = await running.post(body.encode(), path)
        assert answer.status_code == 400, (more, answer.text)
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert "twice" in error["message"], more
    assert not asked(upstream)


@pytest.mark.parametrize("path", PATHS)
async def test_an_incomplete_character_is_a_400_with_its_place(both, path):
    running, upstream = both
    for more in ('"x":"\\ud800"', '"x":"\\udc00 a"', '"\\ud83d":1', f'"x":"{LONG}\\ud83d"'):
        body = "{" + ",".join((*PATHS[path], more)) + "}"
        answer = await running.post(body.encode(), path)
        assert answer.status_code == 400, (more, answer.text)
        assert "line 1, column" in answer.json()["error"]["message"]
    assert not asked(upstream)


@pytest.mark.parametrize("path", PATHS)
async def test_a_compressed_body_is_a_415(both, path):
    running, upstream = both
    body = ("{" + ",".join(PATHS[path]) + "}").encode()
    packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body), "br": body, "zstd": body}
    packed |= {"x-gzip": gzip.compress(body), "gzip, gzip": gzip.compress(gzip.compress(body))}
    for encoding, content in packed.items():
        headers = {"content-type": "application/json", "content-encoding": encoding}
        answer = await running.client.post(path, content=content, headers=headers)
        assert answer.status_code == 415, (encoding, answer.text)
        assert answer.headers["accept-encoding"] == "identity"
        assert "content-encoding" in answer.json()["error"]["message"]
    assert not asked(upstream)

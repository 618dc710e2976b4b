"""A response that is too large is requested once, cut off early, and leaves no memory behind."""

from __future__ import annotations

import resource

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from tests.e2e.stack import shipped

pytestmark = pytest.mark.anyio

PIECE = b"x" * 2**20
LINES = b"HTTP/1.1 %d OK\r\ncontent-type: application/json\r\n"
BODIES = {
    "of a length": [b"content-length: %d\r\n\r\n" % (200 * len(PIECE)), *[PIECE] * 200],
    "in chunks": [b"transfer-encoding: chunked\r\n\r\n", *[b"100000\r\n" + PIECE + b"\r\n"] * 200],
    "until the end": [b"connection: close\r\n\r\n", *[PIECE] * 200],
}
PATHS = {
    "messages": ("/v1/messages", "up0"),
    "translated": ("/v1/messages", "chat"),
    "relayed": ("/v1/chat/completions", "chat"),
}


def serving(answer):
    """A server that sends it in reply to every request, and lists no models."""
    return ScriptedUpstream(otherwise=lambda r: respond(404) if r.method == "GET" else answer)


def plugins(url):
    chat = build_plugin(OpenAICompatible, "chat", base_url=url, api_key="k", zone="vendor")
    return [build_plugin(OpenAIApi, "openai-api"), *shipped(url), chat]


@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("path", PATHS)
async def test_a_response_of_200_mib_is_requested_once_and_memory_stays_flat(path, how):
    where, target = PATHS[path]
    head, *body = BODIES[how]
    whole = [LINES % 200 + head, *body]
    async with serving(whole) as upstream, gateway(plugins(upstream.url)) as running:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = await running.post(request_body(model=f"anthropic/{target}/m"), where)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    asked = [request for request in upstream.requests if request.method == "POST"]
    assert len(asked) == 1
    assert answer.status_code == 502
    assert answer.headers["x-should-retry"] == "false"
    assert "larger than" in answer.json()["error"]["message"]
    assert grown < 64 * 1024, "KiB"


@pytest.mark.parametrize("how", BODIES)
async def test_a_refusal_of_200_mib_keeps_its_status(how):
    head, *body = BODIES[how]
    whole = [LINES % 400 + head, *body]
    async with serving(whole) as upstream, gateway(plugins(upstream.url)) as running:
        answer = await running.post(request_body(model="anthropic/up0/m"))
    assert answer.status_code == 400
    assert len([request for request in upstream.requests if request.method == "POST"]) == 1

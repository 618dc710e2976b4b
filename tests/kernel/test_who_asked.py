"""Who asked is recorded with every request, however it ends: by its configured name, never its token."""

import logging

import httpx2
import orjson
import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    Cut,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_openai_api import OpenAIApi

pytestmark = pytest.mark.anyio
TOKENS = {"phone": "phone-t0ken-value", "owner": "test-token"}
LIMITED = [{"name": "phone", "token": TOKENS["phone"], "models": ["up/*", "broken/*"]}]


class Broken(Plugin[NoOptions]):
    """Notes how exchanges ended, and has a backend with a defect."""

    zone = "local"

    def __init__(self, options, *, name=""):
        super().__init__(options, name=name)
        self.finished_for = []

    @hookimpl
    def register_backends(self):
        return [self]

    async def send(self, request, attempt):
        raise RuntimeError("a defect")

    async def count(self, request, attempt):
        return 1

    async def models(self):
        return []

    @hookimpl
    async def finished(self, exchange, outcome):
        self.finished_for.append(exchange.caller.name)


def failing(request):
    return anthropic_error(500, "api_error", "no")


def cut(request):
    return sse(anthropic_stream(["some ", "words"])[:4], end=Cut())


MESSAGES = "/v1/messages"
ENDS = {
    "completed": (MESSAGES, request_body(model="up/m"), None),
    "streamed": (MESSAGES, request_body(model="up/m", stream=True), None),
    "chat": (
        "/v1/chat/completions",
        {"model": "up/m", "messages": request_body()["messages"]},
        None,
    ),
    "counted": ("/v1/messages/count_tokens", request_body(model="up/m"), None),
    "explained": ("/v1/messages/explain", request_body(model="up/m"), None),
    "not JSON": (MESSAGES, b"{", None),
    "no list of messages": (MESSAGES, request_body(model="up/m", messages=1), None),
    "no such model": (MESSAGES, request_body(model="nowhere/m"), None),
    "failed": (MESSAGES, request_body(model="up/m"), failing),
    "cut": (MESSAGES, request_body(model="up/m", stream=True), cut),
    "a defect": (MESSAGES, request_body(model="broken/m"), None),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", TOKENS)
async def test_every_record_of_a_request_names_its_caller(caplog, name, end):
    path, body, script = ENDS[end]
    content = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = {"authorization": f"Bearer {TOKENS[name]}", "content-type": "application/json"}
    caplog.set_level(logging.DEBUG, "plugway")
    broken = build_plugin(Broken, "broken")
    async with ScriptedUpstream() as upstream:
        if script:
            upstream.script(script)
        stack = [
            build_plugin(Dashboard, "dashboard"),
            build_plugin(OpenAIApi, "openai-api"),
            broken,
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url, models=["m"]),
        ]
        async with gateway(stack, tokens=LIMITED) as running:
            async with httpx2.AsyncClient(
                base_url=running.url, trust_env=False, verify=False
            ) as client:
                try:
                    await client.post(path, content=content, headers=headers)
                except httpx2.RemoteProtocolError:
                    assert end == "cut"
            rows = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
    assert broken.finished_for == [name]
    assert [row["caller"] for row in rows] == [name]
    about = [r for r in caplog.records if r.name == "plugway.exchange"]
    assert about
    assert {getattr(record, "caller", None) for record in about} == {name}
    recorded = f"{[vars(record) for record in caplog.records]} {rows}"
    assert not any(token in recorded for token in TOKENS.values())


@pytest.mark.parametrize("name", TOKENS)
async def test_a_receipt_names_its_caller(name):
    async with ScriptedUpstream() as upstream:
        up = build_plugin(AnthropicCompatible, "up", base_url=upstream.url, models=["m"])
        async with gateway([up], tokens=LIMITED) as running:
            headers = {"authorization": f"Bearer {TOKENS[name]}"}
            async with httpx2.AsyncClient(
                base_url=running.url, headers=headers, verify=False
            ) as client:
                answer = await client.post("/v1/messages/explain", json=request_body(model="up/m"))
    assert answer.json()["caller"] == name

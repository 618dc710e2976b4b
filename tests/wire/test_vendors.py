"""Whatever a client of one API writes, what reaches another vendor is what that vendor takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from plugway import Plugin
from plugway.testing import (
    ReceivedRequest,
    ScriptedUpstream,
    anthropic_message,
    api_of,
    build_plugin,
    gateway,
    refusals,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_wire.testing import chat_message
from tests.wire.requests_of_messages import MESSAGES
from tests.wire.requests_of_openai import CHAT, RESPONSES

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

SAID = {"type": "output_text", "text": "Yes.", "annotations": []}
ITEM = {"type": "message", "id": "msg_1", "role": "assistant", "content": [SAID]}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "output": [{**ITEM, "status": "completed"}],
    "model": "m",
    "usage": {"input_tokens": 9, "output_tokens": 1},
}
CONTENT = {"role": "model", "parts": [{"text": "Yes."}]}
ANSWERS: Mapping[str, Any] = {
    "anthropic": anthropic_message("Yes."),
    "chat": chat_message("Yes."),
    "responses": RESPONSE,
    "gemini": {"candidates": [{"content": CONTENT, "finishReason": "STOP"}]},
}
DIALECTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "messages": ("/v1/messages", MESSAGES),
    "chat": ("/v1/chat/completions", CHAT),
    "responses": ("/v1/responses", RESPONSES),
}
OWN = {"anthropic": "messages", "chat": "chat", "responses": "responses"}
"""Clients of a vendor's own API: what they write goes there as it is."""
MODELS = {
    "anthropic": (
        "claude-haiku-4-5",
        "claude-sonnet-4-6",
        "claude-opus-5",
        "claude-opus-5-5",
        "claude-sonnet-5-5",
    ),
    "chat": ("gpt-4.1", "gpt-5.6-luna"),
    "responses": ("gpt-4.1", "gpt-6"),
    "gemini": ("gemini-2.5-flash", "gemini-3-pro"),
}
CASES = [
    (vendor, model, dialect)
    for vendor, models in MODELS.items()
    for model in models
    for dialect in DIALECTS
    if OWN.get(vendor) != dialect
]


def backend(vendor: str, url: str) -> Plugin[Any]:
    """The vendor's own plugin."""
    match vendor:
        case "anthropic":
            return build_plugin(Anthropic, "up", base_url=url, api_key="k")
        case "gemini":
            return build_plugin(Gemini, "up", base_url=url, api_key="k")
        case api:
            return build_plugin(OpenAI, "up", base_url=f"{url}/v1", api_key="k", api=api)


def answer(request: ReceivedRequest) -> Any:
    """A short answer; nothing is listed and nothing is counted."""
    api = api_of(request.path)
    if api is None or request.method == "GET" or "count" in request.path:
        return respond(404)
    return respond(200, ANSWERS[api])


@pytest.mark.parametrize(("vendor", "model", "dialect"), CASES)
async def test_each_request_reaches_the_vendor_as_it_takes_it(
    vendor: Any, model: str, dialect: str
):
    path, requests = DIALECTS[dialect]
    front = build_plugin(OpenAIApi, "openai-api")
    wrong: dict[str, Any] = {}
    async with (
        ScriptedUpstream(otherwise=answer) as server,
        gateway([front, backend(vendor, server.url)]) as running,
    ):
        for name, body in requests.items():
            before = len(server.requests)
            reply = await running.client.post(path, json={**body, "model": f"up/{model}"})
            asked = [r for r in server.requests[before:] if api_of(r.path) == vendor]
            sent = next((r for r in asked if "count" not in r.path), None)
            if reply.status_code != 200 or sent is None:
                wrong[name] = reply.text
            elif said := refusals(vendor, sent.headers, sent.path, sent.json):
                wrong[name] = said
    assert wrong == {}

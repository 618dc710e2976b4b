"""What a provider wants back with a call comes back with that call, whoever the client is.

Source: ai.google.dev/gemini-api/docs/thought-signatures, "OpenAI compatibility": the signature
stands in `extra_content` of the call, and a call without it is refused by Gemini 3.
"""

from __future__ import annotations

from typing import Any

import pytest

from plugway.testing import (
    ReceivedRequest,
    ScriptedUpstream,
    build_plugin,
    gateway,
    parse_sse,
    respond,
    sse,
)
from plugway_gemini import Gemini
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chunk, data, tool_delta
from tests.wire.ways import PATHS, asked

pytestmark = pytest.mark.anyio

EXTRA = {"google": {"thought_signature": "c2lnbmF0dXJl"}}
MORE = {"google": {"thought_signature": "b3RoZXI="}, "vendor": {"state": [1, 2]}}


def streamed(*extras: Any, late: bool = False) -> Any:
    pieces: list[Any] = []
    for number, extra in enumerate(extras):
        begun = tool_delta(number, "{}", id=f"c{number}", type="function", name="Read")
        call = begun["tool_calls"][0]
        told = {"extra_content": extra} if extra else {}
        if late:
            pieces += [begun, {"tool_calls": [{"index": number, "function": {}, **told}]}]
        else:
            pieces.append({"tool_calls": [{**call, **told}]})
    return sse(
        [*(data(chunk(p)) for p in pieces), data(chunk({}, "tool_calls")), b"data: [DONE]\n\n"]
    )


def whole(*extras: Any) -> Any:
    answer = chat_message(None, tool_calls=[(f"c{n}", "Read", "{}") for n, _ in enumerate(extras)])
    calls = answer["choices"][0]["message"]["tool_calls"]
    for call, extra in zip(calls, extras, strict=True):
        if extra:
            call["extra_content"] = extra
    return respond(200, answer)


def blocks_of_stream(content: bytes) -> list[dict[str, Any]]:
    """The content of a streamed answer of the Messages API."""
    blocks: list[dict[str, Any]] = []
    for kind, event in parse_sse(content):
        if kind == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif kind == "content_block_delta" and "signature" in event["delta"]:
            blocks[-1]["signature"] = event["delta"]["signature"]
    return blocks


def results(content: list[Any]) -> list[Any]:
    return [
        {"type": "tool_result", "tool_use_id": block["id"], "content": "ok"}
        for block in content
        if block["type"] == "tool_use"
    ]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize(
    "extras", [(EXTRA,), (MORE,), (EXTRA, None), (None, EXTRA), (EXTRA, MORE), (None,)], ids=str
)
async def test_it_comes_back_to_an_openai_format_endpoint_from_a_messages_client(
    extras, stream, late
):
    async with ScriptedUpstream(otherwise=whole(None)) as server:
        server.script(streamed(*extras, late=late) if stream else whole(*extras))
        plugin = build_plugin(OpenAICompatible, "up", base_url=f"{server.url}/v1")
        async with gateway([plugin]) as running:
            request = asked("messages", stream=stream)
            first = await running.post(request)
            content = blocks_of_stream(first.content) if stream else first.json()["content"]
            turns = [
                *request["messages"],
                {"role": "assistant", "content": content},
                {"role": "user", "content": results(content)},
            ]
            await running.post({**asked("messages"), "messages": turns})
        posts = [r for r in server.requests if r.method == "POST"]
        (said,) = [m for m in posts[-1].json["messages"] if m["role"] == "assistant"]
        assert [call.get("extra_content") for call in said["tool_calls"]] == list(extras)


async def test_another_model_does_not_get_it():
    async with ScriptedUpstream(otherwise=whole(EXTRA)) as server:
        plugin = build_plugin(OpenAICompatible, "up", base_url=f"{server.url}/v1")
        async with gateway([plugin]) as running:
            request = asked("messages")
            content = (await running.post(request)).json()["content"]
            turns = [
                *request["messages"],
                {"role": "assistant", "content": content},
                {"role": "user", "content": results(content)},
            ]
            await running.post({**request, "model": "other", "messages": turns})
        assert "extra_content" not in str(server.requests[-1].json)


def gemini(signature: str) -> dict[str, Any]:
    call = {"functionCall": {"name": "Read", "args": {}}, "thoughtSignature": signature}
    content = {"role": "model", "parts": [call]}
    return {"candidates": [{"content": content, "finishReason": "STOP"}]}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_of_chat_brings_back_what_gemini_signed(stream):
    answer = gemini("QUJD")

    def otherwise(request: ReceivedRequest) -> Any:
        return sse([data(answer)]) if "stream" in request.path else respond(200, answer)

    async with ScriptedUpstream(otherwise=otherwise) as server:
        plugins = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(Gemini, "up", base_url=server.url, api_key="k"),
        ]
        async with gateway(plugins) as running:
            request = asked("chat", stream=stream, model="gemini-3-pro")
            first = await running.post(request, PATHS["chat"])
            if stream:
                deltas = [
                    e["choices"][0]["delta"]
                    for _, e in parse_sse(first.content)
                    if e.get("choices")
                ]
                (call,) = [
                    d["tool_calls"][0] for d in deltas if "id" in (d.get("tool_calls") or [{}])[0]
                ]
                call = {**call, "function": {**call["function"], "arguments": "{}"}}
            else:
                (call,) = first.json()["choices"][0]["message"]["tool_calls"]
            turns = [
                *request["messages"],
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": "ok"},
            ]
            await running.post({**request, "stream": False, "messages": turns}, PATHS["chat"])
        said = server.requests[-1].json["contents"][1]["parts"][0]
        assert said["functionCall"]["name"] == "Read"
        assert said["thoughtSignature"] == "QUJD"

"""Calls and results arrive in the pairs that each API demands, however a client wrote them."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from plugway import Plugin
from plugway.testing import (
    ReceivedRequest,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    refusals,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message
from plugway_translation import NO_RESULT
from tests.slow import seeds
from tests.wire.histories import (
    ALPHABET,
    SAID,
    SHORT,
    Element,
    marks,
    random_history,
)
from tests.wire.ways import BACKENDS, PATHS, asked

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

JSON = {"content-type": "application/json"}
RESPONSE = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": []}
MESSAGE = {"type": "message", "id": "i", "role": "assistant", "status": "completed"}
MESSAGE["content"] = [{"type": "output_text", "text": "k", "annotations": []}]
RESPONSE |= {"output": [MESSAGE], "usage": {"input_tokens": 1, "output_tokens": 1}}
CANDIDATE = {"content": {"role": "model", "parts": [{"text": "k"}]}, "finishReason": "STOP"}
ANSWERS: dict[str, Any] = {
    "anthropic": anthropic_message("k"),
    "chat": chat_message("k"),
    "responses": RESPONSE,
    "gemini": {"candidates": [CANDIDATE]},
}


def preset(name: str):
    """A backend for a server that is particular about ids, which is known without learning."""

    def made(url: str) -> Plugin[Any]:
        options = {"preset": name, "base_url": f"{url}/v1", "api_key": "k", "learn": False}
        return build_plugin(OpenAICompatible, "up", **options)

    return made


def anthropic(url: str) -> Plugin[Any]:
    return build_plugin(Anthropic, "up", base_url=url, api_key="k")


TARGETS: dict[str, tuple[Any, str, str]] = {
    "anthropic": (anthropic, "anthropic", ""),
    "anthropic-compatible": (BACKENDS["anthropic-compatible"], "anthropic", ""),
    "openai-compatible": (BACKENDS["chat"], "chat", ""),
    "mistral": (preset("mistral"), "chat", "[a-zA-Z0-9]{9}"),
    "azure": (preset("azure"), "chat", ""),
    "openai": (BACKENDS["responses"], "responses", ""),
    "gemini": (BACKENDS["gemini"], "gemini", ""),
}
"""The plugin, the API that it speaks, and the pattern of ids of calls where the server has one of its
own: https://mistralai.github.io/mistral-common/usage/tools/."""


def check(target: str, request: ReceivedRequest) -> None:
    """The vendor takes what has arrived (`plugway.testing.refusals`, with the sources)."""
    _, api, pattern = TARGETS[target]
    lines, body = request.headers, request.json
    assert refusals(api, lines, request.path, body, without=["key_header"]) == []  # type: ignore[arg-type]
    calls = [call["id"] for m in body.get("messages", ()) for call in m.get("tool_calls", ())]
    assert all(re.fullmatch(pattern, id_) for id_ in calls if pattern)


async def sent(
    target: str, dialect: str, histories: list[list[Element]]
) -> list[tuple[ReceivedRequest, str]]:
    """What arrives for each history, and the receipt."""
    make, api, _ = TARGETS[target]
    found: list[tuple[ReceivedRequest, str]] = []
    async with ScriptedUpstream(otherwise=respond(200, ANSWERS[api])) as server:
        plugins = [build_plugin(OpenAIApi, "openai-api"), make(server.url)]
        async with gateway(plugins) as running:
            for history in histories:
                field, write = SAID[dialect]
                body = {**asked(dialect), field: write(history), "model": "up/m"}
                response = await running.client.post(PATHS[dialect], json=body)
                assert response.status_code == 200, response.text
                arrived = next(r for r in reversed(server.requests) if r.method == "POST")
                found.append((arrived, response.headers["plugway-receipt"]))
    return found


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("target", TARGETS)
async def test_any_history_arrives_in_pairs_and_whole(target: str, dialect: str) -> None:
    chosen = seeds(12, 60)
    # A server whose limits are not known gets its own ids back from clients of its own API.
    relayed = (target, dialect) == ("openai-compatible", "chat")
    histories = [random_history(seed, SHORT if relayed else ALPHABET) for seed in chosen]
    for seed, history, (arrived, _) in zip(
        chosen, histories, await sent(target, dialect, histories), strict=True
    ):
        told = arrived.body.decode()
        try:
            check(target, arrived)
            assert [mark for mark in marks(history) if mark not in told] == []
        except AssertionError as error:
            error.add_note(f"seed {seed}: {history}\n{told}")
            raise


CALL, RESULT = ("call", "c", "1."), ("result", "c", "r1.")
BROKEN: dict[str, list[Element]] = {
    "two calls of one id, one result": [CALL, ("call", "c", "2."), RESULT],
    "two calls of one id, two results": [CALL, ("call", "c", "2."), RESULT, ("result", "c", "r2.")],
    "the calls apart, the results behind both": [
        *(CALL, ("answer", "x."), ("call", "c", "2."), RESULT, ("result", "c", "r2.")),
    ],
    "what the user says before a result": [CALL, ("say", "wait"), RESULT],
    "a result in a later turn": [CALL, ("say", "wait"), ("answer", "ok"), ("say", "go"), RESULT],
    "a result before its call": [RESULT, CALL],
    "a call at the end": [CALL],
    "a result twice": [CALL, RESULT, ("result", "c", "r2.")],
    "an equal result twice": [CALL, RESULT, RESULT],
    "an id again": [CALL, RESULT, ("answer", "x."), ("call", "c", "2."), ("result", "c", "r2.")],
}
WITHOUT = {
    "two calls of one id, one result",
    "a result in a later turn",
    "a result before its call",
    "a call at the end",
}
"""Where a placeholder stands for a result."""


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.parametrize("dialect", PATHS)
async def test_what_is_put_in_order_is_on_the_receipt(dialect: str, case: str) -> None:
    history = [("say", "hi"), *BROKEN[case], ("say", "end")]
    ((arrived, receipt),) = await sent("anthropic", dialect, [history])
    check("anthropic", arrived)
    assert "changes=0" not in receipt
    assert (NO_RESULT in arrived.body.decode()) is (case in WITHOUT)


@pytest.mark.parametrize("dialect", PATHS)
async def test_a_history_in_order_is_not_touched(dialect: str) -> None:
    history = [("say", "hi"), CALL, ("call", "d", "2."), ("result", "d", "r2."), RESULT]
    ((arrived, _),) = await sent("anthropic", dialect, [history])
    body = arrived.json
    assert [list(m) for m in body["messages"]] == [["role", "content"]] * 3
    assert [b.get("tool_use_id") for b in body["messages"][2]["content"]] == ["d", "c"]


async def test_ids_with_escapes_are_seen() -> None:
    history: list[Element] = [("say", "hi"), CALL, RESULT, CALL, RESULT]
    field, write = SAID["messages"]
    body = {**asked("messages"), field: write(history), "model": "up/m"}
    text = json.dumps(body).replace('"id": "c"', '"id": "\\u0063"', 1)
    text = text.replace('"tool_use"', '"tool\\u005fuse"', 1).replace('"id"', '"\\u0069d"', 1)
    large = text + " " * 9000  # bodies of that size are not parsed as a whole
    async with (
        ScriptedUpstream(otherwise=respond(200, ANSWERS["anthropic"])) as server,
        gateway([anthropic(server.url)]) as running,
    ):
        response = await running.client.post("/v1/messages", content=large, headers=JSON)
    assert response.status_code == 200, response.text
    check("anthropic", server.requests[-1])


async def test_a_count_is_asked_for_what_would_be_sent() -> None:
    history: list[Element] = [("say", "hi"), CALL, ("say", "stop"), CALL, RESULT]
    field, write = SAID["messages"]
    body = {**asked("messages"), field: write(history), "model": "up/m"}
    async with (
        ScriptedUpstream(otherwise=respond(200, {"input_tokens": 9})) as server,
        gateway([anthropic(server.url)]) as running,
    ):
        response = await running.client.post("/v1/messages/count_tokens", json=body)
    assert response.json()["input_tokens"] == 9
    check("anthropic", server.requests[-1])


async def test_a_relayed_conversation_keeps_its_own_ids_where_the_server_takes_them() -> None:
    """Servers that number their calls anew in each answer know them by their turn."""
    history: list[Element] = [("say", "hi"), CALL, RESULT, ("answer", "x."), CALL, RESULT]
    field, write = SAID["chat"]
    ((arrived, _),) = await sent("openai-compatible", "chat", [history])
    assert arrived.json[field] == write(history)


@pytest.mark.parametrize("target", ["azure", "mistral"])
async def test_ids_of_another_server_are_made_fit_although_the_api_is_the_same(target: str) -> None:
    id_ = "chatcmpl-tool-0123456789abcdef0123456789abcdef"
    history: list[Element] = [("say", "hi"), ("call", id_, "1."), ("result", id_, "r.")]
    ((arrived, _),) = await sent(target, "chat", [history])
    check(target, arrived)

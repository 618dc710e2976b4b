"""Hidden state that OpenAI no longer accepts: after a change of account, or of items by the client.

The words are OpenAI's (openai/codex#8119, openai/openai-agents-js#326, openai/openai-agents-python#919).
Without the state the conversation goes on; with it, every further request fails.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from plugway.testing import ReceivedRequest, ScriptedUpstream, build_plugin, respond
from plugway_thinking import Thinking
from tests.wire.ways import PATHS, between

pytestmark = pytest.mark.anyio

ENCRYPTED = (
    "The encrypted content gAAA could not be verified. Reason: Encrypted content could not be "
    "decrypted or parsed."
)
REFUSALS = [
    (400, ENCRYPTED),
    (400, "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item"),
    (400, "Item 'rs_1' of type 'reasoning' was provided without its required following item."),
    (404, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
]
CALL = {"type": "function_call", "call_id": "c1", "name": "Read", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "x"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAA"}
USER = {"role": "user", "content": "go"}
CUSTOM = {"type": "custom", "name": "apply_patch", "description": "d"}
ANSWER = {
    "id": "resp_1",
    "object": "response",
    "status": "completed",
    "model": "gpt-5",
    "output": [{**SAID, "id": "msg_9", "status": "completed"}],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}


def server(status: int, words: str) -> ScriptedUpstream:
    """Rejects what the words say that it rejects."""
    error = {"error": {"message": words, "type": "invalid_request_error", "param": "input"}}

    def answers(request: ReceivedRequest) -> Any:
        items = request.json["input"]
        bound = any(i.get("type") == "reasoning" or i.get("id", "")[:2] == "fc" for i in items)
        return respond(status, error) if bound else respond(200, ANSWER)

    return ScriptedUpstream(otherwise=answers)


@pytest.mark.parametrize(("status", "words"), REFUSALS)
async def test_items_are_sent_without_what_the_server_rejects_of_them(status, words):
    items = [USER, REASONING, {**CALL, "id": "fc_1"}, OUTPUT, {**SAID, "id": "msg_1"}, SEARCH, USER]
    body = {"model": "m", "input": items, "tools": [CUSTOM], "text": {"verbosity": "low"}}
    async with server(status, words) as upstream, between("responses", upstream) as gateway:
        answered = await gateway.post(body, PATHS["responses"])
    assert answered.status_code == 200
    first, second = (request.json for request in upstream.requests)
    assert second["input"] == [USER, CALL, OUTPUT, SAID, SEARCH, USER]
    assert {**first, "input": None} == {**second, "input": None}


async def test_a_request_without_such_items_is_sent_once():
    body = {"model": "m", "input": [USER, CALL, OUTPUT]}
    error = {"error": {"message": ENCRYPTED, "type": "invalid_request_error"}}
    async with (
        ScriptedUpstream(otherwise=respond(400, error)) as upstream,
        between("responses", upstream) as gateway,
    ):
        answered = await gateway.post(body, PATHS["responses"])
    assert (answered.status_code, len(upstream.requests)) == (400, 1)
    assert "encrypted content" in answered.text


@pytest.mark.parametrize("dialect", ["messages", "chat"])
async def test_reasoning_of_another_account_is_left_out_for_clients_of_other_apis(dialect):
    """The client gets it sealed, and sends it back when the gateway has another key."""
    error = {"error": {"message": ENCRYPTED, "type": "invalid_request_error"}}
    call = {**CALL, "id": "fc_1", "status": "completed"}
    first = respond(200, {**ANSWER, "output": [REASONING, call]})
    plugins = [build_plugin(Thinking, "thinking")]
    async with (
        ScriptedUpstream(first, respond(400, error), respond(200, ANSWER)) as upstream,
        between("responses", upstream, plugins) as gateway,
    ):
        body = {"model": "m", "max_tokens": 99, "messages": [USER]}
        answered = (await gateway.post(body, PATHS[dialect])).json()
        body["messages"] += turns(dialect, answered)
        answered = await gateway.post(body, PATHS[dialect])
    assert answered.status_code == 200, answered.text
    kinds = [[i["type"] for i in request.json["input"]] for request in upstream.requests]
    without = ["message", "function_call", "function_call_output"]
    assert kinds == [["message"], ["message", "reasoning", *without[1:]], without]


def turns(dialect: str, answer: dict[str, Any]) -> list[Any]:
    """The turns after an answer with one call."""
    if dialect == "messages":
        id_ = answer["content"][-1]["id"]
        result = {"type": "tool_result", "tool_use_id": id_, "content": "x"}
        told = {"role": "assistant", "content": answer["content"]}
        return [told, {"role": "user", "content": [result]}]
    told = json.loads(json.dumps(answer["choices"][0]["message"]))
    id_ = told["tool_calls"][0]["id"]
    return [told, {"role": "tool", "tool_call_id": id_, "content": "x"}]

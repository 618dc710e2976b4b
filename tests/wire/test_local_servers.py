"""Ollama, LM Studio and vLLM get what they can use: no blind images, no placeholders, and a call
that is demanded is asked for again."""

from __future__ import annotations

from typing import Any

import pytest

from plugway.testing import (
    ReceivedRequest,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_field_policy import FieldPolicy
from plugway_tool_repair import ToolRepair
from tests.wire.adapted import PLUGINS
from tests.wire.windowed import Windowed

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"path": {"type": "string"}}}
TOOLS = [{"name": name, "description": "", "input_schema": SCHEMA} for name in ("Read", "Bash")]
PLACEHOLDER = {
    "name": "DeferredToolPlaceholder",
    "description": "Not a tool.",
    "input_schema": {"type": "object"},
    "defer_loading": True,
}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


class Server(Windowed):
    """Answers from a script, then in words."""

    answers: list[dict[str, Any]]

    def _message(self, body: Any) -> Any:
        content = self.answers.pop(0) if self.answers else anthropic_message("I will.", model="m")
        return respond(200, content)


async def asked(
    name: str, *answers: dict[str, Any], vision: bool = True, **fields: Any
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The client's answer, the bodies that the server got, and the lines of the receipt."""
    server = Server(32_768, vision=vision)
    server.answers = list(answers)
    async with ScriptedUpstream(otherwise=server) as upstream:
        stack = [
            build_plugin(ToolRepair, "repair"),
            build_plugin(FieldPolicy, "policy"),
            PLUGINS[name](upstream.url),
        ]
        body = request_body(model="m", **fields)
        async with gateway(stack) as running:
            answer = (await running.post(body)).json()
            explained = (await running.post(body, "/v1/messages/explain")).json()["receipt"]
        sent = [request.json for request in upstream.requests if _is_message(request)]
    return answer, sent, [entry["what"] for entry in explained]


def _is_message(request: ReceivedRequest) -> bool:
    return request.path == "/v1/messages"


SERVERS = ["ollama", "lmstudio", "vllm"]


def media(where: str) -> list[dict[str, Any]]:
    """An image and a PDF in a turn of the user, or in the result of a tool."""
    blocks = [{"type": "image", "source": PNG}, {"type": "document", "source": PDF}]
    if where == "turn":
        return [{"role": "user", "content": blocks}]
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": blocks}
    return [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]


@pytest.mark.parametrize("where", ["turn", "result"])
@pytest.mark.parametrize("vision", [True, False])
@pytest.mark.parametrize("name", SERVERS)
async def test_what_cannot_be_seen_is_replaced_and_on_the_receipt(name, vision, where):
    _, sent, lines = await asked(name, vision=vision, messages=media(where), tools=TOOLS)
    content = sent[0]["messages"][-1]["content"]
    image, document = content if where == "turn" else content[0]["content"]
    blind = not vision and name != "vllm"  # whose list does not say
    assert image["type"] == ("text" if blind else "image")
    assert document["type"] == "text"
    assert any("drop document" in line for line in lines)
    assert any("drop image" in line for line in lines) is blind


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "Read"}])
@pytest.mark.parametrize("name", SERVERS)
async def test_a_call_that_is_demanded_is_asked_for_again(name, choice):
    call = anthropic_message("", tool_calls=[("Read", {"path": "a"})], model="m")
    words = anthropic_message("I will.", model="m")
    answer, sent, _ = await asked(name, words, call, tools=TOOLS, tool_choice=choice)
    assert [block["type"] for block in answer["content"]] == ["tool_use"]
    assert answer["stop_reason"] == "tool_use"
    assert len(sent) == 2
    assert "Call " in str(sent[1]["messages"][-1])


@pytest.mark.parametrize("name", SERVERS)
async def test_a_placeholder_for_deferred_tools_is_never_offered(name):
    text = '<tool_call>\n{"name": "DeferredToolPlaceholder", "arguments": {}}\n</tool_call>'
    answer, sent, lines = await asked(
        name, anthropic_message(text, model="m"), tools=[*TOOLS, PLACEHOLDER]
    )
    for body in sent:
        assert [tool["name"] for tool in body["tools"]] == ["Read", "Bash"]
    assert not [block for block in answer["content"] if block["type"] == "tool_use"]
    assert any("DeferredToolPlaceholder" in line for line in lines)


@pytest.mark.parametrize("name", [*SERVERS, "llama-server"])
async def test_each_change_of_tools_has_a_reason_on_the_receipt(name):
    bare = [{"name": "Now", "description": "", "input_schema": {"type": "object"}}]
    _, sent, lines = await asked(name, tools=[*TOOLS, *bare])
    assert len(sent[0]["tools"]) == 3
    assert not [line for line in lines if line.endswith(": ")]

"""A real model in a real engine, asked by the real SDK: text, a tool's round trip, a stop."""

import anyio
import orjson
import pytest

from plugway.testing import build_plugin
from plugway_demo_model import model_path
from plugway_llama_cpp import LlamaCpp

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(120)]

WRITE = {
    "type": "function",
    "function": {
        "name": "Write",
        "description": "Writes a file.",
        "parameters": {
            "type": "object",
            "properties": {"file_path": {"type": "string"}, "content": {"type": "string"}},
            "required": ["file_path", "content"],
            "additionalProperties": False,
        },
    },
}
FLAT = {"type": "function", **WRITE["function"]}
ASK = "create hello.txt with the text hi"


@pytest.fixture
async def local(serving, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    engine = build_plugin(LlamaCpp, "local", model=str(model_path()), context=8192)
    async with serving(engine) as running:
        yield running


async def test_a_tool_is_called_and_its_result_understood(local):
    asked = {"model": "local/default", "tools": [WRITE], "tool_choice": "required"}
    user = {"role": "user", "content": ASK}
    events = local.client.chat.completions.stream(messages=[user], **asked)
    async with events as stream:
        (choice,) = (await stream.get_final_completion()).choices
    (call,) = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls"
    assert orjson.loads(call.function.arguments) == {"file_path": "hello.txt", "content": "hi"}
    said = choice.message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "File created: hello.txt"}
    asked["tool_choice"] = "auto"
    after = await local.client.chat.completions.create(messages=[user, said, result], **asked)
    assert "hello.txt" in after.choices[0].message.content
    assert after.choices[0].finish_reason == "stop"
    assert after.usage.prompt_tokens > 50

    flat = await local.client.responses.create(
        model="local/default", input=ASK, tools=[FLAT], tool_choice="required"
    )
    assert orjson.loads(flat.output[-1].arguments)["file_path"] == "hello.txt"


async def test_text_is_streamed_and_a_client_may_leave(local):
    user = [{"role": "user", "content": "hello"}]
    with anyio.fail_after(60):
        for _ in range(2):
            stream = await local.client.chat.completions.create(
                model="local/default", messages=user, stream=True
            )
            async for chunk in stream:
                if chunk.choices and chunk.choices[0].delta.content:
                    break
            await stream.close()
        found = await local.client.responses.create(model="local/default", input="hello")
    assert found.output_text

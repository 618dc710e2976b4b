"""Through the gateway: all that llama-server's own Messages endpoint takes.

The list is that of its tests of that endpoint. Left out on purpose: images by URL are not fetched,
and an empty list of messages is refused, as the Messages API does.
"""

import base64

import pytest
import tiny_gguf
import tiny_mmproj

from plugway.testing import assert_valid_stream, build_plugin, gateway
from plugway_llama_cpp import LlamaCpp

pytestmark = pytest.mark.anyio

TOOL = {
    "name": "weather",
    "description": "Tells the weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
    },
}
PICTURE = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": base64.b64encode(tiny_mmproj.png(40, 40)).decode(),
    },
}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}
HI = {"type": "text", "text": "Hi"}


def result(content, **more):
    return {"type": "tool_result", "tool_use_id": "toolu_1", "content": content, **more}


def called(*content):
    return [
        {"role": "user", "content": "Is it warm?"},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": list(content)},
    ]


TAKEN = {
    "a system text": {"system": "Be short."},
    "system blocks": {"system": [HI, {**HI, "cache_control": {"type": "ephemeral"}}]},
    "content blocks": {"messages": [{"role": "user", "content": [HI, HI]}]},
    "a conversation": {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": "c"},
        ]
    },
    "tools": {"tools": [TOOL]},
    "a result": {"messages": called(result("warm")), "tools": [TOOL]},
    "a result with text": {"messages": called(result([HI]), HI), "tools": [TOOL]},
    "a result with an image": {"messages": called(result([HI, PICTURE])), "tools": [TOOL]},
    "a result that is an error": {"messages": called(result("no", is_error=True))},
    "an image": {"messages": [{"role": "user", "content": [PICTURE, HI]}]},
    "stop sequences": {"stop_sequences": ["e"]},
    "sampling": {"temperature": 0.5, "top_p": 0.9, "top_k": 20},
    "thinking": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "metadata": {"metadata": {"user_id": "someone"}},
    "template variables": {"chat_template_kwargs": {"enable_thinking": False}},
}


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gateway")
    options = {
        "model": str(tiny_gguf.write(folder / "model.gguf", "qwen2vl")),
        "mmproj": str(tiny_mmproj.write(folder / "mmproj.gguf", "qwen2vl_merger")),
        "disk_cache_mib": 0,
    }
    return lambda: build_plugin(LlamaCpp, "local", threads=1, context=4096, slots=2, **options)


def body(**fields):
    messages = [{"role": "user", "content": "hello"}]
    return {"model": "default", "max_tokens": 12, "messages": messages, **fields}


async def test_what_llama_server_takes_is_taken(plugin):
    async with gateway([plugin()]) as running:
        for name, fields in TAKEN.items():
            answer = await running.post(body(**fields))
            assert answer.status_code == 200, (name, answer.text)
            message = answer.json()
            assert message["type"] == "message"
            assert message["usage"]["output_tokens"] > 0, name
            asked = {k: v for k, v in body(**fields).items() if k != "max_tokens"}
            counted = await running.post(asked, "/v1/messages/count_tokens")
            usage = message["usage"]
            total = usage["input_tokens"] + usage["cache_read_input_tokens"]
            assert counted.json() == {"input_tokens": total}, name


async def test_calls_stream_as_blocks_in_order(plugin):
    async with gateway([plugin()]) as running:
        choice = {"type": "tool", "name": "weather"}
        events = await running.stream(
            "weather?", model="default", tools=[TOOL], tool_choice=choice, max_tokens=200
        )
    assert_valid_stream(events)
    starts = [data["content_block"]["type"] for kind, data in events if "block_start" in kind]
    assert starts[-1] == "tool_use"


async def test_a_body_without_messages_is_refused(plugin):
    async with gateway([plugin()]) as running:
        none = body()
        del none["messages"]
        for wrong in (none, body(messages=[])):
            answer = await running.post(wrong)
            assert answer.status_code == 400
            assert "messages" in answer.json()["error"]["message"]

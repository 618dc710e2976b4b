"""The echo backend says what it received, and does what the prompt tells it to."""

import pytest

from plugway.testing import BackendContract, assert_valid_stream, build_plugin, gateway
from plugway_echo import Echo

pytestmark = pytest.mark.anyio


class TestContract(BackendContract):
    plugin = Echo
    model = "echo"


@pytest.fixture
async def running():
    async with gateway([build_plugin(Echo, "echo")]) as found:
        yield found


async def test_it_repeats_the_last_user_turn(running):
    message = await running.ask("good morning")
    assert message["content"][0]["text"].endswith("You said: good morning")


async def test_a_line_makes_it_call_a_tool(running):
    message = await running.ask('echo: tool Write {"file_path": "a.txt"}')
    (call,) = message["content"]
    assert (call["name"], call["input"]) == ("Write", {"file_path": "a.txt"})
    assert message["stop_reason"] == "tool_use"


async def test_a_line_makes_it_fail(running):
    response = await running.post(
        {
            "model": "x",
            "max_tokens": 1,
            "messages": [{"role": "user", "content": "echo: error 529 full"}],
        }
    )
    assert response.status_code == 529
    assert response.json()["error"] == {"type": "overloaded_error", "message": "full"}


async def test_many_words_are_a_legal_stream(running):
    events = await running.stream("echo: words 50")
    assert_valid_stream(events)
    assert sum(name == "content_block_delta" for name, _ in events) == 50


async def test_a_tool_result_is_answered_in_a_sentence(running):
    messages = [
        {"role": "user", "content": "do it"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t", "name": "W", "input": {}}],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "done"}],
        },
        {"role": "system", "content": "a note of the client"},
    ]
    response = await running.post({"model": "x", "max_tokens": 9, "messages": messages})
    assert response.json()["content"][0]["text"] == "The tool answered: done"

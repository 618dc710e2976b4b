"""Late instructions of clients of OpenAI's APIs go to Claude models where those take them."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

KINDS = [Anthropic, AnthropicCompatible]
CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "x"}


def turn(role, text):
    return {"role": role, "content": text}


USER, SAID = turn("user", "hi"), turn("assistant", "hello")
SYSTEM, DEVELOPER = turn("system", "be brief"), turn("developer", "be kind")
CONVERSATIONS = {
    "between users": ([USER, SYSTEM, USER], ["user:hi", "user:R", "user:hi"]),
    "a developer": ([USER, DEVELOPER, USER], ["user:hi", "user:R", "user:hi"]),
    "at the end": ([USER, SAID, USER, SYSTEM], ["user:hi", "assistant:hello", "user:hi", "user:R"]),
    "before a user": (
        [USER, SAID, SYSTEM, USER],
        ["user:hi", "assistant:hello", "user:R", "user:hi"],
    ),
    "between a call and its result": (
        [USER, CALL, SYSTEM, RESULT],
        ["user:hi", "assistant:c1", "user:c1", "user:R"],
    ),
    "two of them there": (
        [USER, CALL, SYSTEM, DEVELOPER, RESULT, USER],
        ["user:hi", "assistant:c1", "user:c1", "user:R", "user:R", "user:hi"],
    ),
    "after a result": (
        [USER, CALL, RESULT, SYSTEM],
        ["user:hi", "assistant:c1", "user:c1", "user:R"],
    ),
    "between assistants": (
        [USER, SAID, SYSTEM, SAID, USER],
        ["user:hi", "assistant:hello", "user:R", "assistant:hello", "user:hi"],
    ),
    "a blank answer": ([USER, turn("assistant", "\n"), USER], ["user:hi", "user:hi"]),
    "blanks beside a call": (
        [USER, {**CALL, "content": " \n"}, RESULT],
        ["user:hi", "assistant:c1", "user:c1"],
    ),
}


def seen(messages):
    """Roles and what each block is: its text, `R` for a reminder, or the id of the call."""
    found = []
    for message in messages:
        content = message["content"]
        blocks = [{"text": content}] if isinstance(content, str) else content
        for block in blocks:
            what = block.get("text") or block.get("id") or block["tool_use_id"]
            found.append(f"{message['role']}:{'R' if '<system-reminder>' in what else what}")
    return found


def items_of(messages):
    """The same conversation as items of the Responses API."""
    items = []
    for message in messages:
        if message["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": "c1", "output": "x"})
            continue
        if message["content"]:
            items.append({"role": message["role"], "content": message["content"]})
        if "tool_calls" in message:
            call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
            items.append(call)
    return items


@pytest.mark.parametrize("plugin", KINDS)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize("case", CONVERSATIONS)
async def test_late_instructions_are_reminders_and_part_no_call_from_its_result(
    plugin, dialect, case
):
    messages, expected = CONVERSATIONS[case]
    body = {"model": "up/claude-sonnet-4-5"}
    path = "/v1/chat/completions" if dialect == "chat" else "/v1/responses"
    body |= {"messages": messages} if dialect == "chat" else {"input": items_of(messages)}
    async with ScriptedUpstream() as up:
        backend = build_plugin(plugin, "up", base_url=up.url, api_key="k")
        async with gateway([build_plugin(OpenAIApi, "openai-api"), backend]) as gate:
            response = await gate.client.post(path, json=body)
    assert response.status_code == 200, response.text
    sent = up.requests[-1].json
    assert seen(sent["messages"]) == expected
    assert "changes=0" not in response.headers["plugway-receipt"]

"""Calls that a server could not read and hands back in its refusal."""

import pytest

from plugway import BackendRefused
from plugway.testing import (
    ScriptedUpstream,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_tool_repair import ToolRepair
from plugway_tool_repair._failed import rescued

from .conftest import TOOLBOX, TOOLS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

WRITTEN = {
    "its own mark": '<function=Bash>{"command": "ls"}</function>',
    "without the end of the mark": '<function=Bash{"command": "ls"}</function>',
    "without the beginning": 'Bash{"command": "ls"}</function>',
    "between other brackets": '<function(Bash)>{"command": "ls"}</function>',
    "JSON": '{"name": "Bash", "arguments": {"command": "ls"}}',
    "in a fence": '```\n{"tool_calls": [{"function": {"name": "Bash", "arguments": {"command": "ls"}}}]}\n```',
    "in a tag": '<tool-use>\n{"tool_calls": [{"id": "pending", "type": "function", "function":'
    ' {"name": "Bash"}, "parameters": {"command": "ls"}}]}\n</tool-use>',
}  # fmt: skip
WORDS = {
    "Groq's own words": "Tool use failed: JSON does not match the expected schema for tool calls",
    "an answer": "### Top stories\nNothing {happened} today.",
    "another tool": '<function=Format>{"command": "c:"}</function>',
    "nothing": "",
    "no text": None,
}


def refusal(said, code="tool_use_failed"):
    told = {"message": "Failed to call a function. See 'failed_generation'.", "code": code}
    return respond(400, {"error": {**told, "failed_generation": said}})


async def asked(*scripts, stream=False, **options):
    async with ScriptedUpstream(otherwise=respond(200, chat_message("On it."))) as upstream:
        upstream.script(*scripts)
        groq = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1", preset="groq")
        async with gateway([build_plugin(ToolRepair, "tool-repair", **options), groq]) as running:
            response = await running.post(request_body(tools=TOOLS, stream=stream))
        return response, len(upstream.requests)


@pytest.mark.parametrize("said", WRITTEN.values(), ids=WRITTEN)
async def test_a_call_in_a_refusal_is_made(said):
    response, count = await asked(refusal(said))
    assert response.status_code == 200
    (block,) = [b for b in response.json()["content"] if b["type"] == "tool_use"]
    assert (block["name"], block["input"]) == ("Bash", {"command": "ls"})
    assert response.json()["stop_reason"] == "tool_use"
    assert count == 1
    assert "by=tool-repair" in response.headers["plugway-receipt"]


@pytest.mark.parametrize(
    "before", [{}, {"thinking": "Hm."}], ids=["first", "after thinking that is held"]
)
async def test_a_call_in_a_refusal_that_comes_in_the_stream_is_made(before):
    told = {"message": "Failed.", "code": "tool_use_failed", "status_code": 400}
    error = {"error": {**told, "failed_generation": WRITTEN["its own mark"]}}
    head = chat_stream("", **before)[:2] if before else []
    response, count = await asked(sse([*head, ("error", error)]), stream=True, hold_thinking=True)
    (block,) = [data["content_block"] for name, data in parse_sse(response.content)
                if name == "content_block_start" and data["content_block"]["type"] == "tool_use"]  # fmt: skip
    assert (block["name"], count) == ("Bash", 1)
    assert b"error" not in response.content


@pytest.mark.parametrize("said", WORDS.values(), ids=WORDS)
async def test_a_refusal_without_a_call_stays_one(said):
    response, count = await asked(refusal(said))
    assert response.status_code == 400
    assert "Failed to call a function" in response.json()["error"]["message"]
    assert count == 1


async def test_a_call_with_wrong_arguments_is_asked_for_again():
    response, count = await asked(refusal('<function=Read>{"path": 7}</function>'))
    assert (response.status_code, count) == (200, 2)


async def test_nothing_is_read_where_rescuing_is_off():
    response, _ = await asked(refusal(WRITTEN["JSON"]), rescue=False)
    assert response.status_code == 400


def test_another_code_is_another_matter():
    body = b'{"error": {"code": "other", "failed_generation": "<function=Bash>{}</function>"}}'
    assert rescued(BackendRefused(400, body), TOOLBOX, "m") is None

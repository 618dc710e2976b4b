"""The real Claude Code through the gateway."""

import time

import anyio
import pytest

from plugway.testing import (
    Cut,
    Hold,
    ScriptedUpstream,
    Sleep,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_field_policy import FieldPolicy
from plugway_router import Router
from tests.e2e.claude import Claude, interrupt

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
async def echo(tmp_path):
    async with gateway([build_plugin(Echo, "echo")]) as running:
        yield Claude(tmp_path, running.url, running.token, "anthropic/echo/echo")


@pytest.fixture
async def scripted(tmp_path):
    async with ScriptedUpstream() as upstream:
        stack = [
            build_plugin(Router, "router", models={"*": ["up/claude-upstream"]}),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            yield upstream, running, Claude(tmp_path, running.url, running.token, "anything")


@pytest.mark.core
async def test_one_turn_is_answered(echo):
    answer = await echo.run("-p", "good morning")
    assert answer.code == 0
    assert "You said: good morning" in answer.out


@pytest.mark.core
async def test_a_tool_call_writes_a_file(echo):
    path = echo.project / "hello.txt"
    answer = await echo.run(
        "-p",
        f'echo: tool Write {{"file_path": "{path}", "content": "hi"}}',
        "--permission-mode",
        "acceptEdits",
    )
    assert path.read_text() == "hi"
    assert "The tool answered" in answer.out


@pytest.mark.core
async def test_a_conversation_can_be_resumed(scripted):
    upstream, _, claude = scripted
    upstream.script(sse(anthropic_stream("First answer.")), sse(anthropic_stream("Second answer.")))
    assert "First answer." in (await claude.run("-p", "first question")).out
    assert "Second answer." in (await claude.run("-c", "-p", "second question")).out
    asked = str(upstream.requests[-1].json["messages"])
    assert asked.index("first question") < asked.index("First answer.") < asked.index("second")


@pytest.mark.core
async def test_the_clients_request_arrives_unchanged(scripted):
    upstream, _, claude = scripted
    await claude.run("-p", "hi")
    request = upstream.requests[0]
    assert request.json["model"] == "claude-upstream"
    assert request.path.startswith("/v1/messages")
    assert request.header("anthropic-version")
    assert request.header("x-claude-code-session-id")
    assert {"thinking", "tools", "system", "messages", "max_tokens"} <= set(request.json)


@pytest.mark.core
async def test_auto_mode_gets_anthropics_verdict_unchanged(tmp_path):
    """The field and its betas arrive, and so does the verdict: the call only runs with it."""
    call = ("Bash", {"command": "python3 -c 1 && touch made.txt", "description": "make it"})
    verdict = {"type": "evaluated", "outcome": "not_flagged"}
    status = {"type": "available", "tool_uses": {"toolu_0001": verdict}}
    events = anthropic_stream("I make it.", tool_calls=[call])
    told = events[-2][1]["delta"]
    told["safeguard_results"] = [{"type": "dangerous_tool_use", "status": status}]
    async with ScriptedUpstream() as upstream:
        upstream.script(sse(events), sse(anthropic_stream("Made.")))
        stack = [
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Anthropic, "up", api_key="k", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up/claude-sonnet-5")
            answer = await claude.run("-p", "make it", "--permission-mode", "auto")
    assert "Made." in answer.out, answer
    assert (claude.project / "made.txt").exists()
    request = upstream.requests[0]
    assert request.json["safeguards"][0]["type"] == "dangerous_tool_use"
    assert "dangerous-tool-use-" in request.header("anthropic-beta")


async def test_ctrl_c_closes_the_upstream_while_it_is_silent(scripted):
    upstream, _, claude = scripted
    upstream.script([Hold()])
    process = await claude.start("-p", "hi")
    request = await upstream.wait_for_request(seconds=20)
    await interrupt(process)
    with anyio.fail_after(5):
        await request.left.wait()


async def test_ctrl_c_closes_the_upstream_in_the_middle_of_an_answer(scripted):
    upstream, _, claude = scripted
    upstream.script(sse([*anthropic_stream(["a", "b"])[:3], Hold()]))
    process = await claude.start("-p", "hi")
    request = await upstream.wait_for_request(seconds=20)
    await anyio.sleep(0.2)
    await interrupt(process)
    with anyio.fail_after(5):
        await request.left.wait()


@pytest.mark.core
async def test_a_wrong_token_is_reported_at_once(tmp_path):
    async with gateway([build_plugin(Echo, "echo")]) as running:
        claude = Claude(tmp_path, running.url, "wrong-token", "anthropic/echo/echo")
        began = time.monotonic()
        answer = await claude.run("-p", "hi")
    assert answer.code != 0
    assert "set ANTHROPIC_AUTH_TOKEN" in answer.out + answer.err
    assert time.monotonic() - began < 15


async def test_an_unknown_model_is_reported_at_once(tmp_path):
    stack = [build_plugin(Echo, "a"), build_plugin(Echo, "b")]
    async with gateway(stack) as running:
        claude = Claude(tmp_path, running.url, running.token, "no-such-model")
        answer = await claude.run("-p", "hi")
    assert answer.code != 0
    assert "no-such-model" in answer.out + answer.err


async def test_a_request_to_an_overloaded_upstream_is_retried(scripted):
    upstream, _, claude = scripted
    upstream.script(anthropic_error(529, "overloaded_error", "busy"), sse(anthropic_stream("Now.")))
    answer = await claude.run("-p", "hi")
    assert "Now." in answer.out
    assert len(upstream.requests) == 2


@pytest.mark.core
async def test_a_stream_that_breaks_in_the_text_is_retried_as_a_stream(scripted):
    upstream, _, claude = scripted
    events = anthropic_stream(["partial ", "text"])
    upstream.script(sse(events[:4], end=Cut()), sse(anthropic_stream("Whole text.")))
    answer = await claude.run("-p", "hi")
    assert "Whole text." in answer.out
    assert [bool(r.json.get("stream")) for r in upstream.requests] == [True, True]


@pytest.mark.core
async def test_a_tool_call_before_a_break_runs_once(scripted, tmp_path):
    upstream, _, claude = scripted
    counter = claude.project / "count.txt"
    call = ("Bash", {"command": f"echo once >> {counter}", "description": "count"})
    upstream.script(
        sse([*anthropic_stream("", tool_calls=[call])[:-2], Sleep(0.5)], end=Cut()),
        sse(anthropic_stream("Counted.")),
    )
    answer = await claude.run("-p", "count", "--allowedTools", "Bash")
    assert counter.read_text() == "once\n"
    assert "Counted." in answer.out

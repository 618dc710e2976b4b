"""The real Claude Code runs a tool once, wherever the upstream dies. Covers each of the twenty points
once; `tests/faults/test_tool_runs_once.py` covers them fifty times with a simulated agent."""

import json
import random

import pytest

from plugway.testing import (
    Cut,
    Reset,
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    gateway,
    respond,
    sse,
)
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped
from tests.faults.test_tool_runs_once import POINTS, dying

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.mark.parametrize("fallback", [True, False], ids=["with fallback", "without fallback"])
@pytest.mark.parametrize("point", list(POINTS))
async def test_a_tool_runs_once_wherever_the_upstream_dies(point, fallback, tmp_path):
    counter = tmp_path / "count.txt"
    call = ("Bash", {"command": f"echo once >> {counter}", "description": "count"})
    events = anthropic_stream(["Let me ", "see."], tool_calls=[call])
    chance = random.Random(point)
    dead = [dying(point, chance.choice([Cut(), Reset()]), chance, events)]

    def says(request):
        if request.path.partition("?")[0] != "/v1/messages":
            return respond(404)
        if dead:
            return dead.pop()
        body = json.loads(request.body)
        done = "tool_result" in json.dumps(body["messages"])
        text, calls = ("Counted.", []) if done else ("", [call])
        if body.get("stream"):
            return sse(anthropic_stream(text, tool_calls=calls))
        return respond(200, anthropic_message(text, tool_calls=calls))

    async with (
        ScriptedUpstream(otherwise=says) as upstream,
        gateway(shipped(upstream.url)) as running,
    ):
        claude = Claude(tmp_path, running.url, running.token, "claude-sonnet-4-5")
        if not fallback:
            claude._env["CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"] = "1"
        answer = await claude.run("-p", "count", "--allowedTools", "Bash")
    assert "Counted." in answer.out, answer
    assert counter.read_text() == "once\n"

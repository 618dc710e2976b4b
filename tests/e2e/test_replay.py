"""A conversation of the real Claude Code is recorded, and replayed on other models."""

from __future__ import annotations

import json

import anyio
import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_recorder import Recorder
from tests.commands import command
from tests.e2e.claude import Claude
from tests.e2e.scripted_model import FILE, FINAL, PRINTED, ScriptedModel, Step
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(600)]
KEY = "a-key-for-recordings-0123456789"


def recorder():
    return build_plugin(Recorder, "recorder", key=KEY)


async def replay(running, folder, *words):
    """The report of the command, against that gateway."""
    config = folder / "config.yaml"
    port, token = running.port, "{$env: REPLAY_TOKEN}"
    config.write_text(f"server: {{port: {port}, token: {token}}}\nplugins: []\n")
    env = {"HOME": str(folder), "REPLAY_TOKEN": running.token}
    words = ["replay", *words, "--yes", "--json", "--config", str(config), "--out", str(folder)]
    done = await anyio.to_thread.run_sync(lambda: command(*words, env=env, folder=folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


async def conversation(running):
    """The only recording, with its turns."""
    listed = (await running.client.get("/recordings")).json()["recordings"]
    (one,) = listed
    query = {"conversation": one["conversation"]}
    return (await running.client.get("/recordings/turns", params=query)).json()


def lazy(request):
    """A model that only talks."""
    if request.method == "GET":
        return respond(404, {"error": {"type": "not_found_error", "message": "no list"}})
    if len(request.json["messages"]) > 2:
        too_long = "prompt is too long: 30000 tokens > 20000 maximum"
        return anthropic_error(400, "invalid_request_error", too_long)
    if request.json.get("stream"):
        return sse(anthropic_stream("You could write it yourself."))
    return respond(200, anthropic_message("You could write it yourself."))


async def test_a_conversation_of_claude_code_is_recorded_and_replayed(tmp_path):
    """The person's line starts it; tools, a title, and the end of the work are told apart."""
    project = tmp_path / "project"
    model = ScriptedModel(str(project), writes=[Step("Write")], runs=[Step("Bash")])
    async with (
        ScriptedUpstream(otherwise=model) as first,
        ScriptedUpstream(otherwise=lazy) as second,
    ):
        stack = [recorder(), *shipped(first.url)]
        stack.append(build_plugin(AnthropicCompatible, "lazy", base_url=second.url, zone="vendor"))
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up0/m")
            words = ("--allowedTools", "Write", "Bash", "--permission-mode", "acceptEdits")
            answer = await claude.run("-p", "@plugway record\nShout what I wrote.", *words)
            assert FINAL in answer.out, answer
            assert (project / FILE).exists()
            recorded = await conversation(running)
            turns = [turn for turn in recorded["list"] if turn["kind"] == "turn"]
            assert [turn["calls"] for turn in turns] == [["Write"], ["Bash"], []]
            name = recorded["conversation"]
            (project / FILE).unlink()
            report = await replay(running, tmp_path, name, "--on", "up0/m", "--on", "lazy/m")
            assert not (project / FILE).exists(), "no tool was run"
            assert len((await conversation(running))["list"]) == len(recorded["list"])
    assert model.problems == []
    same, other = report["targets"]
    assert (same["worked"], same["judged"]) == (3, 3)
    assert [turn["difference"]["kind"] for turn in other["turns"]] == ["tool", "window", "window"]
    assert other["turns"][0]["difference"]["text"] == "it called no tool instead of `Write`"
    page = next(tmp_path.glob("replay-*.md")).read_text()
    assert PRINTED not in page, "no prose"


async def test_a_conversation_of_claude_code_can_be_recorded_by_a_header(tmp_path):
    async with ScriptedUpstream(otherwise=lazy) as upstream:
        async with gateway([recorder(), *shipped(upstream.url)]) as running:
            headers = {"ANTHROPIC_CUSTOM_HEADERS": "plugway-record: on"}
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up0/m", **headers)
            assert "write it yourself" in (await claude.run("-p", "hello")).out
            recorded = await conversation(running)
        assert [turn["kind"] for turn in recorded["list"]] == ["turn"]
        assert not any(r.header("plugway-record") for r in upstream.requests)

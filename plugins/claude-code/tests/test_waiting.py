"""The terminal says what the first prompt waits for."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import anyio
import anyio.to_thread
import pytest
from rich.console import Console

from plugway import PlugwayError
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_claude_code import _first_run
from plugway_claude_code._waiting import RUNNING, waiting
from plugway_dashboard import Dashboard
from plugway_echo import Echo

pytestmark = pytest.mark.anyio
PLUGWAY = Path(sys.executable).with_name("plugway")
SESSION = "5d6b0b04-0000-4000-8000-000000000001"


def one(**changes):
    return {
        "state": "waiting for local/qwen3: loading the model qwen3.gguf",
        "phase": "loading",
        "attempts": 1,
        "seconds": 6.2,
        "session_id": SESSION,
        "first_content_seconds": None,
        **changes,
    }


def answering(*documents):
    """A gateway that answers with these documents in turn, the last one again and again."""
    left = list(documents)

    def ask(*_):
        found = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(found, Exception):
            raise found
        return found

    return SimpleNamespace(ask=ask)


async def test_the_status_line_says_what_its_session_waits_for(tmp_path):
    gate = anyio.Event()
    slow = sse([WaitFor(gate), *anthropic_stream()])
    config = tmp_path / "config.yaml"

    async def status_line(running, session):
        config.write_text(f"server: {{port: {running.port}, token: {{$env: T}}}}\nplugins: []\n")
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [PLUGWAY, "statusline", "--config", str(config)],
                input=json.dumps({"model": {"id": "m"}, "session_id": session}),
                capture_output=True,
                text=True,
                env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "T": running.token},
                timeout=30,
            )
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    async with ScriptedUpstream(otherwise=slow) as upstream:
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        stack = [build_plugin(Dashboard, "dashboard"), backend]
        async with gateway(stack) as running, anyio.create_task_group() as group:
            lines = {"x-claude-code-session-id": SESSION}
            body = request_body(model="up/m", stream=True)
            post = running.client.post
            group.start_soon(lambda: post("/v1/messages", json=body, headers=lines))
            await upstream.wait_for_request(1)
            during = await status_line(running, SESSION)
            other = await status_line(running, "another")
            gate.set()
        async with gateway([backend]) as running:
            without = await status_line(running, SESSION)
    assert during.startswith("m · plugway: waiting for up/m, ")
    assert during.endswith(" s\n")
    assert other == without == "m · plugway\n"


@pytest.mark.parametrize(
    ("running", "words"),
    [
        ([], None),
        ([one()], "waiting for local/qwen3: loading the model qwen3.gguf, 6 s"),
        ([one(seconds=1, state="x"), one(state="y"), one(seconds=2)], "y, 6 s, and 2 more"),
        ([one(first_content_seconds=3)], None),
        ([one(session_id="another")], None),
        ([one(state="evil\x1b]\x07\n")], "evil], 6 s"),
        ([one(state="long" * 90)], "long" * 30 + ", 6 s"),
        ([one(seconds="many"), "odd", None], None),
    ],
)
def test_the_longest_is_said_with_the_number_of_others(running, words):
    found = waiting(answering({"running": running}), SESSION)
    assert (found and found.words) == words


async def test_what_has_ended_is_not_asked_for():
    async with gateway(
        [build_plugin(Dashboard, "dashboard"), build_plugin(Echo, "echo")]
    ) as running:
        await running.ask("x", model="echo/one")
        everything = (await running.client.get("/dashboard/exchanges")).json()
        document = (await running.client.get(RUNNING)).json()
    assert len(everything["exchanges"]) == 1
    assert document["exchanges"] == []


@pytest.mark.parametrize("odd", [PlugwayError("not served here"), {}, {"running": "x"}])
def test_a_gateway_that_keeps_no_exchanges_is_no_error(odd):
    assert waiting(answering(odd)) is None


async def test_the_test_of_a_model_says_what_it_waits_for(monkeypatch):
    monkeypatch.setattr(_first_run, "_EVERY_SECONDS", 0)
    file = io.StringIO()
    seen = anyio.Event()
    reading = one(phase="reading", state="reading the prompt: 1 of 2 tokens", seconds=7)
    steps = [
        *(one(seconds=seconds) for seconds in (1, 5, 6)),
        *(reading | {"seconds": seconds} for seconds in (7, 8, 23)),
    ]
    documents = [{"running": [step]} for step in steps]
    document = answering(*documents, {"running": []})

    def ask(*words):
        found = document.ask(*words)
        if not found["running"]:
            anyio.from_thread.run_sync(seen.set)
        return found

    console = Console(file=file, width=200)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_first_run._say_waits, SimpleNamespace(ask=ask), console)
        with anyio.fail_after(5):
            await seen.wait()
        tasks.cancel_scope.cancel()
    assert file.getvalue().splitlines() == [
        "  waiting for local/qwen3: loading the model qwen3.gguf, 5 s",
        "  reading the prompt: 1 of 2 tokens, 7 s",
        "  reading the prompt: 1 of 2 tokens, 23 s",
    ]

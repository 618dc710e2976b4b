"""The real Claude Code with three subagents, watched: who waits for what, and why a turn was dear.

The upstream is strict, and its usage follows a simulated prompt cache (`simulated_cache.py`).
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import pytest
from simulated_cache import MarkedCache

from plugway.testing import (
    StrictUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_cache_watch import CacheWatch
from plugway_dashboard import Dashboard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_thinking import Thinking
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(240)]

TARGET = "anthropic/claude-opus-4-8"
PARTS = ("alpha", "beta", "gamma")
DOLLARS = {"input": 5, "cache_read": 0.5, "cache_creation": 6.25, "output": 25}
"""Per million tokens, as Anthropic lists this model."""


class Model:
    """Starts three subagents; one waits, one writes, and one has failed once, until `gate` opens."""

    def __init__(self):
        self.cache = MarkedCache(time.monotonic)
        self.gate = anyio.Event()
        self.answers = 0
        self.refused = False

    def __call__(self, request):
        body = request.json
        first, said = json.dumps(body["messages"][0]), json.dumps(body["messages"])
        part = next((name for name in PARTS if f"SUB {name}" in first), "")
        if part == "gamma" and not self.refused:
            self.refused = True
            return anthropic_error(529, "overloaded_error", "Overloaded")
        offered = {tool["name"] for tool in body.get("tools") or []}
        agent = next((name for name in ("Agent", "Task") if name in offered), None)
        calls = []
        if agent and not part and "tool_result" not in said:
            calls = [(agent, subagent(name)) for name in PARTS]
        words = ["", ""] if calls else [f"{part or 'Main'} is ", "done."]
        events = anthropic_stream(
            words, tool_calls=calls, usage=self.cache.usage(body), model=body["model"]
        )
        self.answers += 1  # the client merges messages of the same id
        events[0][1]["message"]["id"] = f"msg_{self.answers:08}"
        if part == "beta":
            return sse([*events[:3], WaitFor(self.gate), *events[3:]])
        return [*([WaitFor(self.gate)] if part else []), *sse(events)]


def subagent(name):
    prompt = f"SUB {name}: look around"
    return {"description": name, "prompt": prompt, "subagent_type": "general-purpose"}


@asynccontextmanager
async def followed(running, folder):
    """`plugway logs --follow --cache` of the gateway; yields the path of what it prints."""
    config, printed = folder / "config.yaml", folder / "printed"
    config.write_text(f"server: {{port: {running.port}, token: {{$env: T}}}}\nplugins: []\n")
    plugway = str(Path(sys.executable).with_name("plugway"))
    with printed.open("wb") as out:
        process = await anyio.open_process(
            [plugway, "logs", "--follow", "--cache", "--config", str(config)],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "T": running.token},
        )
    try:
        yield printed
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def seen(look, good):
    """What `look` returns, once it is `good`."""
    with anyio.fail_after(60):
        while not good(found := await look()):
            await anyio.sleep(0.1)
        return found


def price(item):
    return sum(item["usage"][kind] * DOLLARS[kind] for kind in DOLLARS) / 1e6


async def test_who_waits_for_what_is_seen_and_a_dear_turn_is_explained(tmp_path, caplog):
    caplog.set_level(logging.INFO, "plugway.dashboard")
    model = Model()
    async with StrictUpstream("anthropic", otherwise=model) as upstream:
        stack = [
            build_plugin(CacheWatch, "cache-watch"),
            build_plugin(Dashboard, "dashboard"),
            build_plugin(Thinking, "thinking"),
            build_plugin(Resilience, "resilience"),
            build_plugin(ErrorNormalizer, "error-normalizer"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": [TARGET]}),
            build_plugin(Anthropic, "anthropic", base_url=upstream.url, api_key="sk-ant-1"),
        ]
        async with gateway(stack) as running, followed(running, tmp_path) as printed:

            async def look():
                return (await running.client.get("/dashboard/exchanges")).json()

            claude = Claude(tmp_path, running.url, running.token, "claude-opus-4-8")
            answers = []

            async def first_turn():
                answers.append(
                    await claude.run("-p", "start three", "--allowedTools", "Agent,Task")
                )

            async with anyio.create_task_group() as group:
                group.start_soon(first_turn)
                during = await seen(look, lambda found: len(working(found)) == 3)
                await seen(look, lambda _: "waits 5 s for" in caplog.text)
                lines = await seen(
                    lambda: anyio.Path(printed).read_text(), lambda text: "attempt 2" in text
                )
                model.gate.set()
            answers.append(await claude.run("-c", "-p", "second question"))
            without = ("--disallowedTools", "Edit")
            answers.append(await claude.run("-c", "-p", "third question", *without))
            ended = (await look())["exchanges"]
            last = ended[-1]["cache"]["line"]
            lines += await seen(lambda: anyio.Path(printed).read_text(), lambda text: last in text)
    assert [answer.code for answer in answers] == [0, 0, 0], answers
    assert upstream.refused == []

    agents = {item["agent_id"]: item for item in during["running"]}
    states = [item["state"] for item in agents.values()]
    (main,) = {item["session_id"] for item in during["running"]}
    assert len(agents) == 3
    assert {item["session_id"] for item in ended} == {main}
    assert {item["agent_id"] for item in ended} == {None, *agents}, "the main agent and three"
    assert f"waiting for {TARGET}" in states
    assert any(state.startswith("writing: about ") for state in states)
    failed = f"waiting for {TARGET} (attempt 2: the first failed with 529 (overloaded_error))"
    assert failed in states
    for agent, item in agents.items():
        assert f"{item['state'].split(',')[0]}" in lines
        assert f"agent {agent[:8]}" in lines
    assert f"waits 5 s for {TARGET}: no content yet" in caplog.text
    assert f"waits 5 s for {TARGET}: attempt 2: the first failed with 529" in caplog.text

    turns = [item for item in ended if item["agent_id"] is None and item.get("cache")]
    second, third = turns[-2:]
    assert second["cache"]["cause"] == "hit"
    found = third["cache"]
    assert found["why"].startswith("tools["), found
    assert found["why"].endswith(" was removed"), found
    assert third["usage"]["cache_creation"] > 10_000
    assert found["dollars"] == pytest.approx(found["missed"] * (6.25 - 0.5) / 1e6)
    assert price(third) > 8 * price(second)
    assert price(third) - found["dollars"] < 2 * price(second), "the miss explains the difference"
    assert [item["cache"]["line"] for item in ended if (item.get("cache") or {}).get("miss")] == [
        found["line"]
    ]
    assert f"cache: {found['line']}" in lines


def working(document):
    """The subagents that run, once each has come as far as it can."""
    subagents = [item for item in document["running"] if item["agent_id"]]
    states = " ".join(item["state"] for item in subagents)
    return subagents if "attempt 2" in states and "writing: " in states else []

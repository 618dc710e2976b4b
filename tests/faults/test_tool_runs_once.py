"""A tool never runs twice, wherever the upstream dies: twenty points, fifty runs each.

A simulated agent makes the runs. It behaves as Claude Code 2.1.329 was measured: it runs the tools
of finished blocks and continues with their results, retries a reply that broke off before that, and
retries without a stream after an `error` event. `tests/e2e/test_tool_runs_once.py` runs the real
client once for each point.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field

import anyio
import pytest

from plugway.testing import (
    Cut,
    RawClient,
    Reset,
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    gateway,
    messages_request,
    respond,
    sse,
)
from tests.e2e.stack import shipped
from tests.slow import SLOW

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]

RUNS = 50 if SLOW else 1
QUICK = {"repeat_min_seconds": 0, "repeat_max_seconds": 0.01, "breaker_failures": 1000}
CALL = ("Note", {"text": "one two three"})
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
EVENTS = anthropic_stream(["Let me ", "see."], tool_calls=[CALL])
"""message_start; a text block: start, two deltas, stop; a call: start, three deltas, stop;
message_delta; message_stop."""
OVERLOADED = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})
BROKEN = ("error", {"type": "error", "error": {"type": "api_error", "message": "broken"}})

POINTS = {
    "before the head": (None, 0),
    "after the head": (0, 0),
    "in message_start": (0, 40),
    "after message_start": (1, 0),
    "in the start of the text": (1, 30),
    "after the start of the text": (2, 0),
    "in the text": (3, 20),
    "after the text": (4, 0),
    "after the text block": (5, 0),
    "in the start of the call": (5, 60),
    "after the start of the call": (6, 0),
    "after an empty piece": (7, 0),
    "in the arguments": (8, 0),
    "in a piece of the arguments": (8, 70),
    "after the arguments": (9, 0),
    "in the end of the call": (9, 30),
    "after the call": (10, 0),
    "in message_delta": (10, 50),
    "after message_delta": (11, 0),
    "after message_stop, before the end of the body": (12, 0),
}
ENDS = {
    "fin": Cut(),
    "rst": Reset(),
    "bad chunk": b"zz\r\n",
    "clean": None,
    "overloaded": OVERLOADED,
    "error": BROKEN,
}


def dying(point, end, chance, events=EVENTS):
    """The script of an upstream that dies at that point of its reply in that way."""
    whole, extra = POINTS[point]
    if whole is None:
        return [end if isinstance(end, Cut | Reset) else Cut()]
    pieces: list = list(events[:whole])
    if extra and whole < len(events):
        name, data = events[whole]
        text = f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
        pieces.append(text[:extra])
    if isinstance(end, tuple):
        pieces.append(end)
        end = None
    sizes = chance.choice([None, [chance.randint(1, 60)]])
    return sse(pieces, chunk_sizes=sizes, end=end)


@dataclass
class Agent:
    """Handles a reply, complete or broken off, as the client does."""

    running: object
    ran: list = field(default_factory=list)
    asked: int = 0

    async def work(self):
        """Send requests until there is a reply without calls; returns its text."""
        messages = [{"role": "user", "content": "note it"}]
        stream = True
        while self.asked < 12:
            self.asked += 1
            blocks, ended, failed = await self._ask(messages, stream)
            stream = True
            calls = [block for block in blocks if block["type"] == "tool_use"]
            if calls:
                self.ran += [call["input"]["text"] for call in calls]
                results = [
                    {"type": "tool_result", "tool_use_id": c["id"], "content": "noted"}
                    for c in calls
                ]
                messages += [
                    {"role": "assistant", "content": blocks},
                    {"role": "user", "content": results},
                ]
            elif ended and blocks:
                return blocks[-1]["text"]
            elif blocks:
                messages += [
                    {"role": "assistant", "content": blocks},
                    {"role": "user", "content": "go on"},
                ]
            else:
                stream = failed != "error"
        raise AssertionError("it never ended")

    async def _ask(self, messages, stream):
        tools = [{"name": "Note", "description": "Notes.", "input_schema": SCHEMA}]
        body = {"model": "m", "max_tokens": 100, "messages": messages, "tools": tools}
        host = f"127.0.0.1:{self.running.port}"
        headers = {"x-claude-code-session-id": "s"}
        request = messages_request(
            {**body, "stream": stream}, self.running.token, headers, host=host
        )
        async with RawClient(self.running.url) as client:
            await client.send(request)
            response = await client.read()
        if response.status != 200:
            return [], False, "status"
        if not stream:
            return response.json["content"], True, ""
        return finished_blocks(response.events)


def finished_blocks(events):
    """The blocks that were finished, whether the reply was, and the error that broke it."""
    blocks, open_, parts, ended, failed = [], None, "", False, "cut"
    for _, data in events:
        name = data["type"]  # what the client goes by
        if name == "content_block_start":
            open_, parts = dict(data["content_block"]), ""
        elif name == "content_block_delta":
            delta = data["delta"]
            parts += delta.get("text") or delta.get("partial_json") or ""
        elif name == "content_block_stop":
            kind = open_["type"]
            open_ |= {"input": json.loads(parts)} if kind == "tool_use" else {"text": parts}
            blocks.append(open_)
        elif name == "message_delta":
            ended = True
        elif name == "error" and data["error"]["type"] != "overloaded_error":
            failed = "error"
    return blocks, ended, failed


@pytest.mark.parametrize("targets", [1, 2])
@pytest.mark.parametrize("point", list(POINTS))
async def test_a_tool_runs_once_wherever_the_upstream_dies(point, targets):
    dead: list = []

    def says(request):
        if request.path.partition("?")[0] != "/v1/messages":
            return respond(404)
        body = request.json
        done = "tool_result" in json.dumps(body["messages"])
        if dead:
            script = dead.pop()
            return sse(anthropic_stream("Noted.")[:3], end=Cut()) if done else script
        answer = ("Noted.", {}) if done else ("", {"tool_calls": [CALL]})
        if body.get("stream"):
            return sse(anthropic_stream(answer[0], **answer[1]))
        return respond(200, anthropic_message(answer[0], **answer[1]))

    async with (
        ScriptedUpstream(otherwise=says) as one,
        ScriptedUpstream(otherwise=says) as two,
        gateway(shipped(*[one.url, two.url][:targets], **QUICK)) as running,
    ):
        for run in range(RUNS):
            chance = random.Random(f"{point} {targets} {run}")
            end = chance.choice(list(ENDS))
            dead[:] = [dying(point, ENDS[end], chance)] * chance.randint(1, 2)
            agent = Agent(running)
            with anyio.fail_after(20):
                text = await agent.work()
            assert text == "Noted.", (run, end)
            assert agent.ran == ["one two three"], (run, end, agent.ran)

"""A recorded conversation with an upstream that decides by the request alone."""

import json
from contextlib import asynccontextmanager

import anyio

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_prices import Prices
from plugway_recorder import Recorder

KEY = "a-key-for-recordings-0123456789"
SESSION = {"x-claude-code-session-id": "5d6b0b04-0000-4000-8000-000000000000"}
ID = SESSION["x-claude-code-session-id"]
READ = {
    "name": "Read",
    "description": "Reads a file.",
    "input_schema": {
        "type": "object",
        "properties": {"file_path": {"type": "string"}, "limit": {"type": "integer"}},
        "required": ["file_path"],
        "additionalProperties": False,
    },
}
BASH = {
    "name": "Bash",
    "input_schema": {
        "type": "object",
        "properties": {"command": {"type": "string"}, "description": {"type": "string"}},
        "required": ["command"],
    },
}
TOOLS = [READ, BASH]


def recorder(**options):
    return build_plugin(Recorder, "recorder", **{"key": KEY, **options})


def cloud(url, name="cloud", **options):
    return build_plugin(AnthropicCompatible, name, base_url=url, **options)


def prices(**models):
    return build_plugin(Prices, "prices", models=models)


def body(number, **fields):
    """The request of a turn: the conversation so far, and a question."""
    messages = [{"role": "user", "content": f"Look at file {number}."}]
    asked = {
        "model": "cloud/large",
        "max_tokens": 1000,
        "temperature": 0,
        "system": "Working directory: /project",
        "messages": messages,
        "tools": TOOLS,
    }
    return {**asked, **fields}


def asked_number(request):
    """The number of the turn that a request asks about."""
    return int(request.json["messages"][0]["content"].split()[3].rstrip("."))


def reading(request):
    """A model that reads the file that it is asked about: the same for the same request.

    Every third turn it runs a command, every fifth it answers.
    """
    if request.method == "GET":
        return respond(200, {"data": [{"id": "large", "type": "model"}], "has_more": False})
    number = asked_number(request)
    calls = [("Read", {"file_path": f"/project/{number}.txt"})]
    if number % 3 == 0:
        calls = [("Bash", {"command": f"grep -n x {number}.txt", "description": "look"})]
    if number % 5 == 0:
        calls = []
    return reply(request, f"I look at {number}.", calls)


class Model:
    """A model whose answers a test changes."""

    def __init__(self):
        self.answer = reading

    def __call__(self, request):
        return self.answer(request) if callable(self.answer) else self.answer


def posted(upstream):
    """The requests for a reply that an upstream got."""
    return [request for request in upstream.requests if request.method == "POST"]


def reply(request, text, calls=(), **more):
    if request.json.get("stream"):
        return sse(anthropic_stream(text, tool_calls=calls, **more))
    return respond(200, anthropic_message(text, tool_calls=calls, **more))


@asynccontextmanager
async def serving(model=reading, **options):
    """A gateway with the recorder, in front of that model."""
    async with (
        ScriptedUpstream(otherwise=model) as upstream,
        gateway([recorder(**options), cloud(upstream.url)]) as running,
    ):
        yield running


async def send(running, asked, **headers):
    answer = await running.client.post(
        "/v1/messages",
        content=json.dumps(asked),
        headers={"content-type": "application/json", **headers},
    )
    return answer


async def say(running, text, **headers):
    """A message of the user without tools, with the session's id."""
    asked = {
        "model": "cloud/large",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": text}],
    }
    return await send(running, asked, **{**SESSION, **headers})


def text_of(answer):
    return answer.json()["content"][0]["text"]


async def recordings(running, **headers):
    answer = await running.client.get("/recordings", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()["recordings"]


async def turns_of(running, name=ID, **headers):
    answer = await running.client.get(
        "/recordings/turns", params={"conversation": name}, headers=headers
    )
    assert answer.status_code == 200, answer.text
    return answer.json()["list"]


async def record(running, count, **headers):
    """Record so many turns, streamed and whole in turn."""
    assert "is recorded from now on" in text_of(await say(running, "@plugway record", **headers))
    for number in range(1, count + 1):
        asked = body(number, stream=bool(number % 2))
        answer = await send(running, asked, **{**SESSION, **headers})
        assert answer.status_code == 200, answer.text
        assert "by=recorder" in answer.headers["plugway-receipt"]


async def replay(running, folder, *words, code=0, out=None):
    """Run the command in a thread, against that gateway; its two outputs and the report."""
    from tests.commands import command

    config = folder / "config.yaml"
    config.write_text(
        f"server: {{port: {running.port}, token: {{$env: REPLAY_TOKEN}}}}\nplugins: []\n"
    )
    env = {"HOME": str(folder), "REPLAY_TOKEN": running.token, "COLUMNS": "200"}
    words = ["replay", *words, "--config", str(config), "--out", str(out or folder)]
    done = await anyio.to_thread.run_sync(lambda: command(*words, env=env, folder=folder))
    assert done.returncode == code, done.stdout + done.stderr
    found = sorted(folder.glob("replay-*.json"))
    return done, json.loads(found[-1].read_text()) if found else None

"""Other clients than Claude Code on the stack that `plugway serve` runs without a configuration: the model
that comes with it, in process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import anyio
import httpx2
import pytest

import plugway_starter
from tests.e2e.clients import CLIENTS, run

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

PLUGWAY = Path(sys.executable).with_name("plugway")
STACK = Path(plugway_starter.__file__).with_name("stack.yaml")
MODEL = "anthropic/local/demo"
ORDER = "create hello.txt with the text hi"
KNOWN = "I only know how to create a file"
TITLES = ["Codex CLI", "Gemini CLI", "Qwen Code, Chat", "pi, Responses"]
FOUND = {client.title: client for client in CLIENTS}


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
async def served(tmp_path_factory):
    """The address and the token of a gateway with a home of its own."""
    home = tmp_path_factory.mktemp("fresh")
    stack = STACK.read_text()
    assert "temperature: 0}" in stack
    config = home / "config.yaml"  # on a busy machine two threads wait for each other
    config.write_text(stack.replace("temperature: 0}", "temperature: 0, threads: 1}"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with await anyio.open_process(
        [PLUGWAY, "serve", "--config", config, "--port", url.rpartition(":")[2]],
        env={"HOME": str(home), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            token = await _token(url, home / ".local/state/plugway/token")
            yield url, token
        finally:
            process.terminate()
            await process.wait()


async def _token(url, path):
    """The token, as soon as the gateway takes it."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        with anyio.fail_after(60):
            while True:
                if path.exists():
                    token = path.read_text().strip()
                    try:
                        listed = await client.get(f"{url}/v1/models", headers={"x-api-key": token})
                    except httpx2.TransportError:
                        listed = None
                    if listed is not None and listed.status_code == 200:
                        return token
                await anyio.sleep(0.1)


@pytest.fixture
def folder(tmp_path):
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    return tmp_path


async def test_the_default_client_of_the_ai_sdk_has_a_file_created(served, folder):
    sdk = FOUND["AI SDK, openai, generateText"]
    sdk = replace(sdk, command=["ai_sdk_demo.mjs", "{prompt}"])
    answer = await run(sdk, folder, *served, MODEL, ORDER)
    assert (folder / "project/hello.txt").read_text() == "hi", answer
    assert "Done: I created hello.txt." in answer.out
    assert "finished: stop, steps: 2" in answer.out


@pytest.mark.parametrize("title", TITLES)
async def test_a_client_with_tools_of_other_names_is_told_what_the_model_knows(
    title, served, folder
):
    answer = await run(FOUND[title], folder, *served, MODEL, ORDER)
    assert answer.code == 0, answer
    assert KNOWN in answer.out
    assert list((folder / "project").glob("hello*")) == []


@pytest.mark.parametrize("title", TITLES)
async def test_a_client_gets_a_sentence(title, served, folder):
    answer = await run(FOUND[title], folder, *served, MODEL, "what is plugway")
    assert answer.code == 0, answer
    assert "Plugway is a local gateway" in answer.out


WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


async def test_a_call_that_responses_demands_is_valid_and_its_result_ends_the_turn(served):
    url, token = served
    tool = {"type": "function", "name": "get_weather", "parameters": WEATHER, "strict": True}
    ask = {"role": "user", "content": "the weather in Rome"}
    choice = {"type": "function", "name": "get_weather"}
    body = {"model": MODEL, "input": [ask], "tools": [tool], "tool_choice": choice}
    async with httpx2.AsyncClient(
        base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=120, trust_env=False
    ) as client:
        first = (await client.post("/v1/responses", json=body)).json()
        (call,) = [item for item in first["output"] if item["type"] == "function_call"]
        assert isinstance(json.loads(call["arguments"])["city"], str)
        result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        body = {**body, "input": [ask, *first["output"], result], "tool_choice": "auto"}
        second = (await client.post("/v1/responses", json=body)).json()
    assert second["status"] == "completed"
    assert [item["type"] for item in second["output"]] == ["message"]

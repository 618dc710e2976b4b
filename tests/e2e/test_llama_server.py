"""The real llama-server as an upstream, built from the sources in llama-cpp-python."""

import os
import socket
import subprocess
from pathlib import Path

import anyio
import httpx2
import pytest
from anthropic import AsyncAnthropic

from plugway.testing import build_plugin, gateway
from plugway_demo_model import model_path
from plugway_llama_server import LlamaServer
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).resolve().parents[2]


def binary():
    """The result of an earlier build; `tools/build-llama-server` takes about six minutes."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "plugway-build"
    found = sorted(
        Path(os.environ.get("PLUGWAY_BUILD_CACHE", cache)).glob("llama-server/*/bin/llama-server")
    )
    if not found:
        pytest.skip("no llama-server; run tools/build-llama-server")
    return str(found[-1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def upstream():
    port = free_port()
    command = [
        binary(),
        "-m",
        str(model_path()),
        "--port",
        str(port),
        "--jinja",
        "-c",
        "32768",
        "-np",
        "1",
        "--temp",
        "0",
    ]
    async with await anyio.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            async with httpx2.AsyncClient(trust_env=False) as client:
                with anyio.fail_after(60):
                    while not await healthy(client, port):
                        await anyio.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()


async def healthy(client, port):
    try:
        return (await client.get(f"http://127.0.0.1:{port}/health")).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture
async def running(upstream):
    async with gateway([build_plugin(LlamaServer, "local", base_url=upstream)]) as found:
        yield found


async def test_its_model_and_window_are_listed(running):
    (model,) = (await running.client.get("/v1/models")).json()["data"]
    assert model["id"].startswith("anthropic/local/")
    assert model["max_input_tokens"] == 32768


async def test_the_sdk_streams_from_it(running):
    client = AsyncAnthropic(base_url=running.url, auth_token=running.token, max_retries=0)
    async with client.messages.stream(
        model="anthropic/local/demo",
        max_tokens=60,
        messages=[{"role": "user", "content": "what is plugway?"}],
    ) as stream:
        message = await stream.get_final_message()
    assert "Plugway" in message.content[0].text
    counted = await client.messages.count_tokens(
        model="anthropic/local/demo", messages=[{"role": "user", "content": "hello"}]
    )
    assert counted.input_tokens > 0
    await client.close()


async def test_claude_code_gets_an_answer_from_it(running, tmp_path):
    claude = Claude(tmp_path, running.url, running.token, "anthropic/local/demo")
    answer = await claude.run("-p", "what is plugway?", seconds=120)
    assert "Plugway" in answer.out


async def test_an_overflow_has_the_status_and_the_numbers(running):
    body = {
        "model": "m",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "word " * 60_000}],
    }
    response = await running.post(body)
    assert response.status_code == 400
    assert "32768" in response.text

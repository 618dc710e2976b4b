"""The real llama-server as an upstream, built from the sources in llama-cpp-python."""

import os
import socket
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
from anthropic import AsyncAnthropic

from plugway import BackendError
from plugway.testing import build_plugin, gateway, request_body
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


@asynccontextmanager
async def started(*arguments):
    """The URL of a llama-server that runs with these arguments."""
    port = free_port()
    command = [binary(), "--port", str(port), "--jinja", "-np", "1", "--temp", "0", *arguments]
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


@pytest.fixture
async def upstream():
    async with started("-m", str(model_path()), "-c", "32768") as url:
        yield url


@pytest.fixture
async def router(tmp_path):
    """A router with two models and a file that is none."""
    for name in ("first", "second"):
        (tmp_path / f"{name}.gguf").symlink_to(model_path())
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    folder = str(tmp_path)
    async with started("--models-dir", folder, "--offline", "-c", "8192") as url:
        yield build_plugin(LlamaServer, "local", base_url=url)


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


async def test_a_router_loads_and_unloads_and_says_what_it_holds(router):
    backend = router.backend
    async with gateway([router]) as running:
        assert await backend.loaded() == []
        assert await backend.needs("first") == model_path().stat().st_size
        await backend.load("first")
        assert (await running.post(request_body(model="second"))).status_code == 200
        found = {model.model: model for model in await backend.loaded()}
        assert set(found) == {"first", "second"}, "a request loads its model, too"
        assert found["second"].idle_seconds is not None
        assert found["first"].context_tokens == 8192
        assert 0.9 < found["first"].size / model_path().stat().st_size <= 1
        assert await backend.unload("first") is True
        assert await backend.unload("first") is False
        assert [model.model for model in await backend.loaded()] == ["second"]
        with pytest.raises(BackendError, match="could not load `broken`"):
            await backend.load("broken")


async def test_a_server_of_one_model_says_that_it_keeps_it(upstream):
    async with build_plugin(LlamaServer, "local", base_url=upstream).backend as backend:
        (model,) = await backend.loaded()
        assert "start it as a router" in model.kept
        assert await backend.unload(model.model) is False

"""A model without vision reads screenshots: `plugway serve` with `ocr`, its real engine and the model that comes
with Plugway, which repeats what a tool returned; the official SDKs as clients."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from pathlib import Path

import anthropic
import anyio
import httpx2
import openai
import psutil
import pytest

from plugway_ocr._engines import problem_of

sys.path.append(str(Path(__file__).parents[2] / "plugins/ocr/tests"))

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(300)]

PLUGWAY = Path(sys.executable).with_name("plugway")
CONFIG = """
server:
  tokens: [{name: phone, token: {$file: PHONE}, models: ["local/*"]}]
plugins:
  - use: openai-api
  - use: memory
  - use: ocr
  - use: router
    options: {models: {"*": [local/demo]}}
  - use: llama-cpp
    name: local
    options: {model: demo, temperature: 0, threads: 1}
"""
ERROR = "KeyError: 'price'"
MODEL = "anthropic/local/demo"
PARAMETERS = {
    "type": "object",
    "properties": {"file_path": {"type": "string"}},
    "required": ["file_path"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture(scope="module")
def picture():
    from screens import drawn

    return base64.b64encode(drawn(ERROR, "dark")).decode()


@pytest.fixture(scope="module")
async def served(tmp_path_factory):
    """The address of a gateway with a home of its own, its token, and its process."""
    if problem := problem_of("rapidocr"):
        pytest.skip(problem)
    home = tmp_path_factory.mktemp("ocr")
    (home / "phone").write_text("phone-token-0123456789abcdef")
    (home / "phone").chmod(0o600)
    config = home / "config.yaml"
    config.write_text(CONFIG.replace("PHONE", str(home / "phone")))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with await anyio.open_process(
        [PLUGWAY, "serve", "--config", config, "--port", str(port)],
        env={"HOME": str(home), "PATH": os.defpath},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            yield url, await _token(url, home / ".local/state/plugway/token"), process.pid
        finally:
            process.terminate()
            await process.wait()


async def _token(url, path):
    async with httpx2.AsyncClient(trust_env=False) as client:
        with anyio.fail_after(60):
            while True:
                try:
                    token = path.read_text().strip()
                    await client.get(f"{url}/v1/models", headers={"x-api-key": token})
                except (OSError, httpx2.TransportError):
                    await anyio.sleep(0.1)
                else:
                    return token


async def test_the_anthropic_sdk_gets_the_error_of_a_screenshot_that_a_tool_returned(
    served, picture
):
    url, token, _ = served
    source = {"type": "base64", "media_type": "image/png", "data": picture}
    call = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"file_path": "error.txt"}}
    found = {
        "type": "tool_result",
        "tool_use_id": "t1",
        "content": [{"type": "image", "source": source}],
    }
    async with anthropic.AsyncAnthropic(
        base_url=url, auth_token=token, api_key=None, max_retries=0
    ) as client:
        answer = await client.messages.with_raw_response.create(
            model=MODEL,
            max_tokens=200,
            tools=[{"name": "Read", "description": "Reads a file", "input_schema": PARAMETERS}],
            messages=[
                {"role": "user", "content": "show me error.txt"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": [found]},
            ],
        )
    text = (await answer.parse()).content[0].text
    assert ERROR in text
    assert "ocr" in answer.headers["plugway-receipt"]


async def test_the_openai_sdk_gets_it_by_responses(served, picture):
    url, token, _ = served
    arguments = '{"file_path":"error.txt"}'
    call = {"type": "function_call", "call_id": "c1", "name": "Read", "arguments": arguments}
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{picture}"}
    tool = {"type": "function", "name": "Read", "description": "", "parameters": PARAMETERS}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        answer = await client.responses.create(
            model=MODEL,
            tools=[{**tool, "strict": True}],
            input=[
                {"role": "user", "content": "show me error.txt"},
                call,
                {"type": "function_call_output", "call_id": "c1", "output": [image]},
            ],
        )
    assert ERROR in answer.output_text


async def test_a_picture_in_a_chat_is_read_too(served, picture):
    """This model only repeats what tools return; the receipt says that it got the text."""
    url, token, _ = served
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    say = {"type": "text", "text": "what is plugway"}
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        answer = await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": [image, say]}]
        )
    assert answer.parse().choices[0].message.content
    assert "ocr" in answer.headers["plugway-receipt"]


async def test_the_endpoint_reads_for_each_caller_and_survives_its_worker(served, picture):
    url, token, pid = served
    data = base64.b64decode(picture)
    async with httpx2.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        for key in (token, "phone-token-0123456789abcdef"):
            headers = {"authorization": f"Bearer {key}"}
            answer = await client.post("/v1/ocr", files={"file": data}, headers=headers)
            assert answer.json()["text"] == ERROR, answer.text
        [worker] = [
            child
            for child in psutil.Process(pid).children(recursive=True)
            if "onnxruntime" in "".join(m.path for m in child.memory_maps())
        ]
        assert all(not one.raddr for one in worker.net_connections())
        worker.kill()
        headers = {"authorization": f"Bearer {token}"}
        known = await client.post("/v1/ocr", json={"image": picture}, headers=headers)
        assert known.status_code == 200, known.text
        answers = [
            (await client.post("/v1/ocr", files={"file": data[:size]}, headers=headers)).status_code
            for size in (200, 201)
        ]
        assert answers in ([503, 400], [400, 400])  # none fails if the death was noticed before


def test_the_command_reads_files_and_pipes_without_a_gateway(tmp_path, picture):
    if problem := problem_of("rapidocr"):
        pytest.skip(problem)
    (tmp_path / "a.png").write_bytes(base64.b64decode(picture))
    environment = {"HOME": str(tmp_path), "PATH": os.defpath}

    def run(*arguments, data=b""):
        return subprocess.run(
            [PLUGWAY, "read", *arguments], input=data, capture_output=True, env=environment
        )

    done = run(str(tmp_path / "a.png"))
    assert (done.returncode, done.stdout.decode()) == (0, f"{ERROR}\n"), done.stderr
    done = run("-", "--json", data=base64.b64decode(picture))
    assert b'"text": "KeyError: \'price\'"' in done.stdout
    done = run("-", data=b"GIF89a")
    assert done.returncode == 1
    assert b"cannot be decoded" in done.stderr
    assert run(str(tmp_path / "none.png")).returncode == 1

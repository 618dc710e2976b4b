"""The same with all shipped plugins: no key in a response, a file, a log or a process."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import anyio
import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream, request_body, respond
from tests.faults.test_canary import TOKEN, leaks, processes, write

pytestmark = pytest.mark.anyio

KEYS = {
    name: f"canary-{name}-k3y+/=8d2e6b4f0a"
    for name in ("anthropic", "openai", "chat", "gemini", "compatible")
}
CONFIG = """
server: {{port: 0, token: {{$file: {folder}/token}}}}
plugins:
  - use: dashboard
  - use: mcp
  - use: local-answers
  - use: switch
  - use: recommend
  - use: openai-api
  - use: thinking
  - use: resilience
  - use: error-normalizer
  - use: server-tools
  - use: tool-repair
  - use: context-guard
  - use: field-policy
  - use: router
    options: {{models: {{"*": [anthropic/m]}}}}
  - {{use: anthropic, options: {{base_url: "{url}", api_key: {{$file: {folder}/anthropic}}}}}}
  - {{use: openai, options: {{base_url: "{url}", api_key: {{$file: {folder}/openai}}}}}}
  - {{use: openai-compatible, name: chat, options: {{base_url: "{url}", api_key: {{$file: {folder}/chat}}}}}}
  - {{use: gemini, options: {{base_url: "{url}", api_key: {{$file: {folder}/gemini}}}}}}
  - {{use: anthropic-compatible, name: compatible, options: {{base_url: "{url}", api_key: {{$file: {folder}/compatible}}}}}}
"""
TOOLS = (
    "endpoint_list", "endpoint_recommend", "model_list", "usage_report", "context_report",
    "explain_last",
)  # fmt: skip


def echoing(request):
    """An upstream that quotes the credentials that it received, as some do."""
    said = " ".join(
        v for k, v in request.headers if k in {"authorization", "x-api-key", "x-goog-api-key"}
    )
    return respond(
        401, {"error": {"type": "authentication_error", "message": f"invalid key {said}"}}
    )


async def exercise(url):
    """Requests to every route of the gateway; returns all responses."""
    said = []
    headers = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
    session = {"x-claude-code-session-id": "5d6b0b04-0000-4000-8000-000000000000"}
    async with httpx2.AsyncClient(
        trust_env=False, verify=False, timeout=30, headers=headers
    ) as client:

        async def post(path, body, **more):
            answer = await client.post(url + path, content=orjson.dumps(body), headers=more)
            said.append(f"{dict(answer.headers)} {answer.text}")

        for name in ("anthropic", "openai", "chat", "gemini", "compatible"):
            for stream in (False, True):
                body = request_body("hi", model=f"anthropic/{name}/m", stream=stream)
                await post("/v1/messages", body, **session)
                chat = {"model": f"{name}/m", "stream": stream, "messages": body["messages"]}
                await post("/v1/chat/completions", chat)
            await post("/v1/messages/explain", request_body("hi", model=f"anthropic/{name}/m"))
            await post("/v1/responses", {"model": f"{name}/m", "input": "hi"})
        for line in ("@plugway list", "@plugway use openai"):
            await post("/v1/messages", request_body(line), **session)
        for tool in TOOLS:
            call = {
                "jsonrpc": "2.0",
                "id": 1,
                "method": "tools/call",
                "params": {"name": tool, "arguments": {}},
            }
            await post("/mcp", call, accept="application/json, text/event-stream")
        for path in ("/health", "/v1/models", "/dashboard/exchanges", "/"):
            answer = await client.get(url + path, headers={"accept": "text/html,*/*"})
            said.append(f"{dict(answer.headers)} {answer.text}")
    return "\n".join(said)


async def test_no_key_of_the_whole_stack_appears_anywhere(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {**KEYS, "token": TOKEN}.items():
        write(tmp_path / name, value)
    log = tmp_path / "log"
    async with ScriptedUpstream(otherwise=echoing) as upstream:
        write(tmp_path / "config.yaml", CONFIG.format(folder=tmp_path, url=upstream.url))
        command = [str(Path(sys.executable).with_name("plugway")), "serve", "--log-level", "debug"]
        command += ["--config", str(tmp_path / "config.yaml")]
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "PLUGWAY_TRACE_HOOKS": "1"}
        with log.open("wb") as out:
            process = await anyio.open_process(command, stdout=out, stderr=out, env=env)
        try:
            with anyio.fail_after(30):
                while "http://127.0.0.1:" not in log.read_text():
                    await anyio.sleep(0.05)
            port = log.read_text().partition("http://127.0.0.1:")[2].split()[0].rstrip("/")
            answers = await exercise(f"http://127.0.0.1:{port}")
            shown = processes(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        sent = str([request.headers for request in upstream.requests])
    secrets = (*KEYS.values(), TOKEN)
    assert all(key in sent for key in KEYS.values()), "each key reaches its upstream"
    assert not leaks(sent, (TOKEN,))
    written = "".join(p.read_bytes().decode("latin-1") for p in home.rglob("*") if p.is_file())
    for where, text in {
        "answers": answers, "log": log.read_text(errors="replace"), "process": shown, "files": written,
    }.items():  # fmt: skip
        assert not leaks(text, secrets), where

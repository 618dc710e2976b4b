"""Provider keys and the gateway's token appear nowhere: not in responses, logs, processes or dumps."""

import base64
import hashlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import anyio
import httpx2
import orjson
import pytest

from plugway.testing import ScriptedUpstream, anthropic_error, request_body

pytestmark = pytest.mark.anyio

KEY = "canary-k3y+/=7f1c9a2e5b8d"
TOKEN = "canary-t0ken-4b6e8f0a1c3d"
CLIENT_KEY = "canary-cl1ent-9d8c7b6a5f4e"

CONFIG = """
server:
  port: 0
  token: {{$file: {folder}/token}}
plugins:
  - use: resilience
  - use: router
    options: {{models: {{"*": [up/m]}}}}
  - use: anthropic-compatible
    name: up
    options:
      base_url: {url}
      api_key: {{$file: {folder}/key}}
"""


def forms(secret):
    raw = secret.encode()
    return [
        secret,
        quote(secret, safe=""),
        base64.b64encode(raw).decode(),
        hashlib.sha256(raw).hexdigest(),
        secret[:14],
        secret[-8:],
    ]


def leaks(text, secrets=(KEY, TOKEN, CLIENT_KEY)):
    return [form for secret in secrets for form in forms(secret) if form in text]


def write(path, text):
    path.write_text(text)
    path.chmod(0o600)


async def exercise(url, upstream):
    """Valid and invalid requests to every route; returns all responses."""
    said = []
    headers = {
        "x-api-key": TOKEN,
        "content-type": "application/json",
        "authorization": f"Bearer {CLIENT_KEY}",
    }
    upstream.script(
        anthropic_error(401, "authentication_error", f"invalid key {KEY}"),
        anthropic_error(500, "api_error", "boom"),
    )
    async with httpx2.AsyncClient(trust_env=False, verify=False, timeout=20) as client:
        for path in ("messages", "messages/explain", "messages/count_tokens", "messages"):
            for body in (
                orjson.dumps(request_body()),
                orjson.dumps(request_body(stream=True)),
                b"{",
            ):
                answer = await client.post(f"{url}/v1/{path}", content=body, headers=headers)
                said.append(f"{dict(answer.headers)} {answer.text}")
        for path in ("/health", "/readyz", "/v1/models", "/v1/nothing", "/"):
            answer = await client.get(url + path, headers=headers)
            said.append(f"{dict(answer.headers)} {answer.text}")
        answer = await client.get(url + "/v1/models", headers={"x-api-key": KEY})
        said.append(answer.text)
    return "\n".join(said)


def processes(pid):
    found = ""
    for name in ("cmdline", "environ"):
        found += Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1")
    return found


async def test_no_secret_appears_anywhere(tmp_path):
    write(tmp_path / "key", KEY)
    write(tmp_path / "token", TOKEN)
    script = str(Path(sys.executable).with_name("plugway"))
    log = tmp_path / "log"
    async with ScriptedUpstream() as upstream:
        write(tmp_path / "config.yaml", CONFIG.format(folder=tmp_path, url=upstream.url))
        command = [
            script,
            "serve",
            "--config",
            str(tmp_path / "config.yaml"),
            "--log-level",
            "debug",
        ]
        with log.open("wb") as out:
            process = await anyio.open_process(
                command, stdout=out, stderr=out, env={**os.environ, "PLUGWAY_TRACE_HOOKS": "1"}
            )
        try:
            with anyio.fail_after(20):
                while "http://127.0.0.1:" not in log.read_text():
                    await anyio.sleep(0.05)
            port = log.read_text().partition("http://127.0.0.1:")[2].split()[0].rstrip("/")
            answers = await exercise(f"http://127.0.0.1:{port}", upstream)
            shown = processes(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            await process.wait()
        sent = [request.headers for request in upstream.requests]
    # The upstream echoed the key itself: its reply is relayed, so this is not the gateway's leak.
    assert any(KEY in value for lines in sent for _, value in lines), "the key reaches its upstream"
    assert not leaks(str(sent), (TOKEN, CLIENT_KEY))
    assert not leaks(log.read_text(errors="replace"))
    assert not leaks(shown)
    assert not leaks(answers, (TOKEN, CLIENT_KEY))
    assert not leaks(answers.replace(f"invalid key {KEY}", ""), (KEY,))


def test_a_configuration_error_shows_no_secret(tmp_path):
    write(
        tmp_path / "config.yaml",
        f"plugins:\n  - use: anthropic\n    options: {{api_key: '{KEY}', no: 1}}\n",
    )
    script = str(Path(sys.executable).with_name("plugway"))
    done = subprocess.run(
        [script, "check", "--config", str(tmp_path / "config.yaml")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert not leaks(done.stdout + done.stderr)
    assert "$env" in done.stdout + done.stderr


def test_the_log_redacts_text_that_looks_like_a_key(caplog):
    from plugway_log import redact

    logging.getLogger("x").warning("authorization: Bearer abc")
    assert "sk-ant-abcdef0123456789" not in redact("key sk-ant-abcdef0123456789 sent")

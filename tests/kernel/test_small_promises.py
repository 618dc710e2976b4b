"""Paths, states and words of the gateway that are small and were wrong once."""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from plugway import BackendProtocolError, BackendUnavailable, NoOptions, Plugin, Upstream, hookimpl
from plugway.cli.serve import Reloader, banner
from plugway.config.config import parse_config
from plugway.testing import ScriptedUpstream, gateway, request_body, respond
from plugway_log import TextFormatter

pytestmark = pytest.mark.anyio
PLUGWAY = str(Path(sys.executable).with_name("plugway"))


class Lists(Plugin[NoOptions]):
    zone = "local"

    @hookimpl
    def register_backends(self):
        return [self]

    async def send(self, request, attempt):
        raise AssertionError("never asked")

    async def count(self, request, attempt):
        return 1

    async def models(self):
        from plugway import ModelInfo

        return [ModelInfo("org/m")]


def backend():
    return Lists(NoOptions(), name="lists")


@pytest.mark.parametrize(
    "path", ["/health/", "/readyz/", "/v1/models/", "/v1/messages/", "/api/hello/"]
)
async def test_a_slash_at_the_end_is_another_path_and_no_redirect(path):
    async with gateway([backend()]) as running:
        answer = await running.client.get(path, follow_redirects=False)
    assert answer.status_code in (404, 405)
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/v1%2fmessages", "/v1%2Fmessages", "/v1%5cmessages", "/v1/messages%2fexplain", "/%2fv1/messages", "/v1%2fmessages%2fcount_tokens"],
)  # fmt: skip
async def test_a_slash_that_is_written_in_code_is_no_slash(path):
    async with gateway([backend()]) as running:
        answer = await running.post(request_body(), path)
    assert answer.status_code == 404
    assert answer.json()["error"]["type"] == "not_found_error"


async def test_the_id_of_a_model_may_be_written_in_code():
    async with gateway([backend()]) as running:
        found = await running.client.get("/v1/models/anthropic%2Flists%2Forg%2Fm")
    assert found.json()["id"] == "anthropic/lists/org/m"


async def test_readyz_and_health_say_that_a_changed_configuration_is_not_in_use():
    wrong = [True]

    def read():
        if wrong[0]:
            raise ValueError("a mistake")
        return parse_config("server: {token: test-token}\nplugins: []", "test")

    async with gateway([backend()]) as running:
        assert (await running.client.get("/readyz")).json() == {"status": "ready"}
        reload = Reloader(running.app, running.app.snapshot.config, read)
        with pytest.raises(ValueError, match="a mistake"):
            await reload()
        stale = await running.client.get("/readyz")
        assert (stale.status_code, stale.json()) == (200, {"status": "ready", "config_stale": True})
        assert (await running.client.get("/health")).json()["config_stale"] is True
        wrong[0] = False
        await reload()
        assert (await running.client.get("/readyz")).json() == {"status": "ready"}
        assert "config_stale" not in (await running.client.get("/health")).json()


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("plain-1", "plain-1"),
        ("a b", '"a b"'),
        ("x status=200 outcome=completed", '"x status=200 outcome=completed"'),
        ("a\nfake", '"a\\nfake"'),
        ('quoted "word"', '"quoted \\"word\\""'),
        ("a=b", '"a=b"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("x" * 1000, "x" * 400),
        (5, "5"),
    ],
)
def test_a_field_of_a_log_line_cannot_be_taken_for_another(value, written):
    record = logging.makeLogRecord({"name": "plugway", "msg": "said", "levelname": "INFO"})
    record.session_id = value
    (line,) = TextFormatter().format(record).split("\n")
    assert f" session_id={written}" in line or f' session_id="{written}' in line
    if value != "plain-1" and isinstance(value, str):
        assert line.endswith('"')


@pytest.mark.parametrize("status", [300, 304, 305, 306])
async def test_an_upstream_that_answers_without_an_answer_is_told_as_that(status):
    async with (
        ScriptedUpstream(otherwise=lambda _: respond(status)) as server,
        Upstream(server.url) as upstream,
    ):
        with pytest.raises(BackendProtocolError, match=f"status {status} "):
            await upstream.request("POST", "/", body=b"{}")


async def test_a_server_that_never_answers_in_tls_is_told_as_that():
    async def silent(reader, writer):
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        async with Upstream(f"https://127.0.0.1:{port}", connect_seconds=0.2) as upstream:
            with pytest.raises(BackendUnavailable, match="in the TLS handshake"):
                await upstream.request("GET", "/")
    finally:
        listener.close()
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("host", "url", "said"),
    [
        ("127.0.0.1", "http://127.0.0.1:8484", "listens on http://127.0.0.1:8484\n"),
        (
            "0.0.0.0",
            "http://127.0.0.1:8484",
            "and on every other address of this machine (0.0.0.0)",
        ),
        ("::", "http://[::1]:8484", "and on every other address of this machine (::)"),
    ],
)
def test_the_banner_says_where_it_really_listens(host, url, said):
    text = f"server: {{token: {'t' * 32}, host: '{host}', behind_tls: true}}\nplugins: []"
    assert said in banner(parse_config(text, "test"), "1", url)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_log_ends_no_command_in_silence(tmp_path, unbuffered):
    missing = tmp_path / "none.yaml"
    missing.write_text("server: {port: 0}\nplugins: [{use: nothing-like-it}]\n")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [PLUGWAY, "check", "--config", str(missing)],
            stderr=full,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            timeout=60,
            check=False,
        )
    assert done.returncode == 2, "the status still says what is wrong"


def test_check_tells_what_else_is_wrong_beside_a_name_that_stands_twice(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        "plugins:\n  - use: echo\n  - use: echo\n"
        "  - use: router\n    options: {models: {default: [nobody/m]}}\n"
    )
    command = [PLUGWAY, "check", "--config", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "the name `echo` is already used" in done.stderr
    assert "nobody" in done.stderr
    assert "already registered" not in done.stderr

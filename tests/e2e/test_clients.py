"""Clients as users install them, each through the gateway to servers of four APIs: they write a file,
run a command, and read its output."""

from __future__ import annotations

import logging
import re

import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import StrictUpstream, build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_gemini import Gemini
from plugway_gemini_api import GeminiApi
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_router import Router
from tests.e2e.client_packages import installed
from tests.e2e.clients import CLIENTS, PAGE, run
from tests.e2e.scripted_model import CONTENT, FILE, FINAL, PRINTED, ScriptedModel
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(400)]

SERVERS = {
    "Messages": ("anthropic", Anthropic, "claude-sonnet-4-5", {}),
    "Chat": ("chat", OpenAI, "gpt-5", {"api": "chat"}),
    "Responses": ("responses", OpenAI, "gpt-5", {}),
    "Gemini": ("gemini", Gemini, "gemini-3-pro", {}),
}
"""By API: its name in the kit, and the vendor's backend with one of its models."""


class Ends(Plugin[NoOptions]):
    """Keeps the outcomes and receipts of exchanges."""

    found: list

    @hookimpl
    async def finished(self, exchange, outcome):
        lines = [f"{entry.stage} {entry.plugin}: {entry.what}" for entry in exchange.receipt]
        self.found.append((exchange.endpoint, outcome, lines, exchange.attempts))


def stack(api, url):
    _, backend, model, options = SERVERS[api]
    return [
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(GeminiApi, "gemini-api"),
        *(plugin for plugin in shipped() if not isinstance(plugin, Router)),
        build_plugin(Router, "router", models={"*": [f"up/{model}"]}),
        build_plugin(backend, "up", base_url=url, api_key="k", **options),
    ]


@pytest.mark.parametrize("api", SERVERS)
@pytest.mark.parametrize("client", CLIENTS, ids=[client.title for client in CLIENTS])
async def test_a_client_writes_a_file_runs_a_command_and_reads_its_output(
    client, api, tmp_path, caplog
):
    caplog.set_level("INFO")
    installed(tuple(client.packages))  # skips here, outside of any task group
    for name in ("home", "project"):
        (tmp_path / name).mkdir()
    model = ScriptedModel(
        str(tmp_path / "project"), client.writes, client.runs, client.ends, client.mark,
        edits=client.edits,
    )  # fmt: skip
    ends = build_plugin(Ends, "ends")
    ends.found = []
    async with (
        StrictUpstream(SERVERS[api][0], otherwise=model) as upstream,
        gateway([*stack(api, upstream.url), ends]) as running,
    ):
        name = f"anthropic/up/{SERVERS[api][2]}"
        answer = await run(client, tmp_path, running.url, running.token, name)
    print(answer.out[-3000:], answer.err[-3000:], *ends.found, *upstream.refused, sep="\n")
    assert [r for r in upstream.refused if not any(p in r for p in client.teaches)] == []
    assert model.problems == []
    assert answer.code == 0
    written = tmp_path / "project" / FILE
    assert written.exists()
    assert written.read_text() == CONTENT
    assert PRINTED in model.asked[-1].results[1]
    assert FINAL in answer.out
    failed = [end[1] for end in ends.found if (end[1].kind, end[1].status) != ("completed", 200)]
    assert [f for f in failed if not any(p in f.error for p in client.may_refuse)] == []
    assert all(len(end[3]) <= 1 for end in ends.found)
    warned = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert [w for w in warned if not any(re.search(p, w) for p in client.warnings)] == []


@pytest.mark.parametrize("client", CLIENTS, ids=[client.title for client in CLIENTS])
def test_the_page_shows_the_commands_that_the_test_ran(client):
    """Files and variables are taken from the page; lines of a program are in it unchanged."""
    version = re.split("==|@", client.packages[0])[-1]
    row = f"| [{client.title.partition(',')[0]}]("
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith(row)]
    assert len(rows) == 1
    assert f" | {version} | " in rows[0]
    program = client.program()
    assert client.files() or client.exports() or program
    if program:
        text = program.read_text()
        assert client.code()
        assert [line for line in client.code().splitlines() if line not in text] == []

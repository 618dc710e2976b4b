"""Real agents with models of every family: a file is written, a command makes another of it, and that one
is read back, by calls as each family writes them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router
from plugway_toolcalls import FAMILIES, Family, write_call
from plugway_toolcalls.marks import SEARCHED
from tests.e2e import claude
from tests.e2e.clients import CLIENTS, run
from tests.e2e.family_model import FamilyModel
from tests.e2e.scripted_model import CONTENT, FILE, FINAL, PRINTED, Step
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(200)]

LOUD, WRONG = "loud.txt", "wrong.txt"
COMMAND = f"tr a-z A-Z < {FILE} > {LOUD}"


@dataclass(frozen=True)
class Tools:
    """Three tools of a client, each with the argument that matters."""

    write: str
    run: str
    read: str
    path: str

    def steps(self, folder: str, content: str) -> dict[str, Any]:
        """The three steps, with a file of that content."""
        return {
            "writes": [Step(self.write, {"content": content})],
            "runs": [Step(self.run, {"command": COMMAND})],
            "reads": [Step(self.read, {self.path: f"{folder}/{LOUD}"})],
        }


CLAUDE = Tools("Write", "Bash", "Read", "file_path")
OTHERS = {
    "opencode": Tools("write", "bash", "read", "filePath"),
    "Qwen Code": Tools("write_file", "run_shell_command", "read_file", "file_path"),
}


class Ends(Plugin[NoOptions]):
    """Keeps how exchanges ended and what their receipts say."""

    found: list

    @hookimpl
    async def finished(self, exchange, outcome):
        lines = [f"{entry.stage} {entry.plugin}: {entry.what}" for entry in exchange.receipt]
        self.found.append((exchange.endpoint, outcome, lines))


def content_for(family: Family, tools: Tools) -> str:
    """A file that holds an example of a call, as a page about this family does."""
    example = write_call(family, tools.run, {"command": f"touch {WRONG}"})
    return f"{CONTENT}{example}\n"


EVERY = [(family, how) for how in ("native", "text") for family in FAMILIES]
EVERY = [(family, how) for family, how in EVERY if how == "native" or family in SEARCHED]
EVERY_ID = [f"{family.name}-{how}" for family, how in EVERY]


async def three_steps(family, how, client, tools, tmp_path):
    project = tmp_path / "project"
    content = content_for(family, tools)
    model = FamilyModel(
        str(project),
        **tools.steps(str(project), content),
        family=family,
        parsed=how == "native",
        chance=random.Random(f"{family.name} {how}"),
    )
    ends = build_plugin(Ends, "ends")
    ends.found = []
    async with ScriptedUpstream(otherwise=model) as upstream:
        stack = [
            build_plugin(OpenAIApi, "openai-api"),
            *(plugin for plugin in shipped() if not isinstance(plugin, Router)),
            build_plugin(Router, "router", models={"*": ["up/m"]}),
            build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1", zone="vendor"),
            ends,
        ]
        async with gateway(stack) as running:
            answer = await client(running)
    print(answer.out[-3000:], answer.err[-3000:], *ends.found, sep="\n")
    print(*(asked.results for asked in model.asked), sep="\n")
    assert model.problems == []
    assert answer.code == 0
    assert (project / FILE).read_text() == content
    assert PRINTED in (project / LOUD).read_text()
    assert not (project / WRONG).exists()
    assert PRINTED in model.asked[-1].results[2]
    assert len(model.asked) == 4
    assert FINAL in answer.out
    assert all((e[1].kind, e[1].status) == ("completed", 200) for e in ends.found)


@pytest.mark.parametrize(("family", "how"), EVERY, ids=EVERY_ID)
async def test_claude_code_takes_three_steps(family, how, tmp_path):
    async def client(running):
        agent = claude.Claude(tmp_path, running.url, running.token, "m")
        allowed = ("--permission-mode", "acceptEdits", "--allowedTools", "Bash")
        return await agent.run("-p", "Write, run, read.", *allowed)

    await three_steps(family, how, client, CLAUDE, tmp_path)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("family", "how"), EVERY, ids=EVERY_ID)
async def test_another_client_takes_three_steps(family, how, name, tmp_path):
    (found,) = [client for client in CLIENTS if client.title == f"{name}, Chat"]
    for folder in ("home", "project"):
        (tmp_path / folder).mkdir()

    async def client(running):
        return await run(found, tmp_path, running.url, running.token, "m")

    await three_steps(family, how, client, OTHERS[name], tmp_path)

"""`curl` with one question and one header, against real MCP servers and a real engine; slow."""

import asyncio
import gc
import json
import random
import re
import shutil
import subprocess
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from belt_world import BACKENDS, MAKER, ON, asking, last_result, said, world
from mounted import faulty

from plugins.mcp.tests.test_real_servers import added, served
from plugway.testing import LeakCheck, build_plugin, respond
from plugway_llama_cpp import LlamaCpp
from plugway_mcp import Mcp
from plugway_openai_wire.testing import chat_message
from plugway_switch import Switch

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(600)]
CACHE = Path.home() / ".cache/plugway-build/mcp-servers"
SERVER = "@modelcontextprotocol/server-filesystem"
CLIENTS = ("messages", "chat", "responses", "gemini")


@pytest.fixture(scope="session")
def files_server():
    """The program of the real server for files."""
    program = CACHE / "node_modules" / SERVER / "dist/index.js"
    if not program.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", f"{SERVER}@2026.8.31"]
        subprocess.run(install, cwd=CACHE, check=True, capture_output=True)
    return program


def mounted(program, folder):
    server = {
        "preset": "files",
        "command": "node",
        "args": [str(program), "{roots}"],
        "roots": [str(folder)],
        "allow": ["read", "write"],
    }
    return [build_plugin(Switch, "switch"), build_plugin(Mcp, "mcp", servers={"files": server})]


async def curl(running, client, *, stream, text="Make hello.txt and read it"):
    """The answer to one question."""
    path, body = asking(client, text, stream=stream)
    headers = {"content-type": "application/json", "authorization": f"Bearer {running.token}", **ON}
    lines = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sS", "--fail-with-body", "--max-time", "120", "--noproxy", "*"),
        *(*lines, "-d", json.dumps(body), f"{running.url}{path}"),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out
    return out


@pytest.mark.parametrize("backend", BACKENDS)
async def test_curl_makes_a_file_and_reads_it_back_with_a_real_server(
    tmp_path, files_server, backend
):
    turns = [
        (text, [(name, {**given, "path": str(tmp_path / given["path"])}) for name, given in calls])
        for text, calls in MAKER
    ]
    plugins = mounted(files_server, tmp_path)
    async with world(None, backend, *turns, holder=False, beside=plugins) as found:
        for client in CLIENTS:
            for stream in (False, True):
                found.model.asked.clear()
                (tmp_path / "hello.txt").unlink(missing_ok=True)
                raw = await curl(found.running, client, stream=stream)
                text, calls = said(client, raw, stream=stream)
                assert text == "I write.The file says: hi there"
                assert not calls
                assert (tmp_path / "hello.txt").read_text() == "hi there"
                assert len(found.model.asked) == 3


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_real_engine_makes_the_file_and_shows_it(tmp_path, client, stream, monkeypatch):
    """The demo model knows tools by these names only."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "notes"
    folder.mkdir()
    grants = ({"tools": ["*_file"], "effects": ["read", "write"]},)

    def engine(url):
        return build_plugin(LlamaCpp, "up", model="demo", temperature=0, context=8192)

    async with world(folder, engine, grants=grants, route="up/demo") as found:
        found.files.names = ("write_file", "read_file")
        words = "create hello.txt with the text hi"
        raw = await curl(found.running, client, stream=stream, text=words)
        made = said(client, raw, stream=stream)
        raw = await curl(found.running, client, stream=stream, text="show me hello.txt")
        shown = said(client, raw, stream=stream)
    assert (folder / "hello.txt").read_text() == "hi"
    assert [call.name for call in found.files.ran] == ["write_file", "read_file"]
    assert made[0]
    assert "hi" in shown[0]
    assert not made[1]
    assert not shown[1]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
async def test_curl_drives_a_browser_that_fills_a_form(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(CACHE.parent / "mcp"))
    site = served()
    options = await added(tmp_path, "browser", "--own-address", site.place)
    plugins = [build_plugin(Switch, "switch"), build_plugin(Mcp, "mcp", **options)]
    names = ["browser_*"]
    grants = ({"tools": names, "effects": ["read", "run"], "trust": names},)

    def model(request):
        """Opens the page, fills the form that it sees, sends it, and says what it reads."""
        if not request.body:
            return respond(404, {})
        seen = str(last_result(request.json))
        asked.append(request.json)
        box, button = (
            re.search(rf'{kind} "{name}".*?\[ref=(\w+)\]', seen)
            for kind, name in (("textbox", "Name"), ("button", "Send"))
        )
        look = ("browser_snapshot", {})
        steps = [
            lambda: ("browser_navigate", {"url": f"{site.url}/"}),
            lambda: look,
            lambda: ("browser_type", {"target": box[1], "element": "Name", "text": "Ada"}),
            lambda: look,
            lambda: ("find_tools", {"query": "click a button"}),
            lambda: look,
            lambda: ("browser_click", {"target": button[1], "element": "Send"}),
            lambda: look,
        ]
        step = len(asked) - 1
        if step == 4 and "browser_click" in str(request.json["tools"]):
            asked.append(request.json)  # it need not be looked for
            step = 5
        if step < len(steps):
            name, given = steps[step]()
            return respond(
                200, chat_message("", tool_calls=[(f"c{step}", name, json.dumps(given))])
            )
        return respond(200, chat_message(f"The page says {'Hello Ada' in seen}"))

    asked = []
    try:
        async with world(None, "chat", grants=grants, holder=False, beside=plugins) as found:
            found.model.answer = model
            words = f"Open {site.url} in the browser, fill in the form and send it"
            raw = await curl(found.running, "chat", stream=False, text=words)
    finally:
        site.shutdown()
        site.server_close()
    assert said("chat", raw, stream=False) == ("The page says True", False)
    assert "/done?name=Ada" in site.seen


ACTS = (
    "echo",
    "crash",
    "hang",
    "big",
    "noise",
    "fail",
    "change",
    "wrong",
    "exit",
    "image",
    "nothing",
)


async def test_a_thousand_loops_with_broken_servers_leave_nothing_behind(tmp_path):
    """Servers that crash, hang, answer 10 MB, change their list or print to stdout: each failure is
    a result, each loop ends with the model's answer, and a part of the clients leave."""
    await _loops(tmp_path, 200)  # what is loaded once
    await asyncio.gather(
        *(anyio.to_thread.run_sync(threading.Event().wait, 0.1) for _ in range(40))
    )
    gc.collect()
    objects = len(gc.get_objects())
    # The large results alone are ten times that.
    async with LeakCheck(settle=20, rss_slack=96 * 2**20):
        answered = await _loops(tmp_path, 1000)
    gc.collect()
    assert len(gc.get_objects()) - objects < 5000
    assert answered > 850


async def _loops(folder, count):
    """So many loops, eight at a time; returns how many were answered."""
    chance = random.Random(4)
    options = faulty(folder / "state", timeout_seconds=0.5, result_characters=10_000)
    servers = {"x": options, "y": faulty(timeout_seconds=0.5)}
    mcp = [build_plugin(Switch, "switch"), build_plugin(Mcp, "mcp", servers=servers)]
    grants = ({"tools": ["*"], "effects": ["read", "write", "run"], "trust": ["*"]},)

    async def one(found, number):
        name, server = chance.choice(ACTS), chance.choice("xy")
        given = {"text": "10000000" if name == "big" else "x"}
        calls = [(f"{server}_{name}", given), (f"{server}_echo", {"text": "ok"})]
        found.model.turns_of[f"question {number}"] = [("", calls), ("Done {result}", [])]
        asked = asyncio.ensure_future(found.post(text=f"question {number}", stream=number % 2 == 0))
        if number % 10 == 0:
            await asyncio.sleep(chance.random() * 0.2)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            return 0
        answer = await asked
        assert answer.status_code == 200, answer.text
        assert "Done" in answer.text
        return 1

    async def many(found, numbers):
        return sum([await one(found, number) for number in numbers])

    # One plugin always has tools; those of a server that failed too often are missing for a while.
    repair = {"native_zones": ["vendor"]}
    async with world(None, "messages", ("", []), grants=grants, beside=mcp, repair=repair) as found:
        parts = [many(found, range(part, count, 8)) for part in range(8)]
        return sum(await asyncio.gather(*parts))

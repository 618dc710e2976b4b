"""The well-known servers, added as a user does, and called through `/mcp`; and a thousand calls of a
faulty one. They are downloaded once, by npx and pip."""

import functools
import re
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import anyio
import anyio.to_thread
import psutil
import pytest
from typer.testing import CliRunner

from plugins.mcp.tests.mounted import faulty, mounts
from plugins.mcp.tests.shape import client_of
from plugway import LocalGateway
from plugway.testing import LeakCheck, build_plugin, gateway
from plugway_mcp import Mcp, _commands, _connection, _pool

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.real,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("npx") is None, reason="needs Node.js"),
]
FORM = b"""<title>A form</title><form action=/done>
<label>Name <input name=name></label><button>Send</button></form>"""


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    data = Path.home() / ".cache/plugway-build/mcp"  # what is installed once is used again
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    (data / "plugway" / "memory.jsonl").unlink(missing_ok=True)


async def added(tmp_path, *words):
    """The options of servers that `plugway mcp add` writes."""
    return await anyio.to_thread.run_sync(add, tmp_path, words)


def add(tmp_path, words):
    config = tmp_path / "config.yaml"
    if not config.exists():
        config.write_text("plugins:\n  - use: echo\n")
    result = CliRunner().invoke(
        _commands.mcp_app, ["add", "--config", str(config), "--yes", *words]
    )
    assert result.exit_code == 0, result.output
    entries = [e for e in LocalGateway.find(config).plugins() if e.use == "mcp"]
    return dict(entries[0].options)


def serving(options):
    return gateway([build_plugin(Mcp, "mcp", **options)])


async def call(session, name, **arguments):
    result = await session.call_tool(name, arguments)
    text = "\n".join(c.text for c in result.content if c.type == "text")
    return f"! {text}" if result.is_error else text


async def test_files_git_memory_and_time_work_through_the_gateway(tmp_path):
    repository = tmp_path / "repository"
    repository.mkdir()
    git = functools.partial(subprocess.run, cwd=repository, check=True, capture_output=True)
    git(["git", "init", "-q"])
    (repository / "a.txt").write_text("first words\n")
    notes = tmp_path / "notes"
    notes.mkdir()
    allow = ("--allow", "read", "--allow", "write")
    await added(tmp_path, "files", *allow, "--root", str(notes))
    await added(tmp_path, "git", "--root", str(repository))
    options = await added(tmp_path, "memory", "time", *allow)
    async with serving(options) as gate, client_of(gate) as session:
        names = {tool.name for tool in (await session.list_tools()).tools}
        assert {"files_write_file", "git_status", "memory_create_entities"} <= names
        assert "git_commit" not in names
        path = str(notes / "new.txt")
        await call(session, "files_write_file", path=path, content="hello\n\tworld")
        assert "hello" in await call(session, "files_read_text_file", path=path)
        outside = await call(session, "files_read_text_file", path="/etc/passwd")
        assert outside.startswith("!")
        assert "a.txt" in await call(session, "git_status", repo_path=str(repository))
        other = await call(session, "git_status", repo_path=str(tmp_path))
        assert other.startswith("!")
        entity = {"name": "Ada", "entityType": "person", "observations": ["likes engines"]}
        await call(session, "memory_create_entities", entities=[entity])
        assert "likes engines" in await call(session, "memory_read_graph")
        now = await call(session, "time_get_current_time", timezone="Europe/Vienna")
        assert "Europe/Vienna" in now


async def test_folders_of_a_request_confine_the_files(tmp_path):
    inner = tmp_path / "own" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "own" / "secret.txt").write_text("secret")
    options = await added(tmp_path, "files", "--root", str(tmp_path / "own"))
    async with serving(options) as gate:
        mounted = await gate.app.snapshot.plugins[0]._mounted.get()
        path = {"path": str(tmp_path / "own" / "secret.txt")}
        assert "secret" in (await mounted.run("files_read_text_file", path)).text
        narrowed = await mounted.run("files_read_text_file", path, roots=[inner])
        assert narrowed.is_error
        assert mounted.pools["files"].processes == 2


async def test_private_addresses_are_not_fetched(tmp_path, site):
    options = await added(tmp_path, "fetch")
    async with serving(options) as gate, client_of(gate) as session:
        for url in (site.url, f"{site.url}/away", "http://169.254.169.254/latest"):
            assert (await call(session, "fetch", url=url)).startswith("!")
    assert site.seen == []


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        asked = parse_qs(urlparse(self.path).query)
        if self.path.startswith("/away"):
            self.send_response(302)
            self.send_header("location", self.server.elsewhere)
            self.end_headers()
            return
        body = FORM if "name" not in asked else f"<p>Hello {asked['name'][0]}".encode()
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def served():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    server.seen, server.place = [], f"127.0.0.1:{server.server_port}"
    server.url = f"http://{server.place}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture
def site():
    ours, other = served(), served()
    ours.elsewhere, ours.other = f"{other.url}/private", other
    yield ours
    for server in (ours, other):
        server.shutdown()
        server.server_close()


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs Chromium")
async def test_the_browser_fills_a_form_and_reaches_no_other_address_here(tmp_path, site):
    options = await added(tmp_path, "browser", "--own-address", site.place)
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    async with serving(options) as gate, client_of(gate) as session:
        await call(session, "browser_navigate", url=f"{site.url}/")
        page = await call(session, "browser_snapshot")
        box = re.search(r'textbox "Name".*?\[ref=(\w+)\]', page)[1]
        button = re.search(r'button "Send".*?\[ref=(\w+)\]', page)[1]
        await call(session, "browser_type", target=box, element="Name", text="Ada")
        await call(session, "browser_click", target=button, element="Send")
        assert "Hello Ada" in await call(session, "browser_snapshot")
        shot = await session.call_tool("browser_take_screenshot", {})
        assert [c.mime_type for c in shot.content if c.type == "image"] == ["image/png"]
        for url in (f"{site.url}/away", site.other.url, "http://localhost:8080/", "http://[::1]/"):
            told = await call(session, "browser_navigate", url=url)
            assert "403" in told, told
        assert "!" in await call(session, "browser_navigate", url="file:///etc/passwd")
        code = {"code": "async page => 1"}
        assert "not allowed" in await call(session, "browser_run_code_unsafe", **code)
    assert site.other.seen == []
    after = psutil.Process().children(recursive=True)
    assert {p.pid for p in after if p.status() != psutil.STATUS_ZOMBIE} <= before


async def test_a_thousand_calls_of_faulty_servers_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(_connection, "GRACE_SECONDS", 0.05)
    monkeypatch.setattr(_pool, "MAX_PAUSE", 0)
    tools = ("echo", "crash", "hang", "noise", "big", "exit", "change", "fork", "asks", "wrong")
    done = {}

    async def some(mounted, number):
        for turn in range(number, 1000, 10):
            tool = tools[(turn // 10 + number) % len(tools)]
            text = "10000000" if tool == "big" else "text"
            result = await mounted.run(f"{'xyz'[turn % 3]}_{tool}", {"text": text})
            assert result.text, tool
            done[turn] = result

    servers = {name: faulty(timeout_seconds=2, result_characters=1000) for name in "xyz"}
    async with mounts(tmp_path, **servers) as mounted:
        async with anyio.create_task_group() as group:  # threads, which are used again
            for number in range(10):
                group.start_soon(some, mounted, 900 + number)
        for pool in mounted.pools.values():
            pool.stop()
        async with LeakCheck(settle=20, rss_slack=48 * 2**20) as leaks:
            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(some, mounted, number)
            for pool in mounted.pools.values():
                pool.stop()
            await leaks.settle()
    assert len(done) == 1000
    assert sum(not result.is_error for result in done.values()) > 200

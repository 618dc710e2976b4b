"""What ended is shown: as data, in the terminal, and in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest
from going import logs_of
from typer.testing import CliRunner

from plugway import LocalGateway, NoOptions, Plugin, PlugwayError
from plugway.testing import FeatureContract, build_plugin, gateway, request_body
from plugway_dashboard import Dashboard, _commands, logs_app
from plugway_echo import Echo
from plugway_local_models.fitting import advise, described_machine
from plugway_local_models.sizing import GIB
from plugway_openai_api import OpenAIApi

pytestmark = pytest.mark.anyio
PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")
CHROMIUM = shutil.which("chromium")


class TestContract(FeatureContract):
    plugin = Dashboard


PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]


async def as_phone(running, **fields):
    """Ask with a limited token, in a session that is named like another's."""
    headers = {"authorization": "Bearer phone-token", "x-claude-code-session-id": "5d6b0b04-1"}
    answer = await running.client.post("/v1/messages", json=request_body(**fields), headers=headers)
    assert answer.status_code == 200


def stack(**options):
    return [build_plugin(Dashboard, "dashboard", **options), build_plugin(Echo, "echo")]


async def kept(running, after=0):
    return (await running.client.get(f"/dashboard/exchanges?after={after}")).json()


async def test_an_exchange_is_kept_with_its_receipt_and_without_its_content():
    async with gateway(stack()) as running:
        await running.ask("a very secret thing", model="echo/one")
        await running.stream("another", model="echo/two")
        document = await kept(running)
    first, second = document["exchanges"]
    assert document["last"] == second["number"] > first["number"]
    assert (first["model_asked"], first["served_by"], first["outcome"]) == (
        "echo/one",
        "echo/one",
        "completed",
    )
    assert first["status"] == 200
    assert first["usage"]["output"] > 0
    assert [entry["stage"] for entry in first["receipt"]] == ["route"]
    assert "very secret" not in json.dumps(document)


async def test_what_failed_is_kept_with_its_reason():
    async with gateway(
        [build_plugin(Dashboard, "dashboard"), *stack()[1:], build_plugin(Echo, "two")]
    ) as running:
        await running.post(
            {"model": "nowhere/x", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        )
        (item,) = (await kept(running))["exchanges"]
    assert item["outcome"] == "rejected"
    assert item["status"] == 404
    assert "nowhere" in item["error"]


async def test_only_so_many_are_kept_and_only_the_newer_ones_are_told():
    async with gateway(stack(remember=3)) as running:
        for number in range(5):
            await running.ask("x", model=f"echo/{number}")
        found = (await kept(running))["exchanges"]
        assert [item["model_asked"] for item in found] == ["echo/2", "echo/3", "echo/4"]
        assert (await kept(running, found[1]["number"]))["exchanges"] == found[2:]
        assert len((await kept(running, "-1"))["exchanges"]) == 3


async def test_many_are_told_in_parts_without_a_gap():
    async with gateway(stack()) as running:
        for number in range(5):
            await running.ask("x", model=f"echo/{number}")
        parts, after = [], 0
        while True:
            answer = await running.client.get(f"/dashboard/exchanges?after={after}&limit=2")
            document = answer.json()
            parts.append([item["model_asked"][-1] for item in document["exchanges"]])
            after = document["last"]
            if not document["more"]:
                break
    assert parts == [["0", "1"], ["2", "3"], ["4"]]


async def test_a_limited_caller_cannot_count_the_exchanges_of_others():
    async with gateway(stack(), tokens=PHONE) as running:
        await as_phone(running, model="echo/mine")
        headers = {"authorization": "Bearer phone-token"}
        get = running.client.get
        before = (await get("/dashboard/exchanges", headers=headers)).json()
        for _ in range(3):
            await running.ask("x", model="echo/other")
        assert (await get("/dashboard/exchanges", headers=headers)).json() == before
        after = {"after": before["last"], "limit": 1}
        rest = (await get("/dashboard/exchanges", headers=headers, params=after)).json()
        assert (rest["exchanges"], rest["more"], rest["last"]) == ([], False, before["last"])
        await as_phone(running, model="echo/mine")
        both = (await get("/dashboard/exchanges", headers=headers)).json()["exchanges"]
        assert both[1]["number"] - both[0]["number"] > 100, "microseconds, not a count"


async def test_the_page_needs_no_token_and_the_data_does():
    async with gateway(stack()) as running:
        no_token = {"authorization": "", "accept": "text/html,*/*"}
        page = await running.client.get("/", headers=no_token)
        data = await running.client.get("/dashboard/exchanges", headers=no_token)
        probe = await running.client.head("/")
        plain = await running.client.get("/", headers={"accept": "*/*"})
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"https?://|src=|innerHTML", page.text)
    assert data.status_code == 401
    assert probe.status_code == 200
    assert plain.json() == {"status": "ok"}


class Explains(Plugin[NoOptions]):
    """Knows what every exchange read from its cache."""

    def cache_of(self, request_id):
        line = "5 of 9 prompt tokens were read from the cache, 4 more could have been"
        counts = {"total": 9, "read": 5, "missed": 4, "dollars": 0.5}
        return {"line": line, "miss": True, "cause": "changed", "why": request_id, **counts}


async def test_what_was_read_from_the_cache_is_shown_with_the_exchange():
    explains = Explains(NoOptions(), name="explains")
    async with gateway([explains, *stack()]) as running:
        await running.ask("x", model="echo/one")
        document = await kept(running)
        with_cache = await logs_of(running, "--cache")
        without = await logs_of(running)
    (item,) = document["exchanges"]
    assert item["cache"]["why"] == item["request_id"]
    assert "cache: 5 of 9 prompt tokens were read from the cache, 4 more could" in with_cache
    total = "5 of 9 prompt tokens were read from caches (56%); 1 miss with 4 tokens, $0.50: "
    assert with_cache.splitlines()[-1] == f"{total}1 changed"
    assert "cache" not in without.replace("cached", "")


async def test_without_an_explanation_the_cache_is_said_to_be_unknown():
    async with gateway(stack()) as running:
        await running.ask("x", model="echo/one")
        assert "cache: unknown; `cache-watch` explains" in await logs_of(running, "--cache")


@pytest.mark.parametrize(
    ("history", "printed"), [(None, ["one", "two", "new1", "new2"]), (30, ["one", "two", "new2"])]
)
def test_following_misses_nothing_of_a_gateway_that_was_soon_as_far(monkeypatch, history, printed):
    """Numbers start again after a restart, except with a history."""

    def told(book, *names, after=0):
        items = [{"request_id": name, "outcome": "completed"} for name in names]
        found = {"last": max(len(items), 2), "running": [], "exchanges": items[after:]}
        return {**found, "book": book, "history_days": history}

    class Gateway:
        asked = 0

        def ask(self, _method, path):
            self.asked += 1
            after = int(path.rpartition("=")[2])
            if self.asked == 1:
                return told("a", "one", "two")
            if self.asked > 4:
                raise KeyboardInterrupt
            return told(
                "b", "new1", "old" if history else "new2", *(["new2"] * bool(history)), after=after
            )

    monkeypatch.setattr(_commands, "_EVERY_SECONDS", 0)
    monkeypatch.setattr(LocalGateway, "find", lambda *_: Gateway())
    done = CliRunner().invoke(logs_app, ["--follow", "--json"])
    assert [json.loads(line)["request_id"] for line in done.stdout.splitlines()] == printed


def test_following_goes_on_when_the_gateway_is_away_and_comes_back(monkeypatch):
    away = PlugwayError("no gateway answers at http://127.0.0.1:1: run `plugway serve`")
    one = {"request_id": "one", "number": 7, "outcome": "completed"}
    other = {"request_id": "other", "number": 1, "outcome": "completed"}
    nothing = {"last": 7, "exchanges": [], "running": []}
    restarted = {"last": 1, "exchanges": [], "running": []}
    steps = [
        {**nothing, "exchanges": [one]},
        *(nothing, away, away, away, nothing, away),
        *(restarted, {**restarted, "exchanges": [other]}),
    ]

    class Gateway:
        def ask(self, *_):
            found = steps.pop(0) if steps else KeyboardInterrupt()
            if isinstance(found, BaseException):
                raise found
            return found

    monkeypatch.setattr(_commands, "_EVERY_SECONDS", 0)
    monkeypatch.setattr(LocalGateway, "find", lambda *_: Gateway())
    done = CliRunner().invoke(logs_app, ["--follow", "--json"])
    assert done.exit_code == 0
    printed = [json.loads(line)["request_id"] for line in done.stdout.splitlines()]
    assert printed == ["one", "other"]
    assert done.stderr.splitlines() == [f"{away}; waiting for it"] * 2


async def test_the_terminal_shows_the_same(tmp_path):
    async with gateway(stack(), tokens=PHONE) as running:
        await running.ask("x", model="echo/one")
        await as_phone(running, model="echo/two")
        path = tmp_path / "config.yaml"
        path.write_text(f"server: {{port: {running.port}, token: {{$env: T}}}}\nplugins: []\n")
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "T": running.token}

        def run(*words):
            return subprocess.run(
                [PLUGWAY, *words, "--config", str(path)],
                capture_output=True,
                text=True,
                env=env,
                timeout=30,
            )

        import anyio.to_thread

        plain = await anyio.to_thread.run_sync(lambda: run("logs", "--receipts"))
        as_json = await anyio.to_thread.run_sync(lambda: run("logs", "--json", "-n", "1"))
        none = await anyio.to_thread.run_sync(lambda: run("logs", "--failed"))
        page = await anyio.to_thread.run_sync(lambda: run("ui", "--no-browser"))
    assert "200 completed  echo/one -> echo/one" in plain.stdout
    assert "kernel: " in plain.stdout
    first, second = (line for line in plain.stdout.splitlines() if "200 completed" in line)
    assert first.endswith("  caller owner")
    assert second.endswith("  caller phone")
    assert "phone-token" not in plain.stdout + as_json.stdout
    assert json.loads(as_json.stdout)["caller"] == "phone"
    assert (none.stdout, none.returncode) == ("", 0)
    assert page.stdout == f"{running.url}/\n"
    assert running.token not in page.stdout + page.stderr


async def test_a_gateway_without_the_plugin_says_how_to_add_it(tmp_path):
    import anyio.to_thread

    async with gateway(stack()[1:]) as running:
        path = tmp_path / "config.yaml"
        path.write_text(f"server: {{port: {running.port}, token: {{$env: T}}}}\nplugins: []\n")
        env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "T": running.token}
        words = [PLUGWAY, "logs", "--config", str(path)]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(words, capture_output=True, text=True, env=env, timeout=30)
        )
    assert done.returncode == 1
    assert f"add `- use: dashboard` to {path}" in done.stderr


@pytest.mark.parametrize(
    ("used", "fix"),
    [("/own.yaml", "add `- use: dashboard` to /own.yaml"), (None, "`plugway config example > ")],
)
def test_the_file_that_the_gateway_runs_on_is_named_or_how_to_get_one(monkeypatch, used, fix):
    found = LocalGateway.find(port=1)
    refusal = PlugwayError("GET /x is not served here")
    monkeypatch.setattr(LocalGateway, "ask", lambda *_: (_ for _ in ()).throw(refusal))
    monkeypatch.setattr(LocalGateway, "state", lambda _: {"config": used})
    monkeypatch.setattr(LocalGateway, "find", lambda *_, **__: replace(found, configured=False))
    done = CliRunner().invoke(logs_app)
    assert fix in str(done.exception)


@pytest.fixture
def small_machine(monkeypatch):
    """A machine of 8 GiB without a card, and without models."""
    machine = described_machine(8 * GIB)
    monkeypatch.setattr("plugway_local_models.fitting.read_machine", lambda: machine)
    monkeypatch.setattr("plugway_local_models.fitting.installed_models", tuple)


async def test_the_page_gets_the_advice_of_the_command_and_other_callers_do_not(small_machine):
    async with gateway(stack(), tokens=PHONE) as running:
        advice = (await running.client.get("/dashboard/advice")).json()
        headers = {"authorization": "Bearer phone-token"}
        refused = await running.client.get("/dashboard/advice", headers=headers)
    assert advice == advise(described_machine(8 * GIB)).as_json()
    assert refused.status_code in (403, 404)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH")
async def test_a_browser_shows_what_ended(tmp_path, small_machine):
    """The token is put where the page keeps it, by a page of the same origin in a test's own route."""
    import anyio.to_thread
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    from plugway import NoOptions, Plugin, hookimpl

    class Opens(Plugin[NoOptions]):
        @hookimpl
        def register_routes(self):
            async def page(request):
                script = "sessionStorage.setItem('token', 'test-token'); location = '/#advice'"
                return HTMLResponse(f"<script>{script}</script>")

            return [Route("/api/hello", page)]

    other = build_plugin(OpenAIApi, "openai-api")  # lists models in another shape, unless told
    plugins = [Opens(NoOptions(), name="opens"), other, *stack()]
    async with gateway(plugins, tokens=PHONE) as running:
        await running.ask("x", model="echo/<b>one</b>")
        await as_phone(running, model="echo/two")
        words = [
            CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=4000", "--dump-dom", f"{running.url}/api/hello",
        ]  # fmt: skip
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(words, capture_output=True, text=True, timeout=60)
        )
    assert "echo/&lt;b&gt;one&lt;/b&gt;" in done.stdout
    assert "200 completed" in done.stdout
    assert "<span>owner</span>" in done.stdout
    told = re.sub(r"<[^>]*>", "", done.stdout)
    assert re.search(r"conversation 5d6b0b04 phone .* 1 request echo/two", told)
    assert "anthropic/echo/" in done.stdout
    assert "Which local model fits this machine?" in done.stdout
    assert "plugway models pull unsloth/Qwen3.5-4B-GGUF:Q4_K_M" in done.stdout

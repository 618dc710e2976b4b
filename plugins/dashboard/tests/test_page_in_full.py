"""The page in Chromium: history, plans, backends, keys, links, downloads, and many rows."""

import csv
import io
import json
import time
from contextlib import asynccontextmanager
from shutil import which
from types import SimpleNamespace

import anyio
import pytest
from browsing import MARKUP, NEEDS, OPEN, answers, opened, post, says
from going import item

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_dashboard._file import FileHistory, history_path
from plugway_dashboard._page import PAGE
from plugway_dashboard._running import Book
from plugway_echo import Echo
from plugway_endpoints import TargetHealth
from plugway_local_models import Decision, LoadedModel, MemoryReport
from plugway_prices import Prices
from plugway_tools import Verdict, record_verdict
from plugway_tools._progress import running_tool

pytestmark = NEEDS


def dashboard(**options):
    return build_plugin(Dashboard, "dashboard", **options)


class Knows(Plugin[NoOptions]):
    """Everything that other plugins tell the page, with the same text everywhere."""

    def __init__(self, text, *, name="knows"):
        super().__init__(NoOptions(), name=name)
        self.text = text

    @hookimpl
    async def around_attempt(self, send, request, attempt, exchange):
        with running_tool(exchange, "1", self.text):
            return await send(request, attempt)

    @hookimpl
    def transform_response(self, reply, exchange):
        for kind in ("allowed", "denied", "undecided"):
            record_verdict(exchange, self.text, Verdict(kind, self.text))

    def cache_of(self, request_id):
        words = dict.fromkeys(("line", "why", "cause"), self.text)
        return {**words, "miss": True, "missed": 4000, "dollars": 0.02}

    def health(self):
        states = ("skipped", "probing", "failing")
        return [TargetHealth(self.text, state, self.text, 12.5) for state in states]

    def loading(self, backend, model, size, note):
        raise AssertionError

    async def obtainable(self, backend, model):
        return 0

    async def report(self):
        text = self.text
        models = [
            (text, LoadedModel(text, 3 << 30, 1, state=text, kept=text, problem=text)),
            ("idle", LoadedModel("m", 0, 0, idle_seconds=70.0)),
        ]
        return MemoryReport(8 << 30, 4 << 30, 1 << 30, models, [Decision(12.0, text)])


@asynccontextmanager
async def full(upstream, text, **options):
    """A gateway whose page has everything to show, with `text` in all that others write."""
    plugins = [
        Knows(text),
        dashboard(history=True),
        build_plugin(Prices, "prices", models={"cloud/*": {"input": 3, "output": 15}}),
        build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url, zone="vendor"),
        build_plugin(Echo, "echo"),
    ]
    async with gateway(plugins, **options) as running:
        yield running


async def test_what_other_plugins_tell_is_shown_where_it_belongs(playwright):
    usage = {"input_tokens": 100_000, "output_tokens": 1000}
    waits = WaitFor(anyio.Event())
    first = sse(anthropic_stream(usage=usage))
    slow = sse([waits, *anthropic_stream()])
    async with (
        ScriptedUpstream(first, otherwise=answers(slow)) as upstream,
        full(upstream, "the-text") as running,
        anyio.create_task_group() as group,
    ):
        await post(running, "cloud/large", session_id="5e551234")
        group.start_soon(lambda: post(running, "cloud/large"))
        await upstream.wait_for_request(2)
        async with opened(playwright, running) as page:
            await says(page, "#running .run", "running the tool `the-text` for")
            await says(page, "#kept > li", "$0.32")
            await says(page, "#kept > li", "1 call denied")
            await says(page, "#kept > li", "missed 4,000 cached: the-text ($0.02)")
            await says(page, "#by-model tr", "$0.32")
            await says(page, "#by-caller tr", "owner")
            await says(page, "#misses", "missed 4,000 tokens, cost $0.02")
            await says(page, "#health > li", "skipped for 13 s")
            await says(page, "#loaded tr", "serves 1 request")
            await says(page, "#loaded tr", "idle for 1 min 10 s")
            await says(page, "#loaded tr", "unknown")
            await says(page, "#memory", "4.0 GiB of 8.0 GiB free")
            await page.get_by_text("What was unloaded, and why").click()
            await says(page, "#decisions pre", "12 s ago  the-text")
            await page.evaluate(OPEN)
            await page.evaluate(OPEN)
            await says(page, "#kept pre", "The call of the-text was denied: the-text.")
            await says(page, "#kept pre", "Cost: $0.32.")
        group.cancel_scope.cancel()


async def test_hostile_texts_of_plugins_the_history_and_plans_are_text(playwright):
    busy = anthropic_error(529, "overloaded_error", MARKUP)
    waits = sse([WaitFor(anyio.Event()), *anthropic_stream()])
    async with (
        ScriptedUpstream(busy, otherwise=answers(waits)) as upstream,
        full(upstream, MARKUP) as running,
        anyio.create_task_group() as group,
    ):
        running.client.headers["user-agent"] = MARKUP
        ids = dict.fromkeys(("session_id", "agent_id", "parent_agent_id"), MARKUP)
        await post(running, f"cloud/{MARKUP}", stream=False)
        await post(running, f"echo/{MARKUP}", **ids)
        await running.client.get("/dashboard/history")
        dashboards = [one for one in running.app.snapshot.plugins if isinstance(one, Dashboard)]
        dashboards[0].book.kept.clear()  # as after a restart with little to remember
        group.start_soon(lambda: post(running, f"cloud/{MARKUP}", **ids))
        await upstream.wait_for_request(2)
        async with opened(playwright, running) as page:
            await says(page, "#running .run", MARKUP)
            await says(page, "#health > li", MARKUP)
            await says(page, "#loaded tr", MARKUP)
            await page.get_by_label("Filter").fill("img")
            await says(page, "#kept > li", "1 call denied")
            for _ in range(5):
                await page.evaluate(OPEN)
            await says(page, "#kept pre", MARKUP)
            for button in await page.get_by_text("Where would it go now?").all():
                await button.click()
            await says(page, "#kept .answer", MARKUP)
            await page.get_by_label("Model of a request").fill(f"nobody/{MARKUP}")
            await page.keyboard.press("Enter")
            await says(page, "#planned", f"nobody/{MARKUP}")
            await says(page, "#by-model tbody", MARKUP)
            for tag in ("b", "img", "script"):
                assert await page.locator(f"header {tag}, main {tag}").count() == 0
        group.cancel_scope.cancel()


async def test_yesterdays_failure_is_found_in_the_history(playwright):
    """After a restart that remembers three exchanges of two hundred and fifty."""
    now, history = time.time(), FileHistory(history_path("dashboard"), days=30, rows=1000)
    failed = {"outcome": "failed", "status": 529, "error": "Overloaded", "session_id": "bad00001"}
    odd = item(0, ended=now - 24 * 3600, model_asked="claude-opus", **failed)
    rest = [item(number, ended=now - 100 + number / 10) for number in range(1, 250)]
    await history.add([odd, *rest])
    async with (
        gateway([dashboard(history=True, remember=3), build_plugin(Echo, "echo")]) as running,
        opened(playwright, running) as page,
    ):
        await says(page, "#kept > li", "3 requests")
        await says(page, "#sums", "Totals of the last 30 days")
        await says(page, "#by-caller tr", "250")
        await page.get_by_role("button", name="Show older ones").click()
        await says(page, "#kept > li", "200 requests")
        await page.get_by_role("button", name="Show older ones").click()
        await says(page, "#reach", "These are all of the last 30 days.")
        began = time.monotonic()
        await page.keyboard.press("/")
        await page.keyboard.type("yesterday opus")
        await says(page, "#past", "Conversations (1)")
        await says(page, "#kept > li", "1 failed")
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")
        await page.keyboard.press("f")
        await says(page, "#kept > li", "conversation bad00001")
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await says(page, "#kept .said", "Overloaded")
        assert time.monotonic() - began < 10
        await says(page, "#reach", "Searched the last 30 days.")
        assert "failed=1" in page.url


async def test_the_page_notices_a_restart_and_begins_anew(playwright):
    plugin = dashboard()
    async with gateway([plugin, build_plugin(Echo, "echo")]) as running:
        for _ in range(3):
            await post(running, "echo/before")
        async with opened(playwright, running) as page:
            await says(page, "#past", "Conversations (3)")
            plugin.book = Book(200)  # what a new process has
            for _ in range(4):
                await post(running, "echo/after")
            await says(page, "#past", "Conversations (4)")
            assert "echo/before" not in await page.locator("#kept").inner_text()


async def test_without_a_history_the_page_does_not_speak_of_one(playwright):
    async with gateway([dashboard(), build_plugin(Echo, "echo")]) as running:
        await post(running, "echo/one")
        async with opened(playwright, running) as page:
            await says(page, "#kept > li", "echo/one")
            await page.get_by_label("Filter").fill("nothing")
            await says(page, "#none", "fits the filter")
            assert not await page.get_by_role("button", name="Show older ones").is_visible()
            assert await page.locator("#reach").inner_text() == ""


async def test_rows_are_reached_opened_copied_and_closed_by_keys(playwright):
    async with gateway([dashboard(), build_plugin(Echo, "echo")]) as running:
        for model in ("echo/one", "echo/two", "echo/three"):
            await post(running, model)
        copying = {"permissions": ["clipboard-read", "clipboard-write"]}
        async with opened(playwright, running, **copying) as page:
            await says(page, "#kept > li", "echo/one")
            focused = "document.activeElement.textContent"
            await page.keyboard.press("j")
            assert "echo/three" in await page.evaluate(focused)
            await page.keyboard.press("ArrowDown")
            await page.keyboard.press("j")
            assert "echo/one" in await page.evaluate(focused)
            await page.keyboard.press("k")
            assert "echo/two" in await page.evaluate(focused)
            await page.keyboard.press("Enter")
            await says(page, "#kept pre", "names its backend")
            await page.keyboard.press("c")
            await says(page, "#did", "Copied the receipt.")
            copied = await page.evaluate("navigator.clipboard.readText()")
            assert "echo/two" in copied
            assert copied == await page.locator("#kept pre").first.text_content()
            await page.keyboard.press("Tab")  # into the row
            await page.keyboard.press("Escape")
            assert await page.locator("#kept details[open]").count() == 0
            assert "echo/two" in await page.evaluate(focused)
            await page.keyboard.press("?")
            assert await page.get_by_role("dialog").is_visible()
            await says(page, "#help dd", "opens or closes a row")
            await page.keyboard.press("Escape")
            assert not await page.get_by_role("dialog").is_visible()


async def test_a_link_leads_to_the_open_receipt_and_survives_a_reload(playwright):
    async with gateway(
        [dashboard(history=True, remember=1), build_plugin(Echo, "echo")]
    ) as running:
        await post(running, "echo/one", session_id="5e551234")
        answer = await running.client.get("/dashboard/exchanges")
        (ended,) = answer.json()["exchanges"]
        await post(running, "echo/two")
        async with opened(playwright, running, f"/#r={ended['request_id']}") as page:
            await says(page, "#kept pre", ended["request_id"])
            assert page.url.endswith(f"#r={ended['request_id']}")
            await page.get_by_role("button", name="Copy a link").click()
            await page.reload()
            await says(page, "#kept pre", ended["request_id"])
            row = page.locator(f"summary[data-request='{ended['request_id']}']")
            assert await row.evaluate("row => row === document.activeElement")
            await row.click()
            await page.wait_for_url(f"{running.url}/")


async def test_what_fits_the_filter_is_downloaded(playwright):
    async with gateway(
        [dashboard(), build_plugin(Echo, "echo"), build_plugin(Echo, "e2")]
    ) as running:
        running.client.headers["user-agent"] = "=cmd()"
        await post(running, 'echo/=SUM(1,2)"\n')
        await post(running, "e2/two", session_id="@formula")
        async with opened(playwright, running) as page:
            await says(page, "#kept > li", "e2/two")

            async def downloaded(name):
                async with page.expect_download() as coming:
                    await page.get_by_role("button", name=name).click()
                done = await coming.value
                raw = await anyio.Path(await done.path()).read_bytes()
                return done.suggested_filename, raw.decode()

            name, text = await downloaded("Download as CSV")
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
            assert name == "exchanges.csv"
            assert [row["model_asked"] for row in rows] == ["e2/two", 'echo/=SUM(1,2)"\n']
            assert rows[0]["session_id"] == "'@formula"  # a spreadsheet does not run it
            assert int(rows[0]["input"]) > 0
            await page.get_by_label("Filter").fill("e2/two")
            await says(page, "#past", "Conversations (1)")
            name, text = await downloaded("Download as JSON")
            (only,) = json.loads(text)
            assert name == "exchanges.json"
            assert (only["model_asked"], only["outcome"]) == ("e2/two", "completed")
            assert "text" not in only


async def test_a_click_says_where_a_request_would_go_now(playwright):
    async with gateway(
        [dashboard(), build_plugin(Echo, "echo"), build_plugin(Echo, "two")]
    ) as running:
        await post(running, "echo/one")
        async with opened(playwright, running) as page:
            await says(page, "#kept > li", "echo/one")
            await page.locator("#kept summary").click()
            await page.get_by_role("button", name="Where would it go now?").click()
            await says(
                page, "#kept .answer", "A request for echo/one goes to echo/one (zone local)"
            )
            await says(page, "#kept .answer", "names its backend")
            await page.get_by_label("Model of a request").fill("nobody")
            await page.get_by_role("button", name="Which target would serve it?").click()
            await says(page, "#planned", "A request for nobody would be rejected: model: nobody.")
        assert len((await running.client.get("/dashboard/exchanges")).json()["exchanges"]) == 1


async def test_a_limited_caller_gets_a_page_of_its_own(playwright):
    phone = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
    plugins = [Knows("x"), dashboard(history=True), build_plugin(Echo, "echo")]
    async with gateway(plugins, tokens=phone) as running:
        await post(running, "echo/owners")
        headers = {"authorization": "Bearer phone-token"}
        body = request_body(model="echo/phones")
        await running.client.post("/v1/messages", json=body, headers=headers)
        page_of = SimpleNamespace(url=running.url, token="phone-token")
        async with opened(playwright, page_of) as page:
            await says(page, "#kept > li", "echo/phones")
            await says(page, "#by-caller tr", "phone")
            assert "owners" not in await page.locator("main").inner_text()
            assert not await page.locator("#backends").is_visible()
            assert not await page.locator("#advice").is_visible()


@pytest.mark.skipif(which("npm") is None, reason="needs npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_of_it_is_accessible_and_fits_a_phone(playwright, axe, scheme):
    waits = sse([WaitFor(anyio.Event()), *anthropic_stream()])
    phone = {"viewport": {"width": 400, "height": 800}, "color_scheme": scheme}
    async with (
        ScriptedUpstream(otherwise=answers(waits)) as upstream,
        full(upstream, "a-name-of-" * 8) as running,
        anyio.create_task_group() as group,
    ):
        await post(running, f"echo/{'long-name-' * 20}", session_id="5e55" * 20)
        group.start_soon(lambda: post(running, "cloud/large", session_id="5e55"))
        async with opened(playwright, running, **phone) as page:
            await says(page, "#running .run", "running the tool")
            await says(page, "#health > li", "skipped")
            for _ in range(3):
                await page.evaluate(OPEN)
            await page.evaluate("document.getElementById('decisions').open = true")
            await page.get_by_text("Where would it go now?").first.click()
            await says(page, "#kept .answer", "Nothing was sent")
            await page.get_by_label("Model of a request").fill("echo/x")
            await page.keyboard.press("Enter")
            await says(page, "#planned", "Nothing was sent")
            assert await page.evaluate("document.documentElement.scrollWidth") <= 400
            await page.evaluate(f"{axe}; 0")
            for key in ("?", "Escape"):  # without the list of keys, and with it
                found = await page.evaluate("axe.run()")
                assert [one["help"] for one in found["violations"]] == []
                await page.locator("h1").click(force=True)
                await page.keyboard.press(key)
        group.cancel_scope.cancel()


# ── many rows ────────────────────────────────────────────────────────────────────────────────

ROWS, STREAMS, LONGEST_FRAME = 5000, 50, 100
WATCH_FRAMES = """
() => {
  window.frames_ = [];
  let last = performance.now();
  const frame = () => { const now = performance.now(); frames_.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}
"""


def rows(together):
    """Requests in conversations of `together` each."""
    for number in range(ROWS):
        failed = {"outcome": "failed", "status": 529, "error": "Overloaded"}
        yield item(
            number,
            ended=time.time() - ROWS + number,
            session_id=f"{number // together:04d}-5e55",
            agent_id=f"agent{number % 4}" if number % 4 else None,
            parent_agent_id=None,
            client="claude-cli/2.1.332 (external, cli)",
            model_asked=f"claude-opus-{number % 7}",
            seconds=2.5,
            first_content_seconds=0.5,
            receipt=[{"stage": "send", "plugin": "p", "what": "a line of the receipt"}] * 8,
            **(failed if number % 50 == 0 else {}),
        )


@pytest.mark.parametrize("together", [12, ROWS])
async def test_no_frame_is_long_with_five_thousand_rows_and_fifty_streams(playwright, together):
    events = anthropic_stream(["x" * 4000, "done"])
    going = sse([*events[:3], WaitFor(anyio.Event()), *events[3:]])
    async with ScriptedUpstream(otherwise=answers(going)) as upstream:
        plugin = dashboard(remember=ROWS)
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url)
        async with gateway([plugin, cloud]) as running, anyio.create_task_group() as group:
            plugin.book.restore({**one, "row": 0} for one in rows(together))
            for number in range(STREAMS):
                group.start_soon(
                    lambda id_: post(running, "cloud/large", session_id=id_), f"s{number}"
                )
            await upstream.wait_for_request(STREAMS)
            async with opened(playwright, running) as page:
                await says(page, "#past", f"Conversations ({-(-ROWS // together):,})")
                assert await page.locator("#running .run").count() == STREAMS
                await page.evaluate(WATCH_FRAMES)
                for _ in range(3):  # a busy machine is no fault of the page
                    frames = await frames_of_typing(page)
                    if max(frames) < LONGEST_FRAME:
                        break
            group.cancel_scope.cancel()
    assert len(frames) > 100
    assert max(frames) < LONGEST_FRAME, sorted(frames)[-5:]


async def frames_of_typing(page):
    """Milliseconds of each frame while somebody filters, and what runs is updated."""
    await page.evaluate("frames_.length = 0")
    for words in ("opus-3 529 failed", "today large"):
        await page.keyboard.press("/")
        await page.keyboard.type(words, delay=80)
        await page.wait_for_timeout(1200)
        await page.keyboard.press("Escape")
        await page.keyboard.press("Escape")
        await page.wait_for_timeout(400)
    await page.evaluate("document.getElementById('more').click()")
    await page.wait_for_timeout(400)
    return await page.evaluate("frames_")


def test_the_page_stays_small_and_asks_nobody_else():
    assert len(PAGE.encode()) < 70_000
    assert "http://" not in PAGE
    assert "https://" not in PAGE

"""The page in Debian's Chromium, driven by Playwright, while requests run.

Needs `apt-get install chromium`; Playwright is installed into a folder of the test's own.
"""

import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

import anyio
import pytest

from plugway import NoOptions, Plugin
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_echo import Echo
from plugway_llama_cpp import LlamaCpp

BROWSER = which("chromium") or "chromium"
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(BROWSER).is_file(), reason="needs `apt-get install chromium`"),
]
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
MARKUP = "<b>bold</b><img src=x onerror=alert(1)><script>alert(2)</script>"
OPEN = "for (const one of document.querySelectorAll('#kept details')) one.open = true"


def answers(script):
    """Answers of an upstream that lists no models."""
    none = respond(200, {"data": []})
    return lambda request: script if request.path.startswith("/v1/messages") else none


@pytest.fixture(scope="module")
def playwright(tmp_path_factory):
    """Playwright's Python package, without its own browsers."""
    try:
        import playwright.async_api as found
    except ImportError:
        folder = str(tmp_path_factory.mktemp("playwright"))
        words = [sys.executable, "-m", "pip", "install", "-q", "-c", CONSTRAINTS, "-t", folder]
        subprocess.run([*words, "playwright"], check=True, timeout=240)
        sys.path.append(folder)
        import playwright.async_api as found
    return found


@asynccontextmanager
async def opened(playwright, running, path="/", **options):
    """The page with the gateway's token; fails if the browser had anything to complain about."""
    complaints = []
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = await (await browser.new_context(**options)).new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
        await page.goto(running.url + path)
        await page.get_by_label("Token of the gateway").fill(running.token)
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Running").wait_for()
        yield page
        await browser.close()
    assert complaints == []


async def post(running, model, *, stream=True, **ids):
    headers = {f"x-claude-code-{name.replace('_', '-')}": value for name, value in ids.items()}
    await running.client.post(
        "/v1/messages", json=request_body(model=model, stream=stream), headers=headers
    )


async def says(page, place, text):
    """Wait until the part of the page contains the text."""
    await page.locator(place).filter(has_text=text).first.wait_for(timeout=10_000)


async def test_a_request_appears_changes_and_ends(playwright, tmp_path):
    first, rest = anyio.Event(), anyio.Event()
    events = anthropic_stream(["x" * 4000, "done"])
    slow = sse([WaitFor(first), *events[:3], WaitFor(rest), *events[3:]])
    async with ScriptedUpstream(otherwise=answers(slow)) as upstream:
        plugins = [
            build_plugin(Dashboard, "dashboard"),
            build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url),
            build_plugin(LlamaCpp, "local", model="demo"),
        ]
        async with (
            gateway(plugins) as running,
            opened(playwright, running) as page,
            anyio.create_task_group() as group,
        ):
            await says(page, "#idle", "Nothing runs.")
            ids = {"session_id": "5e551234-9", "agent_id": "child", "parent_agent_id": "mother"}
            group.start_soon(lambda: post(running, "cloud/large", session_id="5e551234-9"))
            group.start_soon(lambda: post(running, "local/demo", **ids))
            await says(page, "#running .run", "waiting for cloud/large")
            assert await page.title() in ("(1) Plugway", "(2) Plugway")
            first.set()
            await says(page, "#running .run", "writing: about 1,0")
            rest.set()
            await says(page, "#idle", "Nothing runs.")
            conversation = page.locator("#kept > li").filter(has_text="conversation 5e551234")
            await says(page, "#kept > li", "2 requests with 1 subagent")
            await says(page, "#kept > li", "subagent child")
            row = conversation.locator("summary").filter(has_text="completed").first
            await row.focus()
            await page.keyboard.press("Enter")
            await says(page, "#kept pre", "names its backend")
            assert await page.locator("#by-model tbody tr").count() == 2


async def test_what_others_write_is_shown_as_text(playwright):
    busy = anthropic_error(529, "overloaded_error", MARKUP)
    waits = sse([WaitFor(anyio.Event()), *anthropic_stream()])
    async with ScriptedUpstream(busy, otherwise=answers(waits)) as upstream:

        class Explains(Plugin[NoOptions]):
            def cache_of(self, request_id):
                return {"line": MARKUP, "miss": True, "missed": 4, "why": MARKUP}

        plugins = [
            Explains(NoOptions(), name="explains"),
            build_plugin(Dashboard, "dashboard"),
            build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url),
            build_plugin(Echo, "echo"),
        ]
        async with gateway(plugins) as running, anyio.create_task_group() as group:
            running.client.headers["user-agent"] = MARKUP
            ids = dict.fromkeys(("session_id", "agent_id", "parent_agent_id"), MARKUP)
            await post(running, f"cloud/{MARKUP}", stream=False)
            await post(running, f"echo/{MARKUP}", **ids)
            group.start_soon(lambda: post(running, f"cloud/{MARKUP}", **ids))
            await upstream.wait_for_request(2)
            async with opened(playwright, running) as page:
                await says(page, "#running .run", f"waiting for cloud/{MARKUP}")
                for _ in range(4):  # conversations, subagents and receipts
                    await page.evaluate(OPEN)
                await says(page, "#kept pre", MARKUP)
                for tag in ("b", "img", "script"):
                    assert await page.locator(f"header {tag}, main {tag}").count() == 0
            group.cancel_scope.cancel()


async def test_the_filter_is_in_the_address_and_works_by_key(playwright):
    echoes = [build_plugin(Echo, name) for name in ("echo", "other")]
    async with gateway([build_plugin(Dashboard, "dashboard"), *echoes]) as running:
        for model in ("echo/one", "echo/two", "nowhere/three"):
            await post(running, model)
        async with opened(playwright, running, "/#q=echo%20two") as page:
            rows = page.locator("#kept > li")
            await says(page, "#past", "Conversations (1)")
            assert await page.get_by_label("Filter").input_value() == "echo two"
            await page.keyboard.press("/")
            await page.keyboard.type("failed nowhere")
            assert page.url.endswith("#q=failed%20nowhere")
            await says(page, "#none", "fits the filter")
            await page.keyboard.press("Escape")
            await says(page, "#past", "Conversations (3)")
            assert await rows.count() == 3
            assert "#" not in page.url
            await page.keyboard.type("rejected")
            await says(page, "#past", "Conversations (1)")
            await says(page, "#kept > li", "nowhere")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The script of axe-core, which checks pages for accessibility."""
    folder = tmp_path_factory.mktemp("axe")
    words = ["npm", "install", "--silent", "--no-audit", "--prefix", str(folder), "axe-core"]
    subprocess.run(words, check=True, timeout=120)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@pytest.mark.skipif(which("npm") is None, reason="needs npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_a_phone_and_is_accessible(playwright, axe, scheme):
    waits = sse([WaitFor(anyio.Event()), *anthropic_stream()])
    phone = {"viewport": {"width": 400, "height": 800}, "color_scheme": scheme}
    async with ScriptedUpstream(otherwise=answers(waits)) as upstream:
        plugins = [
            build_plugin(Dashboard, "dashboard"),
            build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url),
            build_plugin(Echo, "echo"),
        ]
        async with gateway(plugins) as running, anyio.create_task_group() as group:
            await post(running, f"echo/{'long-name-' * 20}", session_id="5e55" * 20)
            group.start_soon(lambda: post(running, "cloud/large", session_id="5e55"))
            async with opened(playwright, running, **phone) as page:
                await says(page, "#running .run", "waiting for cloud/large")
                await page.evaluate(OPEN)
                assert await page.evaluate("document.documentElement.scrollWidth") <= 400
                await page.evaluate(f"{axe}; 0")
                found = await page.evaluate("axe.run()")
                assert [one["help"] for one in found["violations"]] == []
            group.cancel_scope.cancel()

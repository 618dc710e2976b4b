"""The page in Debian's Chromium, driven by Playwright, while requests run.

Needs `apt-get install chromium`; Playwright is installed into a folder of the test's own.
"""

from shutil import which

import anyio
import pytest
from browsing import MARKUP, NEEDS, OPEN, answers, opened, post, says

from plugway import NoOptions, Plugin
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_echo import Echo
from plugway_llama_cpp import LlamaCpp

pytestmark = NEEDS


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

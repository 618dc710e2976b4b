"""The page at its door, what its rows say at a glance, and what they say while nothing fits."""

from shutil import which

import anyio
import pytest
from browsing import BROWSER, NEEDS, answers, opened, post, says
from going import logs_of

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_echo import Echo

pytestmark = NEEDS
TURNED = "echo/\u202eevil\u2066x"


def stack(**options):
    return [build_plugin(Dashboard, "dashboard", **options), build_plugin(Echo, "echo")]


@pytest.mark.skipif(which("npm") is None, reason="needs npm")
@pytest.mark.parametrize("problem", ["", "a wrong token"])
async def test_the_door_is_accessible(playwright, axe, problem):
    async with gateway(stack()) as running, playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = await browser.new_page()
        await page.goto(running.url)
        await page.get_by_label("Token of the gateway").wait_for()
        if problem:
            await page.get_by_label("Token of the gateway").fill(problem)
            await page.keyboard.press("Enter")
            await page.locator("#problem").wait_for(state="visible")
        await page.evaluate(f"{axe}; 0")
        found = await page.evaluate("axe.run()")
        assert [one["help"] for one in found["violations"]] == []
        await browser.close()


async def test_a_link_to_nothing_is_reported_until_something_else_is(playwright):
    async with gateway(stack()) as running:
        await post(running, "echo/one")
        async with opened(playwright, running, "/#r=req_nowhere") as page:
            await says(page, "#did.bad", "not kept any more")
            await page.locator("#kept summary[data-request]").first.focus()
            await page.keyboard.press("c")
            await says(page, "#did", "Copied the receipt.")
            assert await page.locator("#did").get_attribute("class") == "unseen"


async def test_no_row_is_turned_around_by_a_name(playwright):
    async with gateway(stack()) as running:
        await running.client.post("/v1/messages", json=request_body(model=TURNED))
        async with opened(playwright, running) as page:
            row = page.locator("#kept > li").first
            await row.wait_for()
            await row.locator("summary").first.click()
            await says(page, "#kept pre", "evil")
            assert not {"\u202e", "\u2066"} & set(await page.locator("main").inner_text())


async def test_a_running_row_says_the_window_the_first_word_and_what_was_spent(playwright):
    gate = anyio.Event()
    events = anthropic_stream(["x" * 400, "done"])
    slow = sse([*events[:3], WaitFor(gate), *events[3:]])
    models = [{"id": "large", "context_tokens": 40_000}]
    async with ScriptedUpstream(sse(anthropic_stream()), otherwise=answers(slow)) as upstream:
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url, models=models)
        async with (
            gateway([build_plugin(Dashboard, "dashboard"), cloud]) as running,
            anyio.create_task_group() as group,
        ):
            await post(running, "cloud/large", session_id="5e55")
            body = request_body(model="cloud/large", stream=True)
            body["messages"] = [{"role": "user", "content": "words " * 2000}]
            ids = {"x-claude-code-session-id": "5e55"}
            group.start_soon(lambda: running.client.post("/v1/messages", json=body, headers=ids))
            await upstream.wait_for_request(2)
            async with opened(playwright, running) as page:
                await says(page, "#running .run", "prompt about 3,0")
                await says(page, "#running .run", "of 40,000 tokens")
                await says(page, "#running .run", "first word 0.")
                await says(page, "#running > li", "cost so far $0")
            gate.set()


async def test_names_in_the_totals_are_readable_on_a_phone(playwright):
    phone = {"viewport": {"width": 400, "height": 800}}
    counts = {"input_tokens": 12_160_800, "output_tokens": 1_234_567}
    answer = sse(anthropic_stream(usage=counts))
    async with ScriptedUpstream(otherwise=answers(answer)) as upstream:
        echo = build_plugin(AnthropicCompatible, "echo", base_url=upstream.url)
        plugins = [build_plugin(Dashboard, "dashboard"), echo]
        async with gateway(plugins) as running:
            await post(running, "echo/claude-opus-4-8-20260101")
            async with opened(playwright, running, **phone) as page:
                await says(page, "#by-model", "claude-opus")
                box = await page.locator("#by-model tbody th").first.bounding_box()
                assert box["width"] > 100
                assert await page.evaluate("document.documentElement.scrollWidth") <= 400


async def test_the_title_counts_what_runs_although_nothing_fits_the_filter(playwright):
    waits = sse([WaitFor(anyio.Event()), *anthropic_stream()])
    async with ScriptedUpstream(otherwise=answers(waits)) as upstream:
        cloud = build_plugin(AnthropicCompatible, "cloud", base_url=upstream.url)
        async with (
            gateway([build_plugin(Dashboard, "dashboard"), cloud]) as running,
            opened(playwright, running, "/#q=nothing") as page,
            anyio.create_task_group() as group,
        ):
            group.start_soon(lambda: post(running, "cloud/large"))
            await says(page, "#idle", "1 request running; none fits the filter.")
            assert await page.title() == "(1) Plugway"
            group.cancel_scope.cancel()


class Shortens(Plugin[NoOptions]):
    @hookimpl
    def transform_request(self, request):
        return request.without(["metadata"], because="nobody needs it")


async def test_a_receipt_reads_as_sentences(playwright):
    async with gateway([*stack(), Shortens(NoOptions(), name="shortens")]) as running:
        body = request_body(model="echo/one", metadata={"user_id": "u"})
        await running.client.post("/v1/messages", json=body)
        async with opened(playwright, running) as page:
            await page.locator("#kept summary[data-request]").first.click()
            text = await page.locator("#kept pre").first.inner_text()
        printed = await logs_of(running, "--receipts")
    lines = text.split("\n")
    assert lines[0].startswith("Request req_")
    assert all(line.endswith(".") for line in lines)
    assert "shortens removed metadata: nobody needs it." in lines
    assert "shortens removed metadata: nobody needs it" in printed

"""The page in Chromium against what people type, follow and keep open over restarts."""

import csv
import io
import sqlite3

import anyio
import pytest
from browsing import NEEDS, OPEN, opened, post, says

from plugway.testing import build_plugin, gateway, request_body
from plugway_dashboard import Dashboard
from plugway_dashboard._file import history_path
from plugway_echo import Echo

pytestmark = NEEDS
PHONE = [{"name": "phone", "token": "phone-token", "models": ["echo/*"]}]
FORGED = "echo/x\nCost: $0.\u202e\u2028\0"


def stack(**options):
    return [build_plugin(Dashboard, "dashboard", **options), build_plugin(Echo, "echo")]


async def test_the_names_that_every_object_has_are_words_like_others(playwright):
    async with gateway(stack(history=True)) as running:
        await post(running, "echo/constructor")
        await post(running, "echo/other")
        async with opened(playwright, running) as page:
            for word in ("constructor", "__proto__", "tostring"):
                await page.get_by_label("Filter").fill(word)
                await says(page, "#past", "(1)" if word == "constructor" else "Conversations")
                await says(page, "#reach", "Searched the last 30 days.")
            assert await page.locator("#problem").is_hidden()


@pytest.mark.parametrize(
    "hash",
    [
        "#<img src=x onerror=alert(1)>",
        "#q=<img src=x onerror=alert(1)>&r=%3Cscript%3Ealert(1)%3C/script%3E",
        "#r=%00%ff&failed=1&failed=0&__proto__=1",
        "#q=%E0%A4%A&r=%22%5D",
        "#r=" + "a" * 3000,
        "#q=" + "b" * 60_000,
        "#q=status:5.*|%5B&constructor=x",
    ],
)
async def test_any_end_of_the_address_leaves_a_page_that_works(playwright, hash):
    async with gateway(stack(history=True)) as running:
        await post(running, "echo/one", session_id="5e55")
        async with opened(playwright, running, f"/{hash}") as page:
            await says(page, "#past", "Conversations")
            await page.get_by_label("Filter").fill("echo")
            await page.get_by_label("failures only").uncheck()
            await says(page, "#kept > li", "echo/one")
            await says(page, "#reach", "Searched the last 30 days.")
            await page.locator("#problem").wait_for(state="hidden")
            assert await page.locator("main img, main script, header img").count() == 0


async def test_a_receipt_has_one_line_for_each_entry_whatever_others_write(playwright):
    async with gateway(stack()) as running:
        await post(running, FORGED)
        async with opened(playwright, running) as page:
            await says(page, "#kept > li", "echo/x")
            await page.evaluate(OPEN)
            text = await page.locator("#kept pre").first.inner_text()
            assert [line for line in text.split("\n") if line.startswith("Cost")] == ["Cost: $0."]
            assert not {"\u202e", "\u2028", "\0"} & set(text)


async def test_no_cell_of_a_download_is_a_formula(playwright):
    signs = ["=", "+", "-", "@", "\t=", "\r=", "\n=", "\uff1d"]
    async with gateway(stack()) as running:
        for sign in signs:
            await running.client.post("/v1/messages", json=request_body(model=f'{sign}1+1","=2+2'))
        async with opened(playwright, running) as page:
            await says(page, "#past", f"({len(signs)})")
            async with page.expect_download() as coming:
                await page.get_by_role("button", name="Download as CSV").click()
            raw = await anyio.Path(await (await coming.value).path()).read_bytes()
    rows = list(csv.DictReader(io.StringIO(raw.decode(), newline="")))
    names = [row["model_asked"] for row in reversed(rows)]
    assert names == [f'\'{sign}1+1","=2+2' for sign in signs]


async def test_another_token_begins_a_page_of_its_own(playwright):
    async with gateway(stack(history=True), tokens=PHONE) as running:
        await post(running, "echo/owners", session_id="secret-session")
        async with opened(playwright, running, but="status of 401") as page:
            await says(page, "#kept > li", "echo/owners")
            await page.evaluate("token = 'an old one'")
            await page.locator("#door").wait_for(state="visible")
            await page.get_by_label("Token of the gateway").fill("phone-token")
            await page.keyboard.press("Enter")
            await says(page, "#state", "the requests of this token")
            await says(page, "#none", "None yet.")
            seen = await page.locator("main").inner_text()
            assert "owner" not in seen
            assert "secret" not in seen


async def test_a_gateway_that_is_gone_is_named_and_its_return_is_noticed(playwright):
    async with gateway(stack()) as running:
        await post(running, "echo/one")
        async with opened(playwright, running, but="ERR_FAILED") as page:
            await says(page, "#kept > li", "echo/one")
            await page.route("**/dashboard/exchanges*", lambda route: route.abort())
            await says(page, "#problem", "The gateway does not answer.")
            await page.unroute("**/dashboard/exchanges*")
            await page.locator("#problem").wait_for(state="hidden")


async def test_a_history_that_cannot_be_read_is_not_an_empty_one(playwright):
    async with gateway(stack(history=True)) as running:
        await post(running, "echo/one")
        async with opened(playwright, running) as page:
            await says(page, "#kept > li", "echo/one")
            other = sqlite3.connect(history_path("dashboard"))
            try:
                other.execute("begin exclusive")
                await page.get_by_label("Filter").fill("yesterday")
                await says(page, "#reach", "The history cannot be read now")
                other.rollback()
            finally:
                other.close()


async def test_the_advice_of_a_link_is_measured_once_there_is_a_token(playwright, monkeypatch):
    advice = {"recommended": None, "smallest": None, "runs": None}
    monkeypatch.setattr("plugway_dashboard._plugin._advice", lambda: advice)
    async with gateway(stack()) as running, opened(playwright, running, "/#advice") as page:
        await page.locator("#advice[open]").wait_for()
        await says(page, "#advice pre", "plugway models recommend")


async def test_subagents_of_subagents_fit_a_phone(playwright):
    phone = {"viewport": {"width": 400, "height": 800}}
    async with gateway(stack()) as running:
        for depth in range(40):
            ids = {"agent_id": f"a{depth}", "parent_agent_id": f"a{depth - 1}"} if depth else {}
            await post(running, "echo/one", session_id="5e55", **ids)
        async with opened(playwright, running, **phone) as page:
            await says(page, "#kept > li", "with 39 subagents")
            await page.evaluate(OPEN)
            deepest = page.locator("#kept summary[data-request]").last
            box = await deepest.bounding_box()
            assert await page.evaluate("document.documentElement.scrollWidth") <= 400
            assert box["x"] + 100 < 400
            assert box["width"] > 150

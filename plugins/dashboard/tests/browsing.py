"""The page in Debian's Chromium, driven by Playwright."""

from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

import pytest

from plugway.testing import request_body, respond

BROWSER = which("chromium") or "chromium"
NEEDS = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(BROWSER).is_file(), reason="needs `apt-get install chromium`"),
]
MARKUP = "<b>bold</b><img src=x onerror=alert(1)><script>alert(2)</script>"
OPEN = "for (const one of document.querySelectorAll('#kept details')) one.open = true"


def answers(script):
    """Answers of an upstream that lists no models."""
    none = respond(200, {"data": []})
    return lambda request: script if request.path.startswith("/v1/messages") else none


@asynccontextmanager
async def opened(playwright, running, path="/", *, but="nothing", arguments=(), **options):
    """The page with the gateway's token; fails if the browser had anything to complain about, `but`
    what a test causes itself; `arguments` are further ones of the browser."""
    complaints = []
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", *arguments]
        )
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
    assert [one for one in complaints if but not in one] == []


async def post(running, model, *, stream=True, **ids):
    headers = {f"x-claude-code-{name.replace('_', '-')}": value for name, value in ids.items()}
    await running.client.post(
        "/v1/messages", json=request_body(model=model, stream=stream), headers=headers
    )


async def says(page, place, text):
    """Wait until the part of the page contains the text."""
    await page.locator(place).filter(has_text=text).first.wait_for(timeout=10_000)

"""The verification page in Debian's Chromium, driven by Playwright, with passwords and a provider.

Needs `apt-get install chromium`; Playwright and axe-core are installed into folders of the tests.
"""

import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import which

import pytest
from oidc_provider import CLIENT, SECRET, OidcProvider
from sign_in_kit import PASSWORDS, Client, serving

BROWSER = which("chromium") or "chromium"
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not Path(BROWSER).is_file(), reason="needs `apt-get install chromium`"),
]
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"


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


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The script of axe-core, which checks pages for accessibility."""
    folder = tmp_path_factory.mktemp("axe")
    words = ["npm", "install", "--silent", "--no-audit", "--prefix", str(folder), "axe-core"]
    subprocess.run(words, check=True, timeout=120)
    return (folder / "node_modules/axe-core/axe.min.js").read_text()


@asynccontextmanager
async def chromium(playwright, **options):
    """An empty page; fails if the browser had anything to complain about."""
    complaints = []
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = await (await browser.new_context(**options)).new_page()
        page.on("console", lambda said: complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        yield page
        await browser.close()
    unexpected = [one for one in complaints if "status of 40" not in one]
    assert unexpected == []


async def is_headed(page, text):
    await page.get_by_role("heading", name=text).wait_for(timeout=10_000)


async def test_a_person_signs_in_with_the_keyboard_alone(playwright, database):
    async with serving(database) as team, Client(team) as client, chromium(playwright) as page:
        await team.hires()
        begun = await client.begins()
        await page.goto(begun["verification_uri"])
        await type_all(page, ["Tab", begun["user_code"].lower(), "Enter"])
        await is_headed(page, "Who are you?")
        await type_all(page, ["Tab", "ann", "Tab", "wrong password", "Enter"])
        await page.get_by_role("alert").filter(has_text="wrong").wait_for()
        await type_all(page, ["Tab", "ann", "Tab", PASSWORDS["ann"], "Enter"])
        await is_headed(page, "Is this your Claude Code?")
        assert await page.get_by_text(begun["user_code"]).is_visible()
        await type_all(page, ["Tab", "Enter"])
        await is_headed(page, "You are signed in")
        assert (await client.polls(begun)).json()["email"] == "ann"


async def type_all(page, words):
    for word in words:
        await (page.keyboard.press(word) if word in ("Tab", "Enter") else page.keyboard.type(word))


async def test_a_link_with_the_code_waits_for_a_click(playwright, database):
    async with serving(database) as team, Client(team) as client, chromium(playwright) as page:
        begun = await client.begins()
        await page.goto(begun["verification_uri_complete"])
        assert await page.get_by_label("Code").input_value() == begun["user_code"]
        await page.wait_for_load_state("networkidle")
        await is_headed(page, "Sign in to Claude Code")
        await page.get_by_role("button", name="Continue").click()
        await is_headed(page, "Who are you?")


async def test_a_person_signs_in_with_the_provider_and_may_deny(playwright, database):
    async with OidcProvider() as real:
        oidc = {
            "issuer": real.issuer,
            "client_id": CLIENT,
            "client_secret": SECRET,
            "label": "Example",
        }
        async with (
            serving(database, oidc=oidc) as team,
            Client(team) as client,
            chromium(playwright) as page,
        ):
            real.redirects.add(f"{team.url}/device/callback")
            for button, heading, said in (
                ("Allow", "You are signed in", "email"),
                ("Deny", "Denied", "error"),
            ):
                begun = await client.begins()
                await page.goto(begun["verification_uri_complete"])
                await page.get_by_role("button", name="Continue").click()
                await page.get_by_role("link", name="Continue with Example").click()
                await is_headed(page, "Is this your Claude Code?")
                assert await page.get_by_text("ann@example.com").is_visible()
                await page.get_by_role("button", name=button).click()
                await is_headed(page, heading)
                assert (await client.polls(begun)).json()[said] in (
                    "ann@example.com",
                    "access_denied",
                )
            assert await page.context.cookies() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_pages_fit_a_phone_and_are_accessible(playwright, axe, database, scheme):
    narrow = {"viewport": {"width": 400, "height": 700}, "color_scheme": scheme}
    oidc = {
        "issuer": "http://127.0.0.1:9",
        "client_id": "x",
        "label": "A rather long name of an organization",
    }
    async with (
        serving(database, oidc=oidc) as team,
        Client(team) as client,
        chromium(playwright, **narrow) as page,
    ):
        await team.hires()
        begun = await client.begins()

        async def check(heading):
            await is_headed(page, heading)
            assert await page.evaluate("document.documentElement.scrollWidth") <= 400
            await page.evaluate(f"{axe}; 0")
            found = await page.evaluate("axe.run()")
            assert [one["id"] for one in found["violations"]] == []
            smallest = "Math.min(...[...document.querySelectorAll('button, input:not([type=hidden]), a')].map(e => e.getBoundingClientRect().height))"
            assert await page.evaluate(smallest) >= 40

        await page.goto(begun["verification_uri"])
        await check("Sign in to Claude Code")
        await page.get_by_label("Code").fill("BBBB-BBBB")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        await check("Sign in to Claude Code")
        await page.get_by_label("Code").fill(begun["user_code"])
        await page.keyboard.press("Enter")
        await check("Who are you?")
        await page.get_by_label("Name").fill("ann")
        await page.get_by_label("Password").fill("wrong")
        await page.keyboard.press("Enter")
        await page.get_by_role("alert").wait_for()
        await check("Who are you?")
        await page.get_by_label("Name").fill("ann")
        await page.get_by_label("Password").fill(PASSWORDS["ann"])
        await page.keyboard.press("Enter")
        await check("Is this your Claude Code?")
        await page.get_by_role("button", name="Allow").click()
        await check("You are signed in")

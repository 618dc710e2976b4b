"""Debian's Chromium behind the proxy: `apt-get install chromium`."""

import asyncio
import os
from pathlib import Path
from shutil import which

import pytest
from origins import Origin, page

from plugway_tools import guard_proxy

BROWSER = which("chromium") or "chromium"
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(not Path(BROWSER).is_file(), reason="needs `apt-get install chromium`"),
]
HTML = "Content-Type: text/html"
METADATA = "http://169.254.169.254/latest/meta-data/"


async def shown(url, folder, *options):
    """The document that the browser has after a page ran its scripts."""
    command = [BROWSER, "--headless", "--disable-gpu", "--disable-dev-shm-usage", *options]
    command += ["--virtual-time-budget=3000", "--dump-dom", f"--user-data-dir={folder}", url]
    if os.name == "posix" and os.geteuid() == 0:
        command.insert(1, "--no-sandbox")
    pipe, devnull = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    browser = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=devnull)
    return (await browser.communicate())[0].decode()


def guarded(proxy):
    return f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"


def attack(place):
    """A page that reaches for `place` in every way."""
    return page(
        f"""<p id=own>this page</p><iframe src="http://{place}/frame"></iframe>
        <img src="http://{place}/image"><script src="http://{place}/script"></script>
        <link rel=stylesheet href="http://{place}/style">
        <form id=f action="http://{place}/form" target=there method=post></form>
        <iframe name=there></iframe><script>
        fetch("http://{place}/fetch", {{mode: "no-cors"}}).catch(() => 0);
        fetch("{METADATA}", {{mode: "no-cors"}}).catch(() => 0);
        new WebSocket("ws://{place}/socket"); navigator.sendBeacon("http://{place}/beacon", "x");
        f.submit();
        </script>""",
        200,
        HTML,
    )


async def test_no_request_of_a_page_gets_past_the_proxy(tmp_path):
    async with Origin() as secret, Origin(lambda _: attack(secret.place)) as origin:
        await shown(f"http://{origin.place}/", tmp_path / "free")
        reached = {head.split()[1] for head in secret.heads}
        assert {"/frame", "/image", "/script", "/style", "/fetch", "/form"} <= reached
        secret.heads.clear()
        async with guard_proxy([origin.place]) as proxy:
            said = await shown(f"http://{origin.place}/", tmp_path / "guarded", *guarded(proxy))
        assert "this page" in said
        assert not secret.heads


async def test_a_redirect_shows_the_refusal_and_an_allowed_one_its_page(tmp_path):
    async with Origin(lambda _: page("<p>the secret</p>", 200, HTML)) as secret:
        leads = page("", 302, f"Location: http://{secret.place}/")
        async with Origin(lambda _: leads) as origin:
            async with guard_proxy([origin.place]) as proxy:
                said = await shown(f"http://{origin.place}/", tmp_path / "a", *guarded(proxy))
            assert "not a public address" in said
            assert not secret.heads
            async with guard_proxy([origin.place, secret.place]) as proxy:
                said = await shown(f"http://{origin.place}/", tmp_path / "b", *guarded(proxy))
            assert "the secret" in said


async def test_the_metadata_service_is_refused(tmp_path):
    async with guard_proxy() as proxy:
        assert "not a public address" in await shown(METADATA, tmp_path, *guarded(proxy))

"""A gateway with `sign-in` whose people are ann and bob, and a browser without a screen."""

import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx2

from plugway import Caller, NoOptions, Plugin
from plugway.testing import build_plugin, gateway
from plugway_echo import Echo
from plugway_sign_in import SignIn
from plugway_store import StorePlugin

PASSWORDS = {"ann": "correct horse", "bob": "battery staple"}


class InterimPeople(Plugin[NoOptions]):
    people = {
        name: SimpleNamespace(
            name=name, email=f"{name}@example.com", group="eng" if name == "ann" else None,
            password=password, caller=Caller(name, models=("echo/*",)),
        )
        for name, password in PASSWORDS.items()
    }


@asynccontextmanager
async def serving(database, server=None, **options):
    """The gateway; its client has the operator's token."""
    plugins = [
        build_plugin(StorePlugin, "store", **database),
        build_plugin(InterimPeople, "accounts"),
        build_plugin(SignIn, "sign-in", **options),
        build_plugin(Echo, "echo"),
    ]
    async with gateway(plugins, **(server or {})) as running:
        yield running


class Browser(httpx2.AsyncClient):
    """Keeps cookies, follows redirects, and sends `Origin` as browsers do."""

    def __init__(self, running, **more):
        url = f"http://127.0.0.1:{running.port}"
        super().__init__(base_url=url, follow_redirects=True, trust_env=False, **more)
        self.own = {"origin": url, "sec-fetch-site": "same-origin"}
        self.page = None

    async def submits(self, path, **form):
        """Send a form; the hidden fields of the page before are included."""
        hidden = re.findall('type="hidden" name="(.+?)" value="(.*?)"', self.page.text if self.page else "")
        self.page = await self.post(path, data={**dict(hidden), **form}, headers=self.own)
        return self.page

    async def enters(self, code):
        return await self.submits("/device", user_code=code)

    async def gives(self, name, password=None):
        word = PASSWORDS[name] if password is None else password
        return await self.submits("/device/password", name=name, password=word)

    async def decides(self, decision="allow"):
        return await self.submits("/device/decide", decision=decision)


def heading(page):
    return re.search("<h1>(.*?)</h1>", page.text)[1]


def problem(page):
    found = re.search('role="alert"[^>]*>(.*?)</p>', page.text)
    return found[1] if found else None


class Client(httpx2.AsyncClient):
    """Asks as Claude Code does."""

    def __init__(self, running, **more):
        url = f"http://127.0.0.1:{running.port}"
        agent = {"user-agent": "claude-code/2.1.332"}
        super().__init__(base_url=url, headers=agent, trust_env=False, **more)

    async def begins(self):
        answer = await self.post("/oauth/device_authorization", data={"surface": "claude_code"})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def polls(self, begun):
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}
        return await self.post("/oauth/token", data={**form, "device_code": begun["device_code"]})

    async def renews(self, tokens):
        form = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"]}
        return await self.post("/oauth/token", data=form)


async def signed_in(running, name="ann"):
    """Tokens of somebody who went the whole way."""
    async with Client(running) as client, Browser(running) as browser:
        begun = await client.begins()
        await browser.enters(begun["user_code"])
        await browser.gives(name)
        assert heading(await browser.decides()) == "You are signed in"
        return (await client.polls(begun)).json()


def bearer(tokens):
    return {"authorization": f"Bearer {tokens['access_token']}"}

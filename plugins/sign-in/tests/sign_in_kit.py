"""A gateway with `sign-in` whose people are ann and bob, and a browser without a screen."""

import re
from contextlib import asynccontextmanager

import httpx2

from plugway.testing import build_plugin, gateway
from plugway_accounts import Accounts
from plugway_echo import Echo
from plugway_sign_in import SignIn
from plugway_store import StorePlugin

PASSWORDS = {"ann": "correct horse", "bob": "battery staple"}


@asynccontextmanager
async def serving(database, *plugins, server=None, **options):
    """The gateway with `plugins` besides; its client has the operator's token."""
    stack = [
        build_plugin(StorePlugin, "store", **database),
        build_plugin(Accounts, "accounts"),
        build_plugin(SignIn, "sign-in", **options),
        *plugins,
        build_plugin(Echo, "echo"),
    ]
    async with gateway(stack, **(server or {})) as running:
        yield Team(running)


class Team:
    """A gateway with people."""

    def __init__(self, running):
        self.running = running
        self.port = running.port
        self.url = f"http://127.0.0.1:{running.port}"

    @property
    def people(self):
        return next(
            one for one in self.running.app.snapshot.plugins if one.name == "accounts"
        ).people

    async def hires(self, *names):
        for name in names or PASSWORDS:
            await self.people.add(name, models=["echo/*"])
            await self.people.set_password(name, PASSWORDS[name])


class Browser(httpx2.AsyncClient):
    """Keeps cookies, follows redirects, and sends `Origin` as browsers do."""

    def __init__(self, running, **more):
        url = running.url
        super().__init__(base_url=url, follow_redirects=True, trust_env=False, **more)
        self.own = {"origin": url, "sec-fetch-site": "same-origin"}
        self.page = None

    async def submits(self, path, **form):
        """Send a form; the hidden fields of the page before are included."""
        hidden = re.findall(
            'type="hidden" name="(.+?)" value="(.*?)"', self.page.text if self.page else ""
        )
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
        agent = {"user-agent": "claude-code/2.1.332"}
        super().__init__(base_url=running.url, headers=agent, trust_env=False, **more)

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

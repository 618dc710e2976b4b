"""The real Claude Code signs in by `/login`: two people, two gateways, one database."""

from contextlib import AsyncExitStack

import anyio
import httpx2
import pytest
from sign_in_kit import Browser, heading, serving
from sign_in_terminal import Terminal
from sign_in_tls import TlsProxy
from sqlalchemy import text

from plugway import NoOptions, Plugin, hookimpl
from plugway_accounts import Member
from plugway_sign_in._tables import SCHEMA
from plugway_store import StoreOptions, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]
SETTINGS = {"env": {"ANTHROPIC_MODEL": "echo/m", "ANTHROPIC_DEFAULT_HAIKU_MODEL": "echo/m"}}


class Witness(Plugin[NoOptions]):
    """Keeps who asked what."""

    def __init__(self, options, *, name=""):
        super().__init__(options, name=name)
        self.seen = []

    @hookimpl
    async def transform_request(self, request, exchange):
        self.seen.append((exchange.caller, str(request.get("messages"))))

    def callers_of(self, words):
        return {caller for caller, messages in self.seen if words in messages}


async def consents(team, code, name, **more):
    """What a person does in the browser, at the page of this gateway."""
    async with Browser(team, **more) as browser:
        await browser.enters(code)
        await browser.gives(name)
        assert heading(await browser.decides()) == "You are signed in"


async def test_two_people_sign_in_at_two_gateways_and_one_is_signed_out(database, tmp_path):
    seen = [Witness(NoOptions(), name="witness") for _ in range(2)]
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(serving(database, one, settings=SETTINGS))
            for one in seen
        ]
        await first.hires()
        ann, bob = Terminal(tmp_path / "ann", first.url), Terminal(tmp_path / "bob", second.url)
        for terminal in (ann, bob):
            await stack.enter_async_context(terminal.started())

        async def signs_in(terminal, name, other):
            code, page = await terminal.begins_login()
            assert page.endswith("/device")
            await consents(other, code, name)
            await terminal.ends_login(name)
            await terminal.shows("echo/m")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(signs_in, ann, "ann", second)  # begun at one, ended at the other
            tasks.start_soon(signs_in, bob, "bob", second)

        await ann.types("words of the first", "Enter")
        await ann.shows("You said: words of the first")
        await bob.types("words of the second", "Enter")
        await bob.shows("You said: words of the second")
        for witness, words, name in ((seen[0], "the first", "ann"), (seen[1], "the second", "bob")):
            (caller,) = witness.callers_of(words)
            assert isinstance(caller, Member)
            assert caller.person == name
        assert not seen[0].callers_of("the second")

        await second.people.disable("ann")  # the operator's command may run anywhere
        await ann.types("words after the end", "Enter")
        await ann.shows("Please run /login")
        assert not seen[0].callers_of("after the end")
        await bob.types("words that go on", "Enter")
        await bob.shows("You said: words that go on")

        await bob.types("/logout", "Enter")
        with anyio.fail_after(30):
            while bob.credentials:
                await anyio.sleep(0.1)
        async with open_store(StoreOptions(**database)) as store:
            await store.migrate(SCHEMA)
            with anyio.fail_after(10):
                while await store.all(text("SELECT * FROM sign_in_sessions")):
                    await anyio.sleep(0.1)


@pytest.mark.slow
async def test_terminals_of_one_person_renew_without_signing_each_other_out(tmp_path):
    """Each process of Claude Code renews from the refresh token that it has in memory."""
    database = {"url": str(tmp_path / "store.db")}
    witness = Witness(NoOptions(), name="witness")
    async with serving(database, witness, settings=SETTINGS, access_minutes=1) as team:
        await team.hires()
        terminal = Terminal(tmp_path / "ann", team.url)
        async with terminal.started():
            code, _ = await terminal.begins_login()
            await consents(team, code, "ann")
            await terminal.ends_login("ann")
            await terminal.shows("echo/m")
            for number in range(2):
                assert f"You said: from another one {number}" in await terminal.printed(
                    f"from another one {number}"
                )
            await terminal.types("from the first", "Enter")
            await terminal.shows("You said: from the first")
        stored = terminal.credentials
        async with httpx2.AsyncClient(base_url=team.url, trust_env=False) as client:
            form = {"grant_type": "refresh_token", "refresh_token": stored["idpRefreshToken"]}
            assert (await client.post("/oauth/token", data=form)).status_code == 200
        async with open_store(StoreOptions(**database)) as store:
            used = await store.all(text("SELECT used FROM sign_in_tokens WHERE used IS NOT NULL"))
        assert len(used) >= 3


@pytest.mark.slow
async def test_over_tls_a_renewed_certificate_means_signing_in_again(tmp_path):
    """Running sessions go on until their access token ends; the next start is signed out."""
    database = {"url": str(tmp_path / "store.db")}
    async with TlsProxy().started() as proxy:
        server = {"allowed_hosts": [f"localhost:{proxy.port}"]}
        options = {"settings": SETTINGS, "public_url": proxy.url}
        async with serving(database, server=server, **options) as team:
            await team.hires()
            proxy.target = team.port
            authority = tmp_path / "authority.pem"
            proxy.authority.cert_pem.write_to_path(str(authority))
            terminal = Terminal(tmp_path / "ann", proxy.url, NODE_EXTRA_CA_CERTS=str(authority))

            async def signs_in():
                code, page = await terminal.begins_login()
                assert page == f"{proxy.url}/device"
                await consents(proxy, code, "ann", verify=proxy.trust)
                await terminal.ends_login("ann")
                await terminal.shows("echo/m")

            async with terminal.started():
                await signs_in()
                await terminal.types("words before", "Enter")
                await terminal.shows("You said: words before")
                await proxy.renew()
                await terminal.types("words after", "Enter")
                await terminal.shows("You said: words after")
            printed = await terminal.printed("words of a new start")
            assert "Not signed in to the Cloud gateway" in printed
            async with terminal.started():
                await signs_in()
                await terminal.types("words of the new sign-in", "Enter")
                await terminal.shows("You said: words of the new sign-in")

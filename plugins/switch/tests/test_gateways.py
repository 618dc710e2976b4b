"""A choice that is made through one gateway holds in the others, if they share a database."""

from contextlib import asynccontextmanager
from itertools import count

import anyio
import pytest
from talk import Client, backend, running

from plugway.testing import build_plugin, postgresql_server
from plugway_endpoints import Choices, choices_path
from plugway_store import StorePlugin
from plugway_store import _topics as topics

pytestmark = pytest.mark.anyio
_numbers = count()


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(topics, "POLL_SECONDS", 0.05)


@pytest.fixture
def member(database, monkeypatch, tmp_path):
    """Starts a gateway with a folder of its own, and the database that all share."""

    @asynccontextmanager
    async def start(folder, *, database=database):
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / folder))
        store = build_plugin(StorePlugin, "store", **database, busy_seconds=0.5)
        backends = (backend("home"), backend("other"), backend("cloud", "cloud"))
        port = 9000 + next(_numbers)  # of the name by which gateways know each other
        async with running(*backends, others=[store], before=(), port=port) as found:
            yield found

    return start


async def shared(running):
    """Wait until all that this gateway put is in the database, and it has read what is there."""
    (store,) = [p for p in running.app.snapshot.plugins if isinstance(p, StorePlugin)]
    for _ in range(3):
        await store._topics.next_round()


async def test_a_choice_holds_in_all_gateways(member):
    async with member("a") as one, member("b") as two:
        first = Client(one)
        assert await first.say("hello") == "home/m here"
        assert "served by `other/m`" in await first.say("@plugway use other")
        second = Client(two, session=first.session)
        await shared(two)
        assert await second.say("hello") == "other/m here"
        assert "Back to" in await second.say("@plugway use default")
        await shared(one)
        assert await first.say("hello") == "home/m here"


async def test_choices_of_subagents_end_with_that_of_the_session_in_all_gateways(member):
    async with member("a") as one, member("b") as two:
        first = Client(one)
        await first.say("@plugway use other for agents")
        await shared(two)
        agent = {"x-claude-code-agent-id": "helper"}
        assert await Client(two, session=first.session, **agent).say("hi") == "other/m here"
        second = Client(two, session=first.session)
        await second.say("@plugway use home")
        await shared(one)
        assert await Client(one, session=first.session, **agent).say("hi") == "home/m here"


async def test_a_zone_that_another_gateway_served_needs_no_consent(member):
    async with member("a") as one, member("b") as two:
        first = Client(one, model="cloud/m")
        assert await first.say("hello") == "cloud/m here"
        await shared(one)
        await shared(two)
        second = Client(two, session=first.session)
        assert "served by `cloud/m`" in await second.say("@plugway use cloud")
        stranger = Client(two)
        assert "new to it" in await stranger.say("@plugway use cloud")


async def test_a_restart_brings_no_choice_back_that_was_removed_meanwhile(member):
    async with member("a") as one:
        first = Client(one)
        await first.say("@plugway use other")
        await shared(one)
    async with member("b") as two:  # while `a` is stopped
        second = Client(two, session=first.session)
        assert await second.say("hello") == "other/m here"
        await second.say("@plugway use default")
        await shared(two)
    async with member("a") as one:  # whose file has the choice that was removed since
        assert await Client(one, session=first.session).say("hello") == "home/m here"


async def test_a_file_from_before_the_database_is_taken_over(member, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "a"))
    async with running(backend("home"), backend("other")) as alone:
        first = Client(alone)
        await first.say("@plugway use other")
    async with member("a") as one, member("b") as two:
        await shared(one)
        await shared(two)
        assert await Client(two, session=first.session).say("hello") == "other/m here"


async def test_after_the_last_gateway_the_file_of_each_has_what_all_chose(member):
    async with member("a") as one:
        path = choices_path()
        async with member("b") as two:
            first = Client(two)
            await first.say("@plugway use other")
            await shared(one)
            with anyio.fail_after(10):
                while True:
                    kept = Choices(path)
                    await kept.load()
                    if kept.of(first.session, None, "home/m"):
                        break
                    await shared(one)


@pytest.mark.slow
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
async def test_without_its_database_a_gateway_keeps_choices_alone_and_says_so(
    member, monkeypatch, caplog
):
    monkeypatch.setattr(topics, "RETRY_SECONDS", 0.1)
    with postgresql_server() as server:
        database = server.database()
        async with member("a", database=database) as one, member("b", database=database) as two:
            first = Client(one)
            await first.say("hello")
            server.kill()
            said = await first.say("@plugway use other")
            assert "other gateways will know this only when it does" in said
            assert await first.say("hello") == "other/m here"
            second = Client(two, session=first.session)
            assert await second.say("hello") == "home/m here"
            await anyio.to_thread.run_sync(server.start)
            with anyio.fail_after(20):
                while await second.say("hello") != "other/m here":
                    await shared(two)
    said = [record.getMessage() for record in caplog.records]
    assert sum("nothing is shared with other gateways until" in text for text in said) == 2

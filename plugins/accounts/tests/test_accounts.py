"""People at a real gateway: who gets in, with which models, and what each sees."""

import logging
import sqlite3
from typing import ClassVar

import anyio
import pytest
import sqlalchemy as sa
from accounts_kit import people_in, serving

from plugway import NoOptions, Plugin, hookimpl
from plugway.config.config import parse_config
from plugway.http.snapshot import build_snapshot
from plugway.testing import FeatureContract, postgresql_server
from plugway.types.errors import ConfigError
from plugway_accounts import Accounts, Member
from plugway_accounts._keys import new_key
from plugway_accounts._tables import PEOPLE
from plugway_store import StoreError, StoreOptions, StorePlugin, open_store

pytestmark = pytest.mark.anyio


class TestContract(FeatureContract):
    plugin = Accounts
    beside = ((StorePlugin, {}),)


@pytest.fixture
async def team(tmp_path):
    async with serving({"url": str(tmp_path / "store.db")}) as team:
        await team.people.add("ann")
        await team.people.add("bob", models=["plain/allowed"])
        yield team


async def test_a_person_gets_answers_and_the_key_goes_nowhere(team):
    made = await team.people.issue("ann")
    response = await team.ask(made.secret)
    assert response.status_code == 200
    seen = team.backend.seen[-1]
    assert made.secret not in repr((seen.headers, seen.raw))


async def test_a_person_is_refused_models_that_are_not_granted(team):
    made = await team.people.issue("bob")
    assert (await team.ask(made.secret, "plain/allowed")).status_code == 200
    response = await team.ask(made.secret, "plain/other")
    # With 403, Claude Code says "Failed to authenticate".
    assert response.status_code == 400
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["message"] == "`bob` may not use model `plain/other`"
    listed = await team.call(made.secret, path="/v1/models")
    assert {model["id"] for model in listed.json()["data"]} <= {"anthropic/plain/allowed"}


async def test_a_key_works_in_every_header_that_a_client_may_use(team):
    made = await team.people.issue("ann")
    for name in ("x-api-key", "plugway-token", "x-goog-api-key"):
        response = await team.running.client.get(
            "/v1/account", headers={"authorization": "", name: made.secret}
        )
        assert response.json()["name"] == "ann"


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            "pw_",
            "pw_short",
            "pw_" + "a" * 42,
            "pw_" + "a" * 44,
            "PW_" + "a" * 43,
            "pw-" + "a" * 43,
        ),
        *("pw_" + "a" * 42 + "-", "pw_" + "a" * 42 + "é", "pw_" + "a" * 43, "x", "null", "Bearer"),
        *("pw_" + "a" * 43 + " x", "' OR 1=1 --", "a" * 4000, "pw_" + "%00" * 10, "sk-ant-oat01-x"),
    ],
    ids=lambda text: ascii(text[:14]),
)
async def test_a_key_in_a_wrong_form_is_refused_like_any_wrong_token(team, wrong):
    for line in (f"Bearer {wrong}", f"Basic {wrong}", wrong):
        response = await team.running.client.get(
            "/v1/account", headers={"authorization": line.encode("latin-1")}
        )
        assert response.status_code == 401
        assert "ANTHROPIC_AUTH_TOKEN" in response.text


async def test_a_revoked_key_is_refused_on_the_next_request_of_every_gateway(database):
    async with serving(database) as one, serving(database) as other:
        await one.people.add("ann")
        made = await one.people.issue("ann")
        for team in (one, other):
            assert (await team.ask(made.secret)).status_code == 200
        await one.people.revoke(made.id)
        for team in (one, other):
            response = await team.ask(made.secret)
            assert response.status_code == 401
            assert response.headers["x-should-retry"] == "false"
            assert f"the key `{made.id}` was revoked" in response.json()["error"]["message"]
            assert len(team.backend.seen) == 1


async def test_a_person_sees_itself_and_nobody_else(team):
    ann, bob = await team.people.issue("ann", label="laptop"), await team.people.issue("bob")
    body = (await team.call(ann.secret)).json()
    assert body["name"] == "ann"
    assert body["models"] == ["*"]
    assert body["groups"] == []
    assert [key["id"] for key in body["keys"]] == [ann.id]
    assert body["keys"][0]["label"] == "laptop"
    assert body["keys"][0]["last_used"]
    assert "bob" not in repr(body)
    assert bob.id not in repr(body)
    assert ann.secret not in repr(body)
    other = (await team.call(bob.secret)).json()
    assert (other["name"], other["models"]) == ("bob", ["plain/allowed"])
    owner = (await team.running.client.get("/v1/account")).json()
    assert owner == {"name": "owner", "models": ["*"]}


class Witness(Plugin):
    """Keeps what a plugin sees of a caller."""

    seen: ClassVar = []

    @hookimpl
    async def transform_request(self, request, exchange):
        self.seen.append((exchange.session_id, exchange.caller))


async def test_two_people_with_the_same_session_id_have_two_sessions(tmp_path):
    database = {"url": str(tmp_path / "store.db")}
    async with serving(database, Witness(None, name="witness")) as team:
        for name in ("ann", "bob"):
            await team.people.add(name)
            made = await team.people.issue(name)
            headers = {"x-claude-code-session-id": "the-same"}
            assert (await team.ask(made.secret, headers=headers)).status_code == 200
    (first, ann), (second, bob) = Witness.seen
    assert first != second
    assert (ann.person, bob.person) == ("ann", "bob")
    assert isinstance(ann, Member), "plugins know the person"


async def test_when_a_key_was_used_is_stored_at_the_end_and_not_for_each_request(tmp_path):
    database = {"url": str(tmp_path / "store.db")}
    async with serving(database) as team:
        await team.people.add("ann")
        made = await team.people.issue("ann")
        await team.ask(made.secret)
        (key,) = await team.people.keys()
        assert key.last_used is None
    async with people_in(database) as people:
        (key,) = await people.keys()
        assert key.last_used is not None


async def test_a_key_that_nobody_has_is_unknown(team):
    assert (await team.ask(new_key().secret)).status_code == 401


class Broken:
    """A database that does not respond."""

    async def all(self, *_):
        raise StoreError("db", "cannot connect", "start it", "unreachable")


async def test_while_the_database_is_down_people_are_refused_by_default(team, caplog):
    made = await team.people.issue("ann")
    assert (await team.ask(made.secret)).status_code == 200
    team.people._store = Broken()
    with caplog.at_level(logging.WARNING):
        response = await team.ask(made.secret)
    assert response.status_code == 503
    assert response.headers["x-should-retry"] == "true"
    assert "db" not in response.json()["error"]["message"].split()
    assert "cannot connect" in caplog.text
    assert made.secret not in caplog.text
    assert (await team.running.client.get("/v1/account")).status_code == 200, "the owner"


async def test_keys_that_were_accepted_can_be_let_in_while_the_database_is_down(tmp_path):
    database = {"url": str(tmp_path / "store.db")}
    async with serving(database, options={"if_unavailable": "remember"}) as team:
        await team.people.add("ann")
        known, revoked, never = [await team.people.issue("ann") for _ in range(3)]
        for key in (known, revoked):
            assert (await team.ask(key.secret)).status_code == 200
        await team.people.revoke(revoked.id)
        assert (await team.ask(revoked.secret)).status_code == 401
        store, team.people._store = team.people._store, Broken()
        assert (await team.ask(known.secret)).status_code == 200
        assert (await team.ask(revoked.secret)).status_code == 503
        assert (await team.ask(never.secret)).status_code == 503
        team.people._store = store


async def test_people_are_served_while_another_program_writes_to_the_database(tmp_path):
    path = tmp_path / "store.db"
    async with serving({"url": str(path)}) as team:
        await team.people.add("ann")
        made = await team.people.issue("ann")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            assert (await team.ask(made.secret)).status_code == 200
        finally:
            other.close()


async def test_a_database_of_a_newer_version_stops_the_start_and_stays_as_it_is(tmp_path, caplog):
    database = {"url": str(tmp_path / "store.db")}
    async with people_in(database) as people:
        await people.add("ann")
        await people._store.execute(sa.text("UPDATE accounts_version SET version_num = '0099'"))
    with pytest.raises(ExceptionGroup):
        async with serving(database):
            pass
    said = next(r for r in caplog.records if r.name == "plugway.app").getMessage()
    assert said.startswith("plugin `accounts`: ")
    assert "at revision 0099, newer than this version of Plugway knows" in said
    async with open_store(StoreOptions(**database)) as store:
        assert (await store.first(sa.select(PEOPLE.c.name))) == ("ann",)


def test_without_a_store_the_configuration_says_what_to_add():
    with pytest.raises(ConfigError, match="needs the plugin `store`, which is not listed") as error:
        build_snapshot(parse_config("plugins:\n  - use: accounts\n  - use: echo", "test"))
    assert "add `- use: store`" in str(error.value)


@pytest.mark.slow
async def test_people_are_served_again_when_a_killed_server_is_back():
    with postgresql_server() as server:
        async with serving(server.database()) as team:
            await team.people.add("ann")
            made = await team.people.issue("ann")
            assert (await team.ask(made.secret)).status_code == 200
            await anyio.to_thread.run_sync(server.kill)
            assert (await team.ask(made.secret)).status_code == 503
            await anyio.to_thread.run_sync(server.start)
            assert (await team.ask(made.secret)).status_code == 200


class Slow(Plugin):
    """Keeps an exchange open until a test lets it go."""

    def __init__(self):
        super().__init__(NoOptions(), name="slow")
        self.started, self.go = anyio.Event(), anyio.Event()

    @hookimpl
    async def around_attempt(self, send, request, attempt):
        self.started.set()
        await self.go.wait()
        return await send(request, attempt)


async def test_a_reply_that_has_begun_ends_although_its_key_is_revoked_and_its_group_removed(
    tmp_path,
):
    slow = Slow()
    async with serving({"url": str(tmp_path / "store.db")}, slow) as team:
        await team.people.add_group("staff", models=["plain/*"])
        await team.people.add("ann", models=[], groups=["staff"])
        made = await team.people.issue("ann")
        replies = []

        async def ask():
            replies.append(await team.ask(made.secret))

        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await slow.started.wait()
            await team.people.remove_group("staff")
            assert (await team.ask(made.secret)).status_code == 400
            await team.people.revoke(made.id)
            assert (await team.ask(made.secret)).status_code == 401
            slow.go.set()
    assert replies[0].status_code == 200

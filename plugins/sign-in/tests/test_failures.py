"""A database that is locked or broken: clients and people are told to try again."""

import sqlite3
from contextlib import closing

import pytest
from sign_in_kit import Browser, Client, bearer, heading, serving, signed_in

pytestmark = pytest.mark.anyio
TABLES = ("sign_in_tokens", "sign_in_sessions", "sign_in_requests", "sign_in_identities")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@pytest.fixture
async def team(path):
    async with serving({"url": str(path), "busy_seconds": 0.2}) as team:
        await team.hires()
        yield team


def broken(path):
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        connection.commit()


def repaired(path):
    with closing(sqlite3.connect(path)) as connection:
        for table in TABLES:
            connection.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
        connection.commit()


async def test_a_client_keeps_its_sign_in_while_the_database_is_broken(team, path, caplog):
    tokens = await signed_in(team)
    broken(path)
    async with Client(team) as client:
        for _ in range(5):
            answer = await client.get("/v1/models", headers=bearer(tokens))
            assert answer.status_code == 503
            assert answer.headers["x-should-retry"] == "true"
        assert tokens["access_token"] not in answer.text + caplog.text
        renewed = await client.renews(tokens)
        assert (renewed.status_code, renewed.json()["error"]) == (503, "temporarily_unavailable")
        assert renewed.headers["retry-after"] == "5"
        repaired(path)
        assert (await client.get("/v1/models", headers=bearer(tokens))).status_code == 200
        assert (await client.renews(tokens)).status_code == 200


async def test_the_page_says_so_while_the_database_is_broken(team, path):
    async with Client(team) as client, Browser(team) as browser:
        begun = await client.begins()
        await browser.enters(begun["user_code"])
        broken(path)
        page = await browser.get("/device/sign-in")
        assert (page.status_code, heading(page)) == (503, "Not now")
        assert str(path) not in page.text
        assert (await client.polls(begun)).json()["error"] == "temporarily_unavailable"
        repaired(path)
        browser.page = await browser.get("/device/sign-in")
        await browser.gives("ann")
        assert heading(await browser.decides()) == "You are signed in"


async def test_while_another_program_writes_people_who_are_signed_in_work(team, path):
    tokens = await signed_in(team)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        async with Client(team) as client:
            begun = await client.post("/oauth/device_authorization", data={"a": "b"})
            assert (begun.status_code, begun.json()["error"]) == (503, "temporarily_unavailable")
            assert (await client.get("/v1/models", headers=bearer(tokens))).status_code == 200

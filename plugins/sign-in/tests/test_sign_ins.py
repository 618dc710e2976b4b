"""`plugway sign-ins`."""

import json
import time

import anyio
import pytest
from sign_in_book import Book
from sqlalchemy import insert
from typer.testing import CliRunner

from plugway_sign_in._commands import sign_ins_app
from plugway_sign_in._tables import IDENTITIES, SCHEMA
from plugway_store import StoreOptions, open_store


@pytest.fixture
def run(tmp_path):
    """Run a command line; returns the result."""
    config = tmp_path / "config.yaml"
    config.write_text(
        f"plugins:\n  - use: store\n    options: {{url: {tmp_path / 'store.db'}}}\n  - use: echo\n"
    )
    return lambda *words: CliRunner().invoke(sign_ins_app, [*words, "--config", str(config)])


@pytest.fixture
def inside(tmp_path):
    """Run a function with the database."""

    def now(work):
        async def main():
            async with open_store(StoreOptions(url=str(tmp_path / "store.db"))) as store:
                await store.migrate(SCHEMA)
                return await work(Book(store, time.time))

        return anyio.run(main)

    return now


async def three(book):
    return [await book.signed_in(name) for name in ("ann", "ann", "bob")]


def test_nobody_is_signed_in(run):
    assert run("list").stderr == "nobody is signed in\n"
    assert json.loads(run("list", "--json").stdout) == []


def test_sign_ins_are_listed_without_their_tokens(run, inside):
    tokens = inside(three)
    shown = run("list").stdout
    assert len(shown.splitlines()) == 4
    assert not any(one.access[4:] in shown or one.refresh[4:] in shown for one in tokens)
    listed = json.loads(run("list", "ann", "--json").stdout)
    assert [(one["person"], one["client"]) for one in listed] == [("ann", "claude_code")] * 2


def test_a_person_is_signed_out_on_one_machine_or_everywhere(run, inside):
    first, second, other = inside(three)
    oldest = json.loads(run("list", "ann", "--json").stdout)[-1]["id"]
    assert run("end", "ann", "--id", oldest).stderr == "ended 1 sign-in of ann\n"

    async def people(book):
        return [await book.sessions.person_of(one.access) for one in (first, second, other)]

    assert inside(people) == [None, "ann", "bob"]
    assert run("end", "ann", "--id", "%").exit_code == 1
    assert run("end", "ann").stderr == "ended 1 sign-in of ann\n"
    assert inside(people) == [None, None, "bob"]
    assert run("end", "ann").exit_code == 1


def test_who_somebody_is_at_the_provider_is_forgotten(run, inside):
    async def link(book):
        values = {"issuer": "https://idp", "subject": "u-1", "person": "ann", "email": ""}
        await book.store.execute(insert(IDENTITIES), values)

    assert run("forget", "ann").exit_code == 1
    inside(link)
    assert run("forget", "ann").exit_code == 0
    inside(link)  # the name is free


def test_without_a_database_it_says_what_is_missing(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("plugins:\n  - use: echo\n")
    done = CliRunner().invoke(sign_ins_app, ["list", "--config", str(config)])
    assert done.exit_code == 1
    assert "- use: store" in done.stderr

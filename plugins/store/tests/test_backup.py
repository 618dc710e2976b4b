"""Copies of a database that a gateway is writing, made as `docs/operating.md` says."""

import shutil
import sqlite3
import subprocess
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
from notes import NOTES, SCHEMA

from plugway_store import StoreOptions, open_store

pytestmark = pytest.mark.anyio
PAGE = (Path(__file__).parents[3] / "docs/operating.md").read_text()
(COPY,) = [line for line in PAGE.splitlines() if line.startswith("sqlite3 ~")]


def pair(connection, number):
    """Two rows that belong together."""
    for owner in (f"{number} left", f"{number} right"):
        connection.execute(sa.insert(NOTES).values(owner=owner, count=number))


def run(command, folder):
    """A command of the page, in the folder of the database."""
    command = command.replace("~/.local/share/plugway/", "")
    done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def whole(path):
    """How many pairs a copy has; all of them whole."""
    connection = sqlite3.connect(path)
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    rows = connection.execute("select count, count(*) from notes_note group by count").fetchall()
    connection.close()
    assert all(count == 2 for _, count in rows)
    return len(rows)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="the command sqlite3 is not installed")
async def test_a_copy_that_is_made_while_a_gateway_writes_is_whole(tmp_path):
    options = StoreOptions(url=str(tmp_path / "store.db"), busy_seconds=30)
    async with open_store(options) as store:
        await store.migrate(SCHEMA)
        written, copied = 0, False

        async def write():
            nonlocal written
            while not copied:
                await store.write(pair, written)
                written += 1

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(write)
            try:
                with anyio.fail_after(30):
                    while written < 20:
                        await anyio.sleep(0.01)
                await anyio.to_thread.run_sync(run, COPY, tmp_path)
            finally:
                at_the_end, copied = written, True
        (copy,) = tmp_path.glob("*copy*.db")
        assert 20 <= whole(copy) <= at_the_end + 1
        # The file alone lacks what is in its write-ahead log.
        shutil.copy(tmp_path / "store.db", tmp_path / "alone.db")
        with pytest.raises((AssertionError, sqlite3.DatabaseError)):
            assert whole(tmp_path / "alone.db") >= 20

    async with open_store(StoreOptions(url=str(copy))) as restored:
        await restored.migrate(SCHEMA)
        assert await restored.first(sa.select(NOTES).where(NOTES.c.owner == "0 left"))

"""A database that is locked, full, read-only, damaged, down or not there: what is said, and that the
store works again afterwards."""

import os
import shutil
import sqlite3
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
import sqlalchemy as sa
import trustme
from notes import NOTES, SCHEMA

from plugway.testing import postgresql_server
from plugway_store import StoreError, StoreOptions, open_store

pytestmark = pytest.mark.anyio
NOBODY = 65534


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.db"


@contextmanager
def another_program_writes(path):
    """Hold SQLite's write lock, as another process does."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


@contextmanager
def ordinary_user():
    """Root may write everywhere; the yielded folder is another user's."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    folder.chmod(0o755)
    if root:
        os.seteuid(NOBODY)
    try:
        yield folder, root
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


async def insert(store, owner="ann"):
    return await store.execute(sa.insert(NOTES).values(owner=owner, count=0))


@contextmanager
def refused(kind, *texts):
    with pytest.raises(StoreError) as error:
        yield
    for text in texts:
        assert text in str(error.value)
    assert error.value.kind == kind, error.value


async def test_a_locked_database_is_waited_for_and_then_named(path):
    async with open_store(StoreOptions(url=str(path), busy_seconds=0.2)) as store:
        await store.migrate(SCHEMA)
        with another_program_writes(path):
            with refused("busy", str(path), "locked", "another program is writing"):
                await insert(store)
            assert await store.all(sa.select(NOTES)) == [], "readers never wait"
        assert await insert(store) == 1


async def test_a_lock_that_ends_in_time_is_not_noticed(path):
    async with open_store(StoreOptions(url=str(path), busy_seconds=30)) as store:
        await store.migrate(SCHEMA)
        released = threading.Event()

        async def write():
            await insert(store)
            assert released.is_set()

        async with anyio.create_task_group() as group:
            with another_program_writes(path):
                group.start_soon(write)
                await anyio.wait_all_tasks_blocked()
                released.set()


async def test_those_who_wait_for_a_lock_in_a_queue_wait_no_longer_than_the_first(path):
    async with open_store(StoreOptions(url=str(path), busy_seconds=0.3)) as store:
        await store.migrate(SCHEMA)
        failed = []

        async def write():
            try:
                await insert(store)
            except StoreError as error:
                failed.append(error.kind)

        with another_program_writes(path), anyio.fail_after(5):
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(write)
        assert failed == ["busy"] * 100


async def test_a_full_database_is_named_and_keeps_what_it_has(path):
    async with open_store(StoreOptions(url=str(path))) as store:
        await store.migrate(SCHEMA)
        await insert(store)
        pages = await store.write(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar())
        await store.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar())
        fill = sa.insert(NOTES).values(count=0, owner=sa.bindparam("name"))
        many = [{"name": f"{i:064}"} for i in range(2000)]
        with refused("full", str(path), "full", "free space on this disk"):
            await store.write(lambda connection: connection.execute(fill, many))
        assert len(await store.all(sa.select(NOTES))) == 1


async def test_a_file_that_may_not_be_written_is_named():
    with ordinary_user() as (folder, root):
        path = folder / "store.db"
        with refused("read-only", str(path), "Permission denied", "can create and write"):
            if not root:
                folder.chmod(0o555)
            async with open_store(StoreOptions(url=str(path))):
                pass


async def test_a_folder_that_may_not_be_written_is_named():
    """SQLite needs to create files beside the database."""
    with ordinary_user() as (folder, root):
        path = folder / "store.db"
        if root:
            os.seteuid(0)
        path.touch()
        path.chmod(0o666)
        if root:
            os.seteuid(NOBODY)
        else:
            folder.chmod(0o555)
        with pytest.raises(StoreError, match=r"store\.db: ") as error:
            async with open_store(StoreOptions(url=str(path))):
                pass
        assert error.value.kind in ("read-only", "unreachable"), error.value
        assert "writ" in str(error.value)


async def test_a_folder_in_place_of_the_file_is_named(tmp_path):
    with refused("read-only", str(tmp_path), "Is a directory"):
        async with open_store(StoreOptions(url=str(tmp_path))):
            pass


@pytest.mark.parametrize(
    "content", [b"not a database, but a letter to a friend" * 50, b"\0" * 5000]
)
async def test_another_file_is_refused_and_left_as_it_is(path, content):
    path.write_bytes(content)
    with refused("damaged", str(path), "not a database", "nothing was changed"):
        async with open_store(StoreOptions(url=str(path))):
            pass
    assert path.read_bytes() == content


async def test_the_file_is_for_this_user_only(path):
    async with open_store(StoreOptions(url=str(path))) as store:
        await store.migrate(SCHEMA)
        await insert(store)
        modes = {one.name: oct(one.stat().st_mode & 0o777) for one in path.parent.glob("store.db*")}
    assert set(modes.values()) == {"0o600"}
    assert len(modes) == 3, "the file, its log and its index"


async def test_what_is_written_after_a_reload_outlives_commands_of_other_processes(path):
    """A reload opens the file again in the same process, while the first store is in use."""
    options = StoreOptions(url=str(path))
    count = f"import sqlite3; c = sqlite3.connect({str(path)!r}); "
    count += "print(c.execute('SELECT count(*) FROM notes_note').fetchone()[0]); c.close()"

    async def counted():
        done = await anyio.run_process([sys.executable, "-c", count])
        return int(done.stdout)

    async with open_store(options) as before:
        await before.migrate(SCHEMA)
        await insert(before, "1")
        async with open_store(options) as after:
            await insert(after, "2")
            assert await counted() == 2
            await insert(after, "3")
            await insert(before, "4")
            assert await counted() == 4
        await insert(before, "5")
        assert await counted() == 5


async def test_reading_cannot_write(path):
    async with open_store(StoreOptions(url=str(path))) as store:
        await store.migrate(SCHEMA)
        with refused("read-only"):
            await store.read(lambda c: c.execute(sa.insert(NOTES).values(owner="x", count=0)))


async def test_a_crash_of_the_program_keeps_what_was_committed(path):
    """The files as they are while the store is open are those after `kill -9`."""
    async with open_store(StoreOptions(url=str(path))) as store:
        await store.migrate(SCHEMA)
        for owner in "abc":
            await insert(store, owner)
        crashed = path.parent / "crashed"
        crashed.mkdir()
        for one in path.parent.glob("store.db*"):
            shutil.copy(one, crashed)
    async with open_store(StoreOptions(url=str(crashed / "store.db"))) as store:
        await store.migrate(SCHEMA)
        assert len(await store.all(sa.select(NOTES))) == 3


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────


async def test_a_server_that_is_not_there_is_named(postgres):
    options = {**postgres.database(), "url": "postgresql://plugway@127.0.0.1:1/x"}
    with refused("unreachable", "postgresql://plugway@127.0.0.1:1/x", "check that the server runs"):
        async with open_store(StoreOptions(**options)):
            pass


async def test_a_wrong_password_or_database_is_named_without_the_password(postgres):
    options = postgres.database()
    with refused("refused", "password authentication failed", "check the user") as _:
        async with open_store(StoreOptions(**{**options, "password": "wrong-1f2e"})):
            pass
    missing = {**options, "url": options["url"] + "x"}
    with refused("refused", "does not exist", "create the database"):
        async with open_store(StoreOptions(**missing)):
            pass


async def test_a_user_who_may_not_create_tables_is_told(postgres):
    options = postgres.database()
    async with open_store(StoreOptions(**options)) as store:
        await store.execute(sa.text("CREATE ROLE reader LOGIN PASSWORD 'reader-password'"))
    weak = options["url"].replace("plugway@", "reader@")
    async with open_store(StoreOptions(url=weak, password="reader-password")) as store:
        with refused("refused", "permission denied", "let this user create and change tables"):
            await store.migrate(SCHEMA)


async def test_a_read_only_server_is_named(postgres):
    options = postgres.database()
    async with open_store(StoreOptions(**options)) as store:
        await store.migrate(SCHEMA)
        name = options["url"].rpartition("/")[2]
        await store.execute(
            sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        )
    async with open_store(StoreOptions(**options)) as store:
        with refused("read-only", "connect to the primary"):
            await insert(store)


async def test_a_row_that_is_locked_too_long_fails_in_time(postgres):
    options = {**postgres.database(), "busy_seconds": 0.3}
    async with (
        open_store(StoreOptions(**options)) as store,
        open_store(StoreOptions(**{**options, "busy_seconds": 10})) as other,
    ):
        await store.migrate(SCHEMA)
        await insert(store)

        held = anyio.Event()

        def hold(connection):
            connection.execute(sa.update(NOTES).values(count=1))
            held.set()
            connection.execute(sa.text("SELECT pg_sleep(1)"))

        async with anyio.create_task_group() as group:
            group.start_soon(other.write, hold)
            await held.wait()
            with refused("unreachable", "timed out"):
                await store.execute(sa.update(NOTES).values(count=2))
        assert (await store.first(sa.select(NOTES.c.count)))[0] == 1


@pytest.mark.slow
async def test_the_certificate_of_a_server_is_checked_as_the_url_says(tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    certificate = authority.issue_cert("localhost")
    for name, one in (("ca", authority), ("other", stranger)):
        one.cert_pem.write_to_path(str(tmp_path / f"{name}.pem"))
    with postgresql_server() as server:
        folder = server.folder / "data"
        pem = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        for name, content in (
            ("server.crt", pem),
            ("server.key", certificate.private_key_pem.bytes()),
        ):
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)
            shutil.chown(folder / name, folder.owner())
        options = server.database()
        async with open_store(StoreOptions(**options)) as store:
            await store.read(lambda c: c.execute(sa.text("ALTER SYSTEM SET ssl = on")))
            await store.execute(sa.text("SELECT pg_reload_conf()"))

        async def encrypted(mode, host="localhost", root="ca"):
            url = options["url"].replace("127.0.0.1", host) + f"?sslmode={mode}"
            url += f"&sslrootcert={tmp_path / root}.pem" if mode.startswith("verify") else ""
            async with open_store(StoreOptions(**{**options, "url": url})) as store:
                asked = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
                return (await store.first(sa.text(asked)))[0]

        assert not await encrypted("disable")
        for mode in ("require", "verify-ca", "verify-full"):
            assert await encrypted(mode)
        assert await encrypted("verify-ca", "127.0.0.1")
        for host, root in (("127.0.0.1", "ca"), ("localhost", "other")):
            with refused("unreachable", "certificate verify failed"):
                await encrypted("verify-full", host, root)


@pytest.mark.slow
async def test_a_server_that_is_killed_loses_nothing_that_was_committed():
    with postgresql_server() as server:
        async with open_store(StoreOptions(**server.database())) as store:
            await store.migrate(SCHEMA)
            await insert(store)
            add = sa.update(NOTES).values(count=NOTES.c.count + 1)
            done, failed = [], []

            async def work():
                for _ in range(100):
                    try:
                        await store.execute(add)
                    except StoreError as error:
                        failed.append(error.kind)
                    else:
                        done.append(1)
                    if len(done) == 100:
                        await anyio.to_thread.run_sync(server.kill)

            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(work)
            assert set(failed) == {"unreachable"}
            await anyio.to_thread.run_sync(server.start)
            counted = (await store.first(sa.select(NOTES.c.count)))[0]
            assert len(done) <= counted <= len(done) + 5, "only what was in flight is unknown"
            assert await store.execute(add) == 1

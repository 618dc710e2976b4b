"""The file of recordings: bounds, keys, and what was altered."""

import json
import os
import sqlite3
import stat
from contextlib import closing

import anyio
import pytest
from recording import (
    ID,
    KEY,
    SESSION,
    asked_number,
    body,
    reading,
    record,
    recordings,
    say,
    send,
    serving,
    text_of,
    turns_of,
)

from plugway import ConfigError
from plugway.config.config import parse_config
from plugway.http.snapshot import build_snapshot
from plugway.testing import ScriptedUpstream, WaitFor, gateway
from plugway_recorder import _vault
from plugway_recorder._options import RecorderOptions
from plugway_recorder._store import MOST_CONVERSATIONS, Limits, Store, Unreadable
from plugway_recorder._vault import Altered, Vault

pytestmark = pytest.mark.anyio
ONE, TWO = ("owner", "one-conversation"), ("owner", "two-conversation")
FEW = Limits(turns=3, bytes=10_000, days=30)


def store(folder, key=KEY, limits=FEW):
    return Store(folder / "recordings" / "r.db", key, limits)


def filled(folder, count=3, **more):
    found = store(folder, **more)
    assert found.start(ONE) == ""
    for number in range(count):
        found.add(ONE, b"turn %d " % number * 20)
    return found


def edit(found, statement, *values):
    with closing(sqlite3.connect(found.path)) as db, db:
        assert db.execute(statement, values).rowcount


def test_a_turn_is_read_back_and_its_text_is_in_no_file(tmp_path):
    found = filled(tmp_path, 2)
    assert [n for n, _ in found.turns(ONE)] == [1, 2]
    assert dict(found.turns(ONE))[2] == b"turn 1 " * 20
    assert list(store(tmp_path).turns(ONE, 2)) == [(2, b"turn 1 " * 20)]
    for path in tmp_path.rglob("*.db*"):
        assert b"turn 1" not in path.read_bytes()


@pytest.mark.skipif(os.name == "nt", reason="files have no mode there")
def test_the_file_is_readable_by_its_user_alone(tmp_path):
    found = filled(tmp_path)
    found.path.chmod(0o644)
    found.conversations()
    assert stat.S_IMODE(found.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(found.path.parent.stat().st_mode) == 0o700


def test_a_recording_ends_with_the_last_turn_that_it_may_have(tmp_path):
    found = filled(tmp_path, 2)
    assert found.add(ONE, b"x") == "it has 3 turns, the most that are kept"
    assert found.add(ONE, b"x") is None
    assert len(list(found.turns(ONE))) == 3
    assert "3 turns already" in found.start(ONE)


def test_nothing_more_is_recorded_when_the_space_is_used(tmp_path):
    found = filled(tmp_path, 1, limits=Limits(100, 1000, 30))
    assert found.start(TWO) == ""
    assert found.add(TWO, os.urandom(2000)) == "the recordings use all of their space"
    assert found.add(ONE, b"small") == "", "what fits is still kept"
    found.add(ONE, os.urandom(700))
    assert found.add(ONE, os.urandom(700)) == "the recordings use all of their space"
    assert len(list(found.turns(ONE))) == 3, "nothing was removed"


def test_conversations_are_bounded(tmp_path):
    found = filled(tmp_path, 0)
    row = "insert into conversations values (?, ?, '', ?, ?, 0, 0, '')"
    with closing(sqlite3.connect(found.path)) as db, db:
        rows = [("phone", f"s{n}", 9e9, 9e9) for n in range(MOST_CONVERSATIONS - 1)]
        db.executemany(row, rows)
    assert "conversations are recorded already" in found.start(TWO)


def test_a_recording_is_removed_some_days_after_its_last_turn(tmp_path):
    found = filled(tmp_path)
    edit(found, "update conversations set changed = changed - ?", 29 * 86400)
    assert len(found.conversations()) == 1
    edit(found, "update conversations set changed = changed - ?", 2 * 86400)
    assert found.conversations() == []
    with closing(sqlite3.connect(found.path)) as db:
        assert db.execute("select count(*) from turns").fetchone() == (0,)


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("update turns set data = substr(data, 1, length(data) - 1) || x'00' where number = 2", "altered"),
        ("update turns set data = x'' where number = 2", "altered"),
        ("update turns set data = (select data from turns where number = 1) where number = 2", "altered"),
        ("delete from turns where number = 2", "missing"),
        ("update turns set key = 'abcdef01' where number = 2", "another key"),
        ("update meta set salt = x'00112233445566778899aabbccddeeff'", "another key"),
    ],
    ids=["a byte", "empty", "moved", "removed", "key", "salt"],
)  # fmt: skip
def test_what_was_altered_is_named_with_the_way_out(statement, what, tmp_path):
    edit(filled(tmp_path), statement)
    with pytest.raises(Unreadable, match=what) as caught:
        list(store(tmp_path).turns(ONE))
    assert "plugway recordings rm one-conversation" in str(caught.value)
    assert b"turn" not in str(caught.value).encode().replace(b"turn 1", b"").replace(b"turn 2", b"")


def test_a_turn_of_another_conversation_cannot_be_put_in_its_place(tmp_path):
    found = filled(tmp_path, 1)
    found.start(TWO)
    found.add(TWO, b"other")
    move = "update turns set data = (select data from turns where session = ?) where session = ?"
    edit(found, move, TWO[1], ONE[1])
    with pytest.raises(Unreadable, match="altered"):
        list(found.turns(ONE))


def test_another_key_is_told_apart_from_an_altered_file(tmp_path):
    filled(tmp_path)
    with pytest.raises(Unreadable, match="encrypted with another key than `key` names now"):
        list(store(tmp_path, key="another-key-for-recordings-012345").turns(ONE))
    assert len(list(store(tmp_path).turns(ONE))) == 3


def test_a_file_that_is_no_database_is_named(tmp_path):
    found = store(tmp_path)
    found.path.parent.mkdir()
    found.path.write_bytes(b"no database at all" * 100)
    with pytest.raises(Unreadable, match="move it away"):
        found.conversations()


def test_a_bomb_is_not_unpacked(monkeypatch):
    vault = Vault(KEY, b"0" * 16)
    sealed = vault.seal(b"0" * 5000, "here")
    with monkeypatch.context() as patch:
        patch.setattr(_vault, "MOST_PLAIN", 100)
        with pytest.raises(Altered):
            vault.open(sealed, "here")
    assert vault.open(sealed, "here") == b"0" * 5000
    with pytest.raises(Altered):
        vault.open(sealed, "there")


def test_a_key_that_can_be_guessed_is_rejected():
    with pytest.raises(ValueError, match="plugway recordings new-key"):
        RecorderOptions.model_validate({"key": "short"})


def test_a_key_that_is_gone_stops_the_start_and_is_named(monkeypatch):
    monkeypatch.delenv("KEY_OF_RECORDINGS", raising=False)
    text = "plugins:\n  - {use: recorder, options: {key: {$env: KEY_OF_RECORDINGS}}}\n  - {use: echo}\n"
    with pytest.raises(ConfigError, match="KEY_OF_RECORDINGS"):
        build_snapshot(parse_config(text, "test"))


async def test_an_altered_file_is_an_error_with_the_fix_and_no_crash(state_folder):
    async with serving() as running:
        await record(running, 2)
        await turns_of(running)
        with closing(sqlite3.connect(state_folder / "recordings/recorder.db")) as db, db:
            db.execute("update turns set data = x'00' where number = 1")
        answer = await running.client.get("/recordings/turns", params={"conversation": ID})
        assert answer.status_code == 500
        assert "turn 1" in answer.json()["error"]["message"]
        assert (await send(running, body(3), **SESSION)).status_code == 200
        assert [one["turns"] for one in await recordings(running)] == [3]


async def test_a_file_that_cannot_be_used_records_nothing_and_breaks_nothing(state_folder):
    folder = state_folder / "recordings"
    folder.mkdir(parents=True)
    (folder / "recorder.db").write_bytes(b"no database at all" * 100)
    async with serving() as running:
        headers = {**SESSION, "plugway-record": "on"}
        assert (await send(running, body(1), **headers)).status_code == 200
        assert (await running.client.get("/recordings")).status_code == 500


async def test_the_last_turns_of_a_gateway_that_stops_are_kept():
    headers = {**SESSION, "plugway-record": "on"}
    for _ in range(3):
        async with serving() as running, anyio.create_task_group() as tasks:
            for number in range(1, 6):
                tasks.start_soon(lambda n=number: send(running, body(n), **headers))
    async with serving() as running:
        assert len(await turns_of(running)) == 15


async def test_recording_goes_on_through_a_reload_also_for_what_runs(monkeypatch):
    monkeypatch.setenv("KEY_OF_RECORDINGS", KEY)
    release = anyio.Event()

    def model(request):
        held = request.method == "POST" and asked_number(request) == 1
        return [WaitFor(release), *reading(request)] if held else reading(request)

    async with ScriptedUpstream(otherwise=model) as upstream, gateway([]) as running:

        async def reload():
            entries = [
                {"use": "recorder", "options": {"key": {"$env": "KEY_OF_RECORDINGS"}}},
                {
                    "use": "anthropic-compatible",
                    "name": "cloud",
                    "options": {"base_url": upstream.url},
                },
            ]
            document = {"server": {"token": "test-token"}, "plugins": entries}
            await running.app.reload(parse_config(json.dumps(document), "test"))

        await reload()
        before = running.app.snapshot
        await record(running, 0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: send(running, body(1), **SESSION))
            with anyio.fail_after(10):
                while not [r for r in upstream.requests if r.method == "POST"]:
                    await anyio.sleep(0.01)
            await reload()
            await send(running, body(2), **SESSION)
            release.set()
        with anyio.fail_after(10):
            await before.closed.wait()
        assert [turn["number"] for turn in await turns_of(running)] == [1, 2]
        assert "is not recorded any more" in text_of(await say(running, "@plugway record off"))
        await reload()
        await send(running, body(3), **SESSION)
        assert len(await turns_of(running)) == 2


async def test_a_recording_ends_at_its_limit_and_the_receipt_says_so():
    async with serving(turns=2) as running:
        await record(running, 2)
        await turns_of(running)
        await send(running, body(3), **SESSION)
        (one,) = await recordings(running)
    assert (one["turns"], one["on"]) == (2, False)
    assert one["why"] == "it has 2 turns, the most that are kept"

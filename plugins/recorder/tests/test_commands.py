"""`plugway recordings`, as a person runs it."""

import json
import sys

import anyio
import pytest
import typer
from recording import ID, SESSION, body, reading, record, send, serving

from plugway.testing import ScriptedUpstream, gateway
from plugway_keyring import _commands as keys
from tests.commands import command

pytestmark = pytest.mark.anyio


async def run(running, folder, *words, code=0, **env):
    config = folder / "config.yaml"
    config.write_text(
        f"server: {{port: {running.port}, token: {{$env: REPLAY_TOKEN}}}}\nplugins: []\n"
    )
    env = {"HOME": str(folder), "REPLAY_TOKEN": running.token, "COLUMNS": "200", **env}
    words = ["recordings", *words, "--config", str(config)]
    done = await anyio.to_thread.run_sync(lambda: command(*words, env=env, folder=folder))
    assert done.returncode == code, done.stdout + done.stderr
    return done


async def test_a_recording_is_listed_shown_and_removed(tmp_path):
    async with serving() as running:
        done = await run(running, tmp_path, "list")
        assert "nothing is recorded. Write `@plugway record`" in done.stderr
        await record(running, 3)
        done = await run(running, tmp_path, "list")
        assert ID in done.stdout
        assert "recorded" in done.stdout
        listed = json.loads((await run(running, tmp_path, "list", "--json")).stdout)
        assert [one["turns"] for one in listed["recordings"]] == [3]
        shown = (await run(running, tmp_path, "show", "5d6b")).stdout
        assert [line.split()[0] for line in shown.splitlines()] == ["turn", "1", "2", "3"]
        assert "Bash" in shown
        assert "grep" not in shown, "no text without `--turn`"
        turn = json.loads((await run(running, tmp_path, "show", "5d6b", "--turn", "3")).stdout)
        assert turn["body"]["messages"] == body(3)["messages"]
        done = await run(running, tmp_path, "show", "5d6b", "--turn", "9", code=1)
        assert "has the turns 1 to 3" in done.stderr
        done = await run(running, tmp_path, "rm", "5d6b", code=1)
        assert "nothing was removed: add `--yes`" in done.stderr
        done = await run(running, tmp_path, "rm", "5d6b", "--yes")
        assert done.stderr == f"removed {ID} with 3 turns\n"
        done = await run(running, tmp_path, "show", "5d6b", code=1)
        assert "there is no recording `5d6b`" in done.stderr


@pytest.mark.parametrize("answer", [False, True])
async def test_removing_asks_first(answer, tmp_path, monkeypatch):
    questions = []
    monkeypatch.setattr(typer, "confirm", lambda q, **_: questions.append(q) or answer)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    async with serving() as running:
        await record(running, 1)
        await run(running, tmp_path, "rm", "5d6b", code=0 if answer else 1)
        left = (await running.client.get("/recordings")).json()["recordings"]
    assert questions == ["Remove the recording of 5d6b for good?"]
    assert len(left) == (0 if answer else 1)


async def test_a_conversation_is_recorded_by_command_from_then_on(tmp_path):
    async with serving() as running:
        await send(running, body(1), **SESSION)
        assert "not recorded" in (await run(running, tmp_path, "list")).stdout
        done = await run(running, tmp_path, "on", "5d6b")
        assert f"{ID} is recorded from now on" in done.stderr
        await send(running, body(2), **SESSION)
        await run(running, tmp_path, "off", "5d6b")
        await send(running, body(3), **SESSION)
        listed = json.loads((await run(running, tmp_path, "list", "--json")).stdout)
    assert [(one["turns"], one["on"]) for one in listed["recordings"]] == [(1, False)]


async def test_a_gateway_without_the_plugin_is_named_with_the_lines_to_add(tmp_path):
    async with ScriptedUpstream(otherwise=reading), gateway([]) as running:
        done = await run(running, tmp_path, "list", code=1)
    assert "this gateway records nothing: add to" in done.stderr
    assert "- {use: recorder, options: {key: {$keyring: recordings}}}" in done.stderr


def test_a_new_key_is_printed_for_a_key_store_and_never_on_a_screen(tmp_path, monkeypatch):
    made = {
        command("recordings", "new-key", env={"HOME": str(tmp_path)}, folder=tmp_path).stdout
        for _ in range(3)
    }
    assert len(made) == 3
    for key in made:
        assert len(key.strip()) == 44
        assert all("!" <= c <= "~" for c in key.strip()), "what `plugway keys set` takes"
        assert len(key) < keys._LONGEST
    import plugway_recorder._commands as commands

    monkeypatch.setattr(commands.sys, "stdout", type("Screen", (), {"isatty": lambda _: True})())
    with pytest.raises(Exception, match="does not belong on a screen"):
        commands.new_key_command()

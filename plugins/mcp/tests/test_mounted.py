"""Mounted servers: what a faulty one does is a result that a model can read."""

import json
import os

import anyio
import psutil
import pytest

from plugins.mcp.tests.mounted import faulty, mounts, say, write_state
from plugway.testing import LeakCheck
from plugway_mcp import _connection, _mounts, _pool

pytestmark = pytest.mark.anyio


async def test_a_server_is_started_when_it_is_needed_and_then_serves_all(tmp_path):
    async with mounts(tmp_path, x=faulty()) as mounted:
        pids = {await say(mounted, "pid") for _ in range(3)}
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(said, mounted, f"text {number}")
        assert len(pids) == 1
    async with mounts(tmp_path, x=faulty()) as again:
        assert len(await again.tools()) > 10
        assert again.pools["x"].processes == 0  # its list is known


def lives(process):
    """Whether it runs: what nobody waits for, as for an orphan in a container, is dead too."""
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def said(mounted, text):
    assert await say(mounted, "echo", text) == text


@pytest.mark.parametrize(
    ("tool", "text", "told"),
    [
        ("fail", "luck", "! no luck"),
        ("wrong", "", "! `x_wrong` failed: the server sent a result that is not valid MCP"),
        ("noise", "", "noisy"),
        ("twice", "", "first"),
        ("crash", "", "about to crash: out of luck"),
        ("asks", "", "it sends requests without reading the answers"),
        ("big", "20000000", "the result has 20,000,082 bytes; at most 16,777,216 are accepted"),
        ("endless", "", "it sent a line of more than 64 MiB"),
    ],
)
async def test_a_failure_is_a_result_and_the_next_call_works(tmp_path, tool, text, told):
    async with mounts(tmp_path, x=faulty()) as mounted:
        assert told in await say(mounted, tool, text)
        assert await say(mounted, "echo", "and on") == "and on"


@pytest.mark.parametrize("code", [-32000, -32603, 0, 404])
async def test_an_error_of_any_code_leaves_the_server_running(tmp_path, code):
    async with mounts(tmp_path, x=faulty()) as mounted:
        pid = await say(mounted, "pid")
        with anyio.fail_after(5):
            told = await say(mounted, "code", str(code))
        assert told == "! `x_code` failed: the server reported an error: no such ticket"
        assert await say(mounted, "pid") == pid


START = '{"jsonrpc":"2.0","id":ID,"result":{"content":['
TEXT = START + '{"type":"text","text":"'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (TEXT + 'a\\ud83d"}]}}', "a?"),
        (TEXT + 'a\xe2\x82"}]}}', "a\ufffd"),
        ("\xef\xbb\xbf" + TEXT + 'a"}]}}', "a"),
        (TEXT + 'a"}]}}\r', "a"),
        (START + '],"structuredContent":{"a":123456789012345678901}}}', '{"a": 123456789012345678901}'),
        (START + '],"structuredContent":{"a":"\\ud800"}}}', '{"a":"?"}'),
        (TEXT + "a", "the result is not valid JSON"),
        (START + "[" * 5000 + "]" * 5000 + "]}}", "the result is not valid JSON"),
    ],
)  # fmt: skip
async def test_an_answer_with_odd_bytes_is_read_or_fails_at_once(tmp_path, line, told):
    async with mounts(tmp_path, x=faulty()) as mounted:
        with anyio.fail_after(5):
            assert told in await say(mounted, "line", line)
        assert await say(mounted, "echo", "and on") == "and on"


async def test_a_result_of_very_many_parts_is_cut_before_it_is_read(tmp_path):
    async with mounts(tmp_path, x=faulty(timeout_seconds=20)) as mounted:
        result = await mounted.run("x_many", {"text": "100000"})
    assert len(result.content) == 201
    assert result.content[-1]["text"] == "[cut: the result has more text]"


async def test_a_server_that_leaves_after_its_answer_is_started_again(tmp_path):
    async with mounts(tmp_path, x=faulty()) as mounted:
        pid = int(await say(mounted, "pid"))
        assert await say(mounted, "exit") == "goodbye"
        with anyio.fail_after(5):
            while mounted.pools["x"].processes:
                await anyio.sleep(0.01)
        assert int(await say(mounted, "pid")) != pid


async def test_a_result_of_ten_megabytes_is_cut(tmp_path):
    async with mounts(tmp_path, x=faulty(result_characters=4000)) as mounted:
        result = await say(mounted, "big", "10000000")
    assert result == f"{'x' * 1000}\n[cut: 10,000,000 characters]"


async def test_images_are_passed_on_where_they_are_some(tmp_path):
    async with mounts(tmp_path, x=faulty()) as mounted:
        result = await mounted.run("x_image", {})
    assert [block["type"] for block in result.content] == ["image", "text", "text"]
    assert result.content[1]["text"] == "[image of 7 bytes, image/png, not shown]"


@pytest.mark.parametrize("tool", ["hang", "deaf"])
async def test_a_server_that_hangs_is_given_up_and_ended(tmp_path, tool, monkeypatch):
    monkeypatch.setattr(_connection, "GRACE_SECONDS", 0.05)
    async with mounts(tmp_path, x=faulty(timeout_seconds=0.1)) as mounted:
        process = psutil.Process(int(await say(mounted, "pid")))
        told = await say(mounted, tool)
        assert "did not answer within 0.1 s" in told or tool == "deaf"  # whose end may be noticed
        assert told.startswith(f"! `x_{tool}` failed: ")
        with anyio.fail_after(5):
            while lives(process):
                await anyio.sleep(0.01)
        assert int(await say(mounted, "pid")) != process.pid


async def test_a_cancelled_call_ends_the_server_within_two_seconds(tmp_path):
    async with mounts(tmp_path, x=faulty()) as mounted:
        process = psutil.Process(int(await say(mounted, "pid")))
        child = psutil.Process(int(await say(mounted, "fork", "session")))
        with anyio.move_on_after(0.05):
            await say(mounted, "hang")
        with anyio.fail_after(2.5):
            while lives(process) or lives(child):
                await anyio.sleep(0.01)


async def test_a_server_that_answers_late_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(_connection, "GRACE_SECONDS", 0.3)
    async with mounts(tmp_path, x=faulty()) as mounted:
        pid = await say(mounted, "pid")
        with anyio.move_on_after(0.05):
            await say(mounted, "sleep", "0.1")
        await anyio.sleep(0.5)
        assert await say(mounted, "pid") == pid


async def test_calls_beside_a_cancelled_one_end_undisturbed(tmp_path, monkeypatch):
    monkeypatch.setattr(_connection, "GRACE_SECONDS", 0.05)
    results = []

    async def slow():
        results.append(await say(mounted, "sleep", "0.5"))

    async with mounts(tmp_path, x=faulty()) as mounted:
        pid = await say(mounted, "pid")
        async with anyio.create_task_group() as group:
            group.start_soon(slow)
            with anyio.move_on_after(0.05):
                await say(mounted, "hang")
        assert results == ["slept"]
        assert await say(mounted, "pid") != pid


async def test_at_the_end_nothing_is_left_of_a_server(tmp_path):
    async with mounts(tmp_path, x=faulty()) as mounted:
        pids = [await say(mounted, "pid")]
        pids += [await say(mounted, "fork", where) for where in ("group", "session")]
        processes = [psutil.Process(int(pid)) for pid in pids]
        assert all(map(lives, processes))
    with anyio.fail_after(5):  # until the system has done it
        while any(map(lives, processes)):
            await anyio.sleep(0.01)


async def test_a_server_that_dies_at_once_is_tried_again_later_and_later(tmp_path):
    state = tmp_path / "state.json"
    write_state(state)
    async with mounts(tmp_path, x=faulty(state)) as mounted:
        assert await say(mounted, "echo", "fine") == "fine"
        await say(mounted, "crash")
        write_state(state, dies=True)
        told = await say(mounted, "echo")
        assert "! The server `x` is not available: it ended with status 4; it printed:" in told
        assert "cannot find the configuration of faulty" in told
        told = await say(mounted, "echo")
        assert "it failed 2 times in a row and is started again in 1 s; the last time:" in told
        write_state(state)
        mounted.pools["x"].succeeded()
        assert await say(mounted, "echo", "again") == "again"


async def test_a_server_that_fails_again_and_again_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(_pool, "MAX_PAUSE", 0)
    state = tmp_path / "state.json"
    write_state(state, dies=True)
    async with mounts(tmp_path, x=faulty(state)):
        pass
    write_state(state)
    async with mounts(tmp_path, x=faulty(state)) as mounted:
        write_state(state, dies=True)
        await say(mounted, "crash")
        await say(mounted, "echo")
        monkeypatch.setattr(_pool, "MAX_PAUSE", 60)
        assert len(await mounted.tools()) > 10
        await say(mounted, "echo")
        assert await mounted.tools() == []
        write_state(state)
        mounted.pools["x"].succeeded()  # as after the pause
        assert len(await mounted.tools()) > 10


async def test_a_server_that_hangs_at_its_start_is_awaited_once(tmp_path, monkeypatch):
    async with mounts(tmp_path, y=faulty()):
        pass
    monkeypatch.setattr(_mounts, "FIRST_SECONDS", 0.05)
    hanging = faulty(args=["-c", "import time; time.sleep(60)"])
    async with mounts(tmp_path, x=hanging, y=faulty()) as mounted:
        monkeypatch.setattr(_mounts, "FIRST_SECONDS", 60)
        with anyio.fail_after(20):
            names = [spec.name for spec in await mounted.tools()]
        assert "y_echo" in names
        assert mounted.pools["x"].processes == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"command": "no-such-program-here"}, "there is no program `no-such-program-here`"),
        ({"cwd": "/no/such/folder"}, "cannot start"),
        ({"args": ["-c", "print('Welcome!')"]}, "it ended with status 0; it printed:"),
        ({"args": ["-c", "import time; time.sleep(9)"], "start_seconds": 0.1}, "within 0.1 s"),
        ({"roots": ["/no/such/folder"]}, "there is no folder `/no/such/folder`: fix `roots`"),
    ],
)
async def test_a_server_that_cannot_start_says_why(tmp_path, options, told):
    async with mounts(tmp_path, x=faulty(**options)) as mounted:
        with pytest.raises(_connection.ServerFailed, match=told.replace("?", ".")):
            await mounted.pools["x"].connection()


@pytest.mark.parametrize("root", ["/" + "a" * 300, "/a\0b", "/proc/version/x", "/dev/null"])
async def test_a_folder_that_cannot_be_looked_at_concerns_its_server_only(tmp_path, root):
    async with mounts(tmp_path, x=faulty(roots=[root]), y=faulty()) as mounted:
        assert {spec.name[:2] for spec in await mounted.tools()} == {"y_"}
        with pytest.raises(_connection.ServerFailed, match="there is no folder"):
            await mounted.pools["x"].connection()


async def test_nothing_of_the_environment_is_passed_on_but_what_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.setenv("HTTPS_PROXY", "http://user:password@proxy")
    async with mounts(tmp_path, x=faulty(env={"OWN": "mine"})) as mounted:
        seen = json.loads(await say(mounted, "environment"))
    assert seen["OWN"] == "mine"
    assert seen["PATH"] == os.environ["PATH"]
    assert not {"ANTHROPIC_API_KEY", "HTTPS_PROXY"} & seen.keys()


async def test_folders_are_announced_and_only_narrowed_by_a_request(tmp_path):
    inner, other = tmp_path / "own" / "inner", tmp_path / "other"
    inner.mkdir(parents=True)
    other.mkdir()
    (inner / "link").symlink_to(other)
    own = tmp_path / "own"
    server = faulty(roots=[str(own)], more=["{roots}"])
    async with mounts(tmp_path, x=server) as mounted:
        told = await say(mounted, "roots")
        assert f'"uri": "{own.as_uri()}"' in told
        assert told.endswith(json.dumps([str(own)]))
        told = await say(mounted, "roots", roots=[inner])
        assert f'"uri": "{inner.as_uri()}"' in told
        assert told.endswith(json.dumps([str(inner)]))
        assert mounted.pools["x"].processes == 2
        assert (await say(mounted, "roots", roots=[tmp_path])).endswith(json.dumps([str(own)]))
        for widened in (other, inner / "link", inner / ".." / ".." / "other", own / "absent"):
            told = await say(mounted, "roots", roots=[widened])
            assert told.endswith("none of the folders of this request is among its own"), widened


async def test_an_idle_process_makes_room_for_another_set_of_folders(tmp_path):
    folders = [tmp_path / str(number) for number in range(6)]
    for folder in folders:
        folder.mkdir()
    server = faulty(roots=[str(tmp_path)], more=["{roots}"])
    async with mounts(tmp_path, x=server) as mounted:
        for folder in folders:
            assert str(folder) in await say(mounted, "roots", roots=[folder])
        with anyio.fail_after(5):
            while mounted.pools["x"].processes > _pool.MAX_PROCESSES:
                await anyio.sleep(0.01)


async def test_a_server_without_calls_is_stopped(tmp_path):
    async with mounts(tmp_path, x=faulty(idle_seconds=0.1)) as mounted:
        process = psutil.Process(int(await say(mounted, "pid")))
        with anyio.fail_after(5):
            while lives(process):
                await anyio.sleep(0.01)
        assert await say(mounted, "echo", "on demand") == "on demand"


@pytest.mark.parametrize(
    "arguments", [{"text": "\ud800"}, {"text": "x" * 2**21}, [1], {"n": 2**99}]
)
async def test_arguments_that_are_not_json_are_refused(tmp_path, arguments):
    async with mounts(tmp_path, x=faulty()) as mounted:
        result = await mounted.run("x_echo", arguments)
    assert (result.is_error, result.text) == (True, "The arguments must be JSON of at most 1 MiB.")


async def test_no_call_leaves_anything_behind(tmp_path):
    async with mounts(tmp_path, x=faulty(), y=faulty()) as mounted:

        async def some(times):
            for tool in ("crash", "exit", "noise", "asks", "wrong", "echo") * times:
                await say(mounted, tool)
            mounted.pools["x"].stop()

        async with anyio.create_task_group() as group:  # starts threads, which are used again
            for _ in range(3):
                group.start_soon(some, 1)
        async with LeakCheck():
            await some(3)

"""The tools for the desktop: programs that stand in for the system's, and real ones where asked."""

import asyncio
import base64
import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from test_system_tools import plugin, run

from plugway.testing import LeakCheck
from plugway_system_tools import _desktop

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.skipif(sys.platform != "linux", reason="scripts of a shell stand in for programs"),
]
ALL = {
    "tools": dict.fromkeys(
        (
            *("system_clipboard_read", "system_clipboard_write"),
            *("system_screenshot", "system_notify"),
        ),
        True,
    )
}


LOOPS = pytest.mark.parametrize(
    "anyio_backend", ["asyncio", ("asyncio", {"use_uvloop": True})], ids=["asyncio", "uvloop"]
)


@pytest.fixture
async def no_leaks():
    await anyio.to_thread.run_sync(int)  # a thread that is kept
    async with LeakCheck(rss_slack=None):
        yield


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Programs of a desktop, as scripts by their names."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(shutil, "which", lambda name: (folder / name).exists() or None)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":7")

    def add(name, script):
        (folder / name).write_text(f"#!/bin/sh\ncd {tmp_path}\n{script}\n")
        (folder / name).chmod(0o755)

    return add


@LOOPS
async def test_the_clipboard_is_read_and_written_without_keys(programs, tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-canary-1234567890")
    programs(
        "xclip",
        'echo "$@" > args; env > variables; [ $3 = -out ] && printf "a\\033b\\0c" || cat > given',
    )
    read = await run("system_clipboard_read", **ALL)
    assert read.text == "a\\x1bb\\x00c"
    wrote = await run("system_clipboard_write", {"text": "$(id) `id`\n-o"}, **ALL)
    assert wrote.text == "The clipboard has 13 characters now"
    assert (tmp_path / "given").read_text() == "$(id) `id`\n-o"
    assert (tmp_path / "args").read_text() == "-selection clipboard -in\n"
    variables = (tmp_path / "variables").read_text()
    assert "DISPLAY=:7" in variables
    assert "canary" not in variables


async def test_an_empty_clipboard_is_not_a_failure(programs):
    programs("xclip", "echo 'Error: target STRING not available' >&2; exit 1")
    result = await run("system_clipboard_read", **ALL)
    assert not result.is_error
    assert result.text == "The clipboard has no text"


@LOOPS
async def test_a_program_that_fails_says_why(programs):
    programs("xclip", 'echo "Error: Can\'t open display" >&2; exit 1')
    result = await run("system_clipboard_read", **ALL)
    assert result.is_error
    assert (
        result.text == "`system_clipboard_read` failed: `xclip` failed: Error: Can't open display"
    )
    result = await run("system_clipboard_write", {"text": "x"}, **ALL)
    assert result.text == "`system_clipboard_write` failed: `xclip` failed: status 1"


@LOOPS
async def test_output_up_to_the_limit_arrives_whole(programs):
    programs("xclip", "head -c 1000000 /dev/zero | tr '\\0' x")
    assert (await run("system_clipboard_read", **ALL)).text == "x" * 1_000_000
    programs("xclip", "head -c 1000001 /dev/zero")
    assert (await run("system_clipboard_read", **ALL)).is_error


@pytest.mark.usefixtures("no_leaks")
async def test_endless_output_is_refused(programs):
    programs(
        "xclip",
        "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done",
    )
    result = await run("system_clipboard_read", **ALL)
    assert "wrote more than 1,000,000 bytes" in result.text


@LOOPS
async def test_a_program_that_leaves_something_behind_is_ended_in_its_time(programs, tmp_path):
    programs("xclip", "sleep 1000 & echo $! > pids")
    result = await run("system_clipboard_read", **ALL, timeout_seconds=0.3)
    assert "took longer" in result.text
    await _ended((tmp_path / "pids").read_text().split())


HANGS = "sleep 1000 & echo $$ $! > pids; echo x; wait"


@pytest.mark.usefixtures("no_leaks")
@pytest.mark.parametrize("name", ["system_clipboard_read", "system_screenshot", "system_notify"])
async def test_a_program_that_hangs_is_killed_with_what_it_started(programs, tmp_path, name):
    for program in ("xclip", "scrot", "notify-send"):
        programs(program, HANGS)
    arguments = {"title": "t"} if name == "system_notify" else {}
    calling = asyncio.ensure_future(run(name, arguments, **ALL))
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text():
        assert not calling.done(), calling.result()
        await asyncio.sleep(0.001)
    calling.cancel()  # on a busy machine, before its start has been reported
    with pytest.raises(asyncio.CancelledError):
        await calling
    await _ended((tmp_path / "pids").read_text().split())
    result = await run(name, arguments, **ALL, timeout_seconds=0.3)
    assert "took longer than 0.3 s" in result.text
    await _ended((tmp_path / "pids").read_text().split())


async def _ended(pids):
    for pid in map(int, pids):
        while _runs(pid):
            await asyncio.sleep(0.001)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("printf '\\377\\330\\377rest' > $3", ""),
        ("printf 'GIF89a' > $3", "no JPEG or PNG"),
        ("true", "no picture was written"),
        ("head -c 4000000 /dev/zero > $3", "more than 3,700,000 bytes"),
    ],
    ids=["picture", "not a picture", "nothing", "large"],
)
async def test_a_screenshot_is_a_picture_or_a_reason(
    programs, tmp_path, monkeypatch, script, reason
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    programs("scrot", script)
    result = await run("system_screenshot", **ALL)
    assert result.is_error is bool(reason)
    assert reason in result.text
    if not reason:
        (block,) = result.content
        assert block["source"]["media_type"] == "image/jpeg"
        assert base64.b64decode(block["source"]["data"]) == b"\xff\xd8\xffrest"
    assert not list((tmp_path / "temporary").iterdir())


async def test_a_notification_is_text_and_not_an_option_or_markup(programs, tmp_path):
    programs("notify-send", 'printf "%s|" "$@" > args')
    asked = {"title": "--urgency=critical", "message": "<b>1 & 2</b>\x07"}
    assert not (await run("system_notify", asked, **ALL)).is_error
    expected = "--app-name=Plugway|--|--urgency=critical|&lt;b&gt;1 &amp; 2&lt;/b&gt;\\x07|"
    assert (tmp_path / "args").read_text() == expected


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        (
            "system_clipboard_read",
            "`xclip` or `xsel` is not installed; on Debian and Ubuntu: `sudo apt install xclip`",
        ),
        ("system_screenshot", "`sudo apt install scrot`"),
        ("system_notify", "`sudo apt install libnotify-bin`"),
    ],
)
async def test_a_missing_program_is_named_with_what_to_install(programs, name, advice, caplog):
    result = await run(name, {"title": "t"} if name == "system_notify" else {}, **ALL)
    assert result.is_error
    assert advice in result.text
    assert not plugin(**ALL).check({})
    assert f"`{name}` will fail: " in caplog.text
    assert advice in caplog.text


@pytest.mark.slow
def test_plugway_check_and_so_doctor_name_a_missing_program(programs, tmp_path):
    config = tmp_path / "config.yaml"
    entry = "{use: system-tools, options: {allow: [], tools: {system_notify: true}}}"
    config.write_text(f"plugins: [{{use: echo}}, {entry}]\n")
    command = [
        str(Path(sys.executable).with_name("plugway")),
        "check",
        "--json",
        "--config",
        config,
    ]
    variables = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    (warning,) = json.loads(done.stdout)["warnings"]
    assert "`system_notify` will fail: `notify-send` is not installed" in warning


async def test_without_a_desktop_the_reason_is_given(programs, monkeypatch):
    monkeypatch.delenv("DISPLAY")
    assert "runs without a desktop" in (await run("system_screenshot", **ALL)).text


@pytest.mark.parametrize(
    ("platform", "variables", "session"),
    [
        ("darwin", {}, "macos"),
        ("win32", {}, "windows"),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0", "DISPLAY": ":0"}, "wayland"),
        ("linux", {"DISPLAY": ":0"}, "x11"),
        ("linux", {"DISPLAY": ""}, None),
    ],
)
def test_each_desktop_has_its_programs(platform, variables, session):
    assert _desktop.session_of(platform, variables) == session
    for action in ("read", "write", "screenshot", "notify") if session else ():
        assert _desktop.HELPERS[session, action]


async def test_the_first_program_that_exists_is_used(programs):
    programs("xsel", "echo from xsel")
    assert (await run("system_clipboard_read", **ALL)).text == "from xsel\n"
    programs("xclip", "echo from xclip")
    assert (await run("system_clipboard_read", **ALL)).text == "from xclip\n"


async def test_on_wayland_programs_for_x11_are_not_used(programs, monkeypatch):
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    programs("scrot", "true")
    assert "`grim` or " in (await run("system_screenshot", **ALL)).text


REAL = [name for name in ("Xvfb", "xclip", "scrot") if shutil.which(name) is None]


@contextmanager
def display():
    """A screen without a monitor; its number."""
    read, write = os.pipe()
    command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(command, pass_fds=[write], stderr=subprocess.DEVNULL) as server:
        os.close(write)
        try:
            with os.fdopen(read) as number:
                yield f":{number.readline().strip()}"
        finally:
            server.terminate()


@pytest.mark.slow
@pytest.mark.skipif(bool(REAL), reason=f"needs Debian's xvfb, xclip and scrot: {REAL}")
@pytest.mark.usefixtures("no_leaks")
async def test_a_real_desktop_is_copied_pasted_and_seen(monkeypatch):
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with display() as number:
        monkeypatch.setenv("DISPLAY", number)
        assert (await run("system_clipboard_read", **ALL)).text == "The clipboard has no text"
        text = "Grüße\n" * 10_000
        for words in ("first", text):
            result = await run("system_clipboard_write", {"text": words}, **ALL)
            assert not result.is_error
            while (await run("system_clipboard_read", **ALL)).text != words:
                pass  # xclip ends a moment before its content is there
        picture = await run("system_screenshot", **ALL)
        assert base64.b64decode(picture.content[0]["source"]["data"]).startswith(b"\xff\xd8\xff")
    gone = await run("system_screenshot", **ALL)
    assert gone.is_error
    assert "`scrot` failed: " in gone.text

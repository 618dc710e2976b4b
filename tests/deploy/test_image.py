"""The image of `deploy/Dockerfile`: built and run as it is written, in a chroot (`tests.deploy.chroot`)."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from plugway.testing import ScriptedUpstream, WaitFor, anthropic_stream, request_body, sse
from tests.deploy.dockerfile import health_check, read
from tests.deploy.running import (
    DOCKERFILE,
    ROOT,
    STATE,
    UID,
    client,
    cloud,
    ended,
    healthy,
    listening,
)

MOST_ADDED_MIB = 200
"""What the image may add to its base."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.anyio]


def size(folder):
    """In MiB, each file once."""
    return int(
        subprocess.run(["du", "-sm", folder], capture_output=True, text=True).stdout.split()[0]
    )


# ── what is in it ──────────────────────────────────────────────────────────────────────────────────


def test_it_has_no_compiler_no_sources_and_nothing_that_its_user_could_change(image):
    found = {path.name for folder in ("bin", "usr/bin") for path in (image.root / folder).iterdir()}
    assert not {
        name for name in found if re.fullmatch(r"(.*-)?(gcc|g\+\+|cc|ld|make)(-\d+)?", name)
    }
    assert not (image.root / "source").exists()
    assert not (image.root / "wheels").exists()
    ours = image.root / "opt/plugway"
    for path in ours.rglob("*"):
        assert path.lstat().st_uid == 0
        assert path.is_symlink() or not path.stat().st_mode & 0o022, path
    assert (image.root / "var/lib/plugway").stat().st_uid == UID
    added = size(ours)
    print(f"the image adds {added} MiB")
    assert added < MOST_ADDED_MIB


def test_every_library_in_it_has_the_version_that_is_tested(image):
    pinned = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line
    )
    pinned = {name.lower().replace("-", "_").replace(".", "_"): v for name, v in pinned.items()}
    # Only for the Python of Debian 12, which stands for the official image's here.
    pinned["async_timeout"] = "5.0.1"
    found = [path.name for path in (image.root / "opt/plugway").rglob("*.dist-info")]
    others = [name for name in found if not name.startswith("plugway")]
    for name, number in (one.removesuffix(".dist-info").split("-") for one in others):
        assert pinned.get(name.lower()) == number, name
    assert len(others) > 30


def test_commands_of_the_plugins_are_there(image, container, folders):
    folders.writes("  - use: echo\n")
    code, said = ended(container, "--version")
    assert (code, said.strip()) == (0, version("plugway"))
    for words in (
        ("users", "--help"),
        ("budgets", "--help"),
        ("audit", "--help"),
        ("status", "--help"),
    ):
        code, said = ended(container, *words)
        assert code == 0, said


# ── a gateway in it ────────────────────────────────────────────────────────────────────────────────


def capabilities(process):
    """What the process may do beyond an ordinary user, as a mask."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"^CapEff:\s+(\w+)$", status, re.MULTILINE)[1], 16)


async def test_it_answers_as_an_ordinary_user_with_a_read_only_root(folders, container):
    async with ScriptedUpstream() as upstream:
        folders.writes(cloud(upstream))
        began = time.monotonic()
        with container() as running:
            await listening(running)
            async with client() as asking:
                reply = await asking.post("/v1/messages", json=request_body("hello"))
            assert reply.status_code == 200, reply.text
            print(f"the first answer came after {time.monotonic() - began:.1f} s")
            assert reply.json()["content"][0]["text"] == "Hello."
            assert await healthy(running)
            first = running.first()
            (gateway,) = first.children()
            assert first.name() == "tini"
            assert set(gateway.uids()) == {UID}
            assert capabilities(gateway) == 0
            places = ("/opt/plugway/x", "/etc/plugway/x", "/x", "/tmp/x", f"{STATE}/x")
            written = [running.execute(["touch", place])[0] == 0 for place in places]
            assert written == [False, False, False, True, True]
            print(f"it uses {gateway.memory_info().rss >> 20} MiB")


async def test_sigterm_ends_what_runs_and_accepts_nothing_more(folders, container):
    goes_on = anyio.Event()
    events = anthropic_stream("Hello.", model="m")
    async with ScriptedUpstream(sse([*events[:3], WaitFor(goes_on), *events[3:]])) as upstream:
        folders.writes(cloud(upstream))
        with container() as running:
            await listening(running)
            body = {**request_body("hello"), "stream": True}
            async with (
                client() as asking,
                asking.stream("POST", "/v1/messages", json=body) as reply,
            ):
                pieces = reply.aiter_bytes()
                said = await anext(pieces)
                running.first().terminate()
                while not await refused():
                    await anyio.sleep(0.01)
                assert not await healthy(running)
                goes_on.set()
                said += b"".join([piece async for piece in pieces])
            assert b"message_stop" in said
            code, log = await anyio.to_thread.run_sync(running.ended)
        assert code == 0, log


async def refused():
    """Whether a new connection is refused."""
    try:
        async with await anyio.connect_tcp("127.0.0.1", 8484):
            return False
    except OSError:
        return True


def test_sigterm_while_it_starts_ends_it_at_once(folders, container):
    folders.writes("  - use: llama-server\n")
    with container() as running:
        while not (first := running.process and _tini(running)):
            pass
        began = time.monotonic()
        first.terminate()
        code, _ = running.ended(seconds=10)
        assert code == 128 + 15
        assert time.monotonic() - began < 5


def _tini(running):
    """The container's process 1, once it is tini and has started the gateway."""
    first = running.first()
    return first if first.name() == "tini" and first.children() else None


def test_the_health_check_fails_for_a_server_that_is_not_well(image, folders, container):
    """A server on the port that answers with an error, or does not answer, is not healthy."""
    (stage,) = read(DOCKERFILE)[-1:]
    command, _ = health_check(stage)
    answers = {b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n": 0}
    answers |= {b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n": 1, b"": 1}
    for answer, expected in answers.items():
        with closing(socket.create_server(("127.0.0.1", 8484))) as server:
            asking = subprocess.Popen(
                ["chroot", image.root, *command], env=image.env, stderr=subprocess.DEVNULL
            )
            connection, _ = server.accept()
            with connection:
                assert connection.recv(4096).startswith(b"GET /readyz ")
                connection.sendall(answer)
            assert asking.wait(timeout=20) == expected

"""The image of `deploy/Dockerfile`: built and run as it is written, in a chroot (`tests.deploy.chroot`)."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import closing
from functools import partial
from importlib.metadata import version
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_stream,
    postgresql_server,
    redis_server,
    request_body,
    sse,
)
from tests.deploy import chroot
from tests.deploy.chroot import Container
from tests.deploy.dockerfile import health_check, read

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
UID = 10001
URL = "http://127.0.0.1:8484"
TOKEN = "token-of-the-gateway-0123456789"
HEADERS = {"x-api-key": TOKEN}
MOST_ADDED_MIB = 200
"""What the image may add to its base."""
CONFIG = "/etc/plugway/config.yaml"
STATE = "/var/lib/plugway"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), pytest.mark.anyio]


@pytest.fixture(scope="module")
def image():
    """The built image; its base is made from Debian's packages."""
    chroot.needed()
    folder = Path(tempfile.mkdtemp(prefix="plugway-image-"))
    try:
        (folder / "stages").mkdir()
        base = chroot.base(folder / "base")
        yield chroot.build(DOCKERFILE, ROOT, base, folder / "stages")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def network(image):
    """A network of its own, with a loopback device, where port 8484 is free."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as before:
        assert libc.unshare(0x40000000) == 0, os.strerror(ctypes.get_errno())
        try:
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
            yield
        finally:
            assert libc.setns(before.fileno(), 0) == 0


class Folders:
    """What is mounted into a container: a configuration, secrets, the state."""

    def __init__(self, folder):
        self.config = folder / "config.yaml"
        self.secrets = folder / "secrets"
        self.state = folder / "state"
        self.secrets.mkdir()
        self.state.mkdir()
        os.chown(self.state, UID, UID)
        self.secret("gateway_token", TOKEN)
        self.secret("anthropic_key", "key-of-a-test-0123456789")

    def secret(self, name, text):
        path = self.secrets / name
        path.write_text(text)
        os.chown(path, 0, UID)
        path.chmod(0o440)

    @property
    def binds(self):
        return {self.config: CONFIG, self.secrets: "/run/secrets", self.state: STATE}

    def writes(self, plugins, server=""):
        head = "host: 0.0.0.0, behind_tls: true, token: {$file: /run/secrets/gateway_token}"
        self.config.write_text(f"server: {{{head}{server}}}\nplugins:\n{plugins}")


def cloud(upstream):
    key = "api_key: {$file: /run/secrets/anthropic_key}"
    return f"  - {{use: anthropic, name: cloud, options: {{{key}, base_url: '{upstream.url}'}}}}\n"


@pytest.fixture
def folders(network):
    """They lie outside pytest's own folder, which is closed to the image's user."""
    folder = Path(tempfile.mkdtemp(prefix="plugway-volumes-"))
    folder.chmod(0o755)
    yield Folders(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def container(image, folders):
    return partial(Container, image, folders.binds)


def ended(container, *command, **options):
    """The exit status and the output of a container that stops by itself."""
    with container(command=command, **options) as running:
        return running.ended()


def client():
    return httpx2.AsyncClient(base_url=URL, headers=HEADERS, timeout=30, trust_env=False)


async def listening(running):
    await anyio.to_thread.run_sync(running.line_with, "token")


async def healthy(running):
    """Whether the `HEALTHCHECK` passes in a container."""
    (stage,) = read(DOCKERFILE)[-1:]
    command, _ = health_check(stage)
    code, _ = await anyio.to_thread.run_sync(running.execute, command)
    return code == 0


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
            status = Path(f"/proc/{gateway.pid}/status").read_text()
            assert re.search(r"CapEff:\s+0+\n", status)
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


# ── databases ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def servers(network):
    with postgresql_server() as postgres, redis_server() as redis:
        yield postgres, redis


def with_names(folders, tmp_path):
    """The names of the compose file's services, as Docker's network would have them."""
    hosts = folders.state.parent / "hosts"
    hosts.write_text("127.0.0.1 localhost database counters\n")
    return {**folders.binds, hosts: "/etc/hosts"}


def composed(folders, upstream, database, redis):
    """`deploy/config.yaml`, with the ports of these servers and the address of this upstream."""
    text = (DEPLOY / "config.yaml").read_text()
    port, name = re.search(r":(\d+)/(\w+)$", database["url"]).groups()
    changes = {
        "@database/plugway": f"@database:{port}/{name}",
        "counters:6379": f"counters:{redis.port}",
        "anthropic_key}}": f"anthropic_key}}, base_url: '{upstream.url}'}}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    folders.config.write_text(text)
    folders.secret("database_password", database["password"])
    folders.secret("counters_password", redis.options["redis_password"])


async def test_the_configuration_of_the_compose_file_serves_people(
    image, folders, servers, tmp_path
):
    postgres, redis = servers
    async with ScriptedUpstream() as upstream:
        composed(folders, upstream, postgres.database(), redis)
        container = partial(Container, image, with_names(folders, tmp_path))
        code, said = await anyio.to_thread.run_sync(partial(ended, container, "check"))
        assert (code, said.splitlines()[-1]) == (0, "the configuration is valid"), said
        with container(command=["serve", "--log-json"]) as running:
            await anyio.to_thread.run_sync(running.line_with, "listening")
            run = partial(_inside, running)
            await run("plugway", "users", "add", "ann", "--models", "cloud/*")
            key = re.search(r"pw_\S+", await run("plugway", "users", "keys", "issue", "ann"))[0]
            async with client() as asking:
                reply = await asking.post(
                    "/v1/messages", json=request_body("hello"), headers={"x-api-key": key}
                )
            assert reply.status_code == 200, reply.text


async def _inside(running, *command):
    code, said = await anyio.to_thread.run_sync(running.execute, command)
    assert code == 0, said
    return said


async def test_a_database_that_is_not_up_is_named_and_a_restart_finds_it(image, folders, tmp_path):
    with redis_server() as redis, postgresql_server() as postgres:
        async with ScriptedUpstream() as upstream:
            composed(folders, upstream, postgres.database(), redis)
            container = partial(Container, image, with_names(folders, tmp_path))
            postgres.kill()
            began = time.monotonic()
            code, said = await anyio.to_thread.run_sync(partial(ended, container))
            print(f"it gave up after {time.monotonic() - began:.1f} s")
            assert code == 3, said
            assert "postgresql://plugway@database" in said
            postgres.start()
            with container() as running:
                await listening(running)
                assert await healthy(running)


async def test_two_containers_share_an_sqlite_volume_of_one_machine(image, folders):
    """Each sees what the other wrote; the second has another port, as in another network."""
    async with ScriptedUpstream() as upstream:
        folders.writes(f"  - use: store\n  - use: accounts\n{cloud(upstream)}")
        one = Container(image, folders.binds)
        two = Container(image, folders.binds, command=["serve", "--port", "8485"])
        with one, two:
            await listening(one)
            await listening(two)
            await _inside(two, "plugway", "users", "add", "ann", "--models", "cloud/*")
            said = await _inside(two, "plugway", "users", "keys", "issue", "ann", "--label", "x")
            key = re.search(r"pw_\S+", said)[0]
            async with client() as asking:
                for port in (8484, 8485):
                    reply = await asking.post(
                        f"http://127.0.0.1:{port}/v1/messages",
                        json=request_body("hello"),
                        headers={"x-api-key": key},
                    )
                    assert reply.status_code == 200, reply.text


# ── what goes wrong ────────────────────────────────────────────────────────────────────────────────


def test_a_missing_configuration_is_named(image, folders):
    binds = {folders.state: STATE}
    (image.root / CONFIG.lstrip("/")).unlink(missing_ok=True)
    code, said = ended(partial(Container, image, binds))
    assert code == 2
    assert f"{CONFIG}: there is no such file" in said


def test_a_missing_secret_is_named(folders, container):
    folders.writes("  - use: llama-server\n")
    (folders.secrets / "gateway_token").unlink()
    code, said = ended(container)
    assert code == 2
    assert "`server.token`: there is no file `/run/secrets/gateway_token`" in said


@pytest.mark.parametrize(
    ("owner", "mode", "reason"),
    [
        ((1000, 1000), 0o400, "cannot read `/run/secrets/gateway_token`: Permission denied"),
        ((1000, 1000), 0o444, "is accessible to every user (mode 0444) - run `chmod 600"),
        ((1000, UID), 0o440, "belongs to another user (uid 1000)"),
    ],
)
def test_a_secret_of_another_user_is_refused(folders, container, owner, mode, reason):
    folders.writes("  - use: llama-server\n")
    path = folders.secrets / "gateway_token"
    os.chown(path, *owner)
    path.chmod(mode)
    code, said = ended(container)
    assert code == 2
    assert reason in said


def test_a_configuration_of_another_user_is_refused_with_the_command_that_helps(folders, container):
    folders.writes("  - use: llama-server\n")
    os.chown(folders.config, 1000, 1000)
    code, said = ended(container)
    assert code == 2
    assert f"run `sudo chown {UID} {CONFIG}`" in said


@pytest.mark.parametrize("case", ["read-only", "of root", "wrong user"])
def test_a_volume_that_cannot_be_written_is_named(folders, container, case):
    folders.writes("  - use: store\n  - use: accounts\n  - use: llama-server\n")
    options = {"writable": False} if case == "read-only" else {}
    if case == "of root":
        os.chown(folders.state, 0, 0)
    if case == "wrong user":
        options["user"] = "20002:20002"
        for path in folders.secrets.iterdir():
            os.chown(path, 20002, 20002)
        folders.state.chmod(0o700)
    code, said = ended(container, **options)
    assert code in (1, 3), said
    assert f"{STATE}/." in said
    assert re.search("(?i)read-only file system|permission denied|not writable", said), said


# ── Kubernetes ─────────────────────────────────────────────────────────────────────────────────────


def test_files_as_kubernetes_mounts_them_are_read(image, folders):
    """A ConfigMap and a Secret: links over `..data`, files of root and the pod's `fsGroup`."""
    volumes = {"config": (["config.yaml"], 0o644), "secrets": (["gateway_token"], 0o440)}
    folders.writes("  - use: llama-server\n")
    text = folders.config.read_text().replace("/run/secrets", "/run/secrets/plugway")
    for volume, (names, mode) in volumes.items():
        now = folders.state.parent / volume / "..2026"
        now.mkdir(parents=True, exist_ok=True)
        (now.parent / "..data").symlink_to(now.name)
        for name in names:
            (now.parent / name).unlink(missing_ok=True)
            (now.parent / name).symlink_to(f"..data/{name}")
            (now / name).write_text(text if name == "config.yaml" else TOKEN)
            os.chown(now / name, 0, UID)
            (now / name).chmod(mode)
    folder = folders.state.parent
    binds = {folder / "config": "/etc/plugway", folder / "secrets": "/run/secrets/plugway"}
    code, said = ended(partial(Container, image, {**binds, folders.state: STATE}), "check")
    assert code == 0, said

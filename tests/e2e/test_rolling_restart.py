"""Three gateways behind nginx, as `docs/recipes/several-gateways.md` prints it, restarted one by one.

Gateways, nginx, PostgreSQL and Redis are real processes; the model servers are scripted. Each of
100 people reads stream after stream, whose events are numbered.
"""

import itertools
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections import Counter
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest
import trustme

from plugway.testing import (
    ScriptedUpstream,
    anthropic_stream,
    parse_sse,
    postgresql_server,
    redis_server,
    respond,
    sse,
)
from plugway_accounts import SCHEMA as PEOPLE
from plugway_accounts import People
from plugway_store import StoreOptions, open_store

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(300)]

PAGE = Path(__file__).parents[2] / "docs/recipes/several-gateways.md"
MAIN = "from plugway.cli.main import main; main()"
SKEWED = "import time; now = time.time; time.time = lambda: now() + {}; " + MAIN
HOST = "llm.example.com"
PATH = f"{os.environ['PATH']}:/usr/sbin"
TOKEN = "t" * 40
MODELS = ("qwen3-coder", "qwen3-small")
PERSONS = 100
EVENTS = 20
PAUSE = 0.2


def block(language):
    """The first block in `language` on the page, as it is pasted."""
    (indent, text), *_ = re.findall(
        rf"^( *)```{language}\n(.*?)^\1```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def started(command, output, **env):
    """A process that writes to the file `output`."""
    with output.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out, env=os.environ | env)


def replaced(text, *pairs):
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, str(new))
    return text


def answer(request):
    """vLLM's Messages API, which streams slowly: https://docs.vllm.ai, `/v1/messages`."""
    if not request.path.startswith("/v1/messages") or not request.body:
        return respond(200, {"object": "list", "data": [{"id": name} for name in MODELS]})
    body = json.loads(request.body)
    if request.path.endswith("count_tokens"):
        return respond(200, {"input_tokens": 10})
    name = body["messages"][-1]["content"]
    name = name if isinstance(name, str) else name[-1]["text"]
    events = anthropic_stream([f"{name}:{number} " for number in range(EVENTS)])
    return sse(events, delay=PAUSE)


class Fleet:
    """The gateways of the page as processes, and nginx in front of them."""

    def __init__(self, folder, config):
        self.folder, self.config = folder, config
        self.ports = [free_port() for _ in range(3)]
        self.processes = {}
        self.url = ""

    def start(self, port, *, skew=0):
        path = self.folder / f"{port}.yaml"
        path.write_text(self.config.replace("host: 0.0.0.0", f"host: 0.0.0.0\n  port: {port}"))
        path.chmod(0o600)
        places = {
            f"XDG_{name}_HOME": str(self.folder / str(port)) for name in ("CONFIG", "DATA", "STATE")
        }
        program = SKEWED.format(skew) if skew else MAIN
        command = [sys.executable, "-c", program, "serve", "--config", path, "--log-json"]
        self.processes[port] = started(command, self.folder / f"{port}.log", **places)

    async def ready(self, port):
        async with httpx2.AsyncClient(trust_env=False) as client:
            with anyio.fail_after(60):
                while True:
                    assert self.processes[port].poll() is None, self.log(port)
                    try:
                        found = await client.get(f"http://127.0.0.1:{port}/readyz")
                        assert found.json() == {"status": "ready"}
                    except httpx2.TransportError:
                        await anyio.sleep(0.05)
                    else:
                        return

    async def restart(self, port, **options):
        """As on the page: SIGTERM, wait for the end, start, wait until it is ready."""
        process = self.processes[port]
        process.send_signal(signal.SIGTERM)
        assert await anyio.to_thread.run_sync(process.wait) == 0, self.log(port)
        self.start(port, **options)
        await self.ready(port)

    def client(self):
        return httpx2.AsyncClient(base_url=self.url, verify=self.trust, timeout=60, trust_env=False)

    def remove_from_nginx(self, port):
        text = self.nginx.read_text()
        self.nginx.write_text(re.sub(rf"\n *server 127.0.0.1:{port} .*", "", text))

    async def reload_nginx(self):
        for words in (["-t"], ["-s", "reload"]):
            command = [shutil.which("nginx", path=PATH), *words, "-c", str(self.nginx)]
            await anyio.run_process(command)

    def log(self, port):
        return (self.folder / f"{port}.log").read_text()


@asynccontextmanager
async def nginx(folder, ports):
    """nginx with the block of the page; yields its address, a context that trusts it, and its file."""
    found = shutil.which("nginx", path=PATH)
    if found is None:
        pytest.skip("nginx is not installed")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, "127.0.0.1")
    chain, key, port = folder / "chain.pem", folder / "key.pem", free_port()
    chain.write_bytes(b"".join(one.bytes() for one in certificate.cert_chain_pems))
    key.write_bytes(certificate.private_key_pem.bytes())
    page = replaced(
        block("nginx"),
        *((f"10.0.0.1{index + 1}:8484", f"127.0.0.1:{one}") for index, one in enumerate(ports)),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/private/llm.example.com.key", key),
        ("/etc/ssl/llm.example.com.pem", chain),
    )
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = folder / "nginx.conf"
    main.write_text(
        f"{user}daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\n"
        f"error_log {folder}/nginx.log;\nevents {{ worker_connections 1024; }}\n"
        f"http {{\naccess_log off;\n{paths}{page}}}\n"
    )
    output = folder / "nginx.out"
    process = started([found, "-c", main, "-e", folder / "nginx.log"], output)
    try:
        with anyio.fail_after(20):
            while True:
                assert process.poll() is None, output.read_text()
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                except OSError:
                    await anyio.sleep(0.05)
                else:
                    break
        context = ssl.create_default_context()
        authority.configure_trust(context)
        yield f"https://127.0.0.1:{port}", context, main
    finally:
        process.terminate()
        process.wait(20)


@asynccontextmanager
async def fleet(folder, persons, skews=(0, 0, 0)):
    """Everything, with the keys of some people; `skews` are what the gateways' clocks are wrong."""
    secrets = {}
    with postgresql_server() as postgres, redis_server() as redis:
        database, counters = postgres.database(), redis.options
        for name, text in (
            ("token", TOKEN),
            ("database", database["password"]),
            ("redis", counters["redis_password"]),
        ):
            secrets[name] = folder / name
            secrets[name].write_text(text)
            secrets[name].chmod(0o600)
        async with (
            ScriptedUpstream(otherwise=answer) as left,
            ScriptedUpstream(otherwise=answer) as right,
        ):
            config = replaced(
                block("yaml"),
                *((f"/etc/plugway/{name}", path) for name, path in secrets.items()),
                (
                    "postgresql://plugway@db.example.com/plugway?sslmode=verify-full",
                    database["url"],
                ),
                ("rediss://cache.example.com:6379/0", counters["redis"]),
                ("http://10.0.0.21:8000", left.url),
                ("http://10.0.0.22:8000", right.url),
            )
            async with open_store(StoreOptions(**database)) as store:
                await store.migrate(PEOPLE)
                people = People(store)
                for number in range(persons):
                    await people.add(f"person-{number}")
                keys = [(await people.issue(f"person-{n}")).secret for n in range(persons)]
            found = Fleet(folder, config)
            found.keys, found.upstreams, found.postgres = keys, (left, right), postgres
            try:
                for port, skew in zip(found.ports, skews, strict=True):
                    found.start(port, skew=skew)
                for port in found.ports:
                    await found.ready(port)
                async with nginx(folder, found.ports) as (found.url, found.trust, found.nginx):
                    yield found
            finally:
                for process in found.processes.values():
                    process.kill()
                    process.wait()


class Readers:
    """People who read stream after stream through nginx until `stop`."""

    def __init__(self, fleet):
        self.fleet = fleet
        self.stop = False
        self.running = 0
        self.results = Counter()
        self.wrong = []
        self._names = itertools.count()

    async def read(self, key):
        async with self.fleet.client() as client:
            while not self.stop:
                await self.one(client, key, f"stream-{next(self._names)}")

    async def one(self, client, key, name):
        body = {"model": "any", "max_tokens": 100, "stream": True}
        body["messages"] = [{"role": "user", "content": name}]
        headers = {"authorization": f"Bearer {key}", "host": HOST}
        raw = b""
        try:
            async with client.stream(
                "POST", "/v1/messages", json=body, headers=headers
            ) as response:
                self.running += 1
                try:
                    async for part in response.aiter_raw():
                        raw += part
                finally:
                    self.running -= 1
            status = response.status_code
        except httpx2.TransportError as error:
            self.results["lost"] += 1
            self.wrong.append((name, repr(error), raw[-200:]))
            return
        events = [json.loads(data) if isinstance(data, str) else data for _, data in parse_sse(raw)]
        events = [event for event in events if event["type"] != "ping"]
        texts = [e["delta"]["text"] for e in events if e["type"] == "content_block_delta"]
        whole = status == 200 and events[-1]["type"] == "message_stop"
        if whole and texts == [f"{name}:{number} " for number in range(EVENTS)]:
            self.results["whole"] += 1
        else:
            self.results[f"changed: {status}"] += 1
            self.wrong.append((name, status, raw[-300:]))


async def test_a_rolling_restart_and_the_way_back_to_one_lose_and_change_no_stream(tmp_path):
    async with fleet(tmp_path, PERSONS) as found:
        readers = Readers(found)
        async with anyio.create_task_group() as group:
            for key in found.keys:
                group.start_soon(readers.read, key)
            with anyio.fail_after(60):
                while readers.running < PERSONS:
                    await anyio.sleep(0.05)
            for port in found.ports:
                await found.restart(port)
            with anyio.fail_after(60):
                while readers.running < PERSONS:  # on all three again
                    await anyio.sleep(0.05)
            _, *others = found.ports
            for port in others:
                found.processes[port].send_signal(signal.SIGTERM)
            for port in others:
                assert await anyio.to_thread.run_sync(found.processes[port].wait) == 0
            with anyio.fail_after(60):
                while readers.running < PERSONS:  # on the first
                    await anyio.sleep(0.05)
            readers.stop = True
        for port in others:
            found.remove_from_nginx(port)
        await found.reload_nginx()
        async with found.client() as client:
            await readers.one(client, found.keys[0], "the last one")
        logs = "".join(found.log(port) for port in found.ports)
        served = [sum(bool(r.body) for r in server.requests) for server in found.upstreams]
    assert readers.wrong == []
    assert set(readers.results) == {"whole"}
    assert readers.results["whole"] >= 3 * PERSONS
    assert min(served) > max(served) / 3, "the model servers do not share the work"
    assert "Traceback" not in logs
    assert "aborting" not in logs


async def test_a_choice_holds_everywhere_although_clocks_differ_by_an_hour(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "PAUSE", 0)
    async with fleet(tmp_path, 0, skews=(0, 3600, -3600)) as found:
        first, ahead, behind = found.ports

        async def say(port, text, session):
            headers = {"authorization": f"Bearer {TOKEN}", "x-claude-code-session-id": session}
            body = {"model": "any", "max_tokens": 100}
            body["messages"] = [{"role": "user", "content": text}]
            url = f"http://127.0.0.1:{port}/v1/messages"
            async with httpx2.AsyncClient(timeout=60, trust_env=False) as client:
                response = await client.post(url, json=body, headers=headers)
            assert response.status_code == 200, response.text
            served = response.headers["plugway-receipt"].partition(";")[0]
            return served.removeprefix("served-by="), response.json()["content"][0]["text"]

        for number, chosen_at in enumerate((first, ahead, behind)):
            session = f"5d6b0b04-0000-4000-8000-00000000000{number}"
            assert (await say(chosen_at, "hello", session))[0] == "fleet/qwen3-coder"
            _, said = await say(chosen_at, "@plugway use fleet/qwen3-small", session)
            assert "served by `fleet/qwen3-small`" in said
            assert "database" not in said
            for port in found.ports:  # at once: the confirmation waits until all know it
                assert (await say(port, "hello", session))[0] == "fleet/qwen3-small"
        # A restart reads what is there, whatever the clock says.
        await found.restart(first, skew=-3600)
        assert (await say(first, "hello", session))[0] == "fleet/qwen3-small"

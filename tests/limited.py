"""A gateway on a machine with little memory: `plugway serve` in a control group of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sysconfig
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from plugway_local_models.memory import control_groups

MIB = 1 << 20
PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")


@contextmanager
def control_group(limit):
    """The folder of a control group that may use `limit` bytes; skips the test where there is none.

    What runs in it has to end before.
    """
    own = next(control_groups(), None)
    if own is None:
        pytest.skip("this process is in no memory control group")
    folder = own.folder / f"plugway-test-{os.getpid()}"
    file = "memory.max" if own.version == 2 else "memory.limit_in_bytes"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"control groups cannot be created here: {error}")
    try:
        try:
            (folder / file).write_text(str(limit))
        except OSError as error:
            pytest.skip(f"control groups have no memory limit here: {error}")
        yield folder
    finally:
        folder.rmdir()


def in_group(group, *command, **kinds):
    joined = ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh", *command]
    return subprocess.Popen(joined, text=True, **kinds)


def killed(group):
    """Processes that the kernel killed for memory."""
    for name in ("memory.events", "memory.oom_control"):
        if (group / name).exists():
            pairs = dict(line.split() for line in (group / name).read_text().splitlines())
            return int(pairs["oom_kill"])
    raise AssertionError("the group does not count")


class Server:
    """A gateway that runs in a control group; `PORT` and `FOLDER` in `config` are replaced."""

    def __init__(self, group, folder, config):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        file = folder / "config.yaml"
        file.write_text(config.replace("PORT", str(self.port)).replace("FOLDER", str(folder)))
        self.env = {name: value for name, value in os.environ.items() if "PLUGWAY" not in name}
        self.env |= {f"XDG_{name}_HOME": str(folder) for name in ("DATA", "CACHE", "STATE")}
        self.env["PLUGWAY_TOKEN"] = "t" * 32
        self.log = (folder / "log").open("w")
        self.process = in_group(
            group, PLUGWAY, "serve", str(file), env=self.env, stdout=self.log, stderr=self.log
        )
        self.client = httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"authorization": f"Bearer {self.env['PLUGWAY_TOKEN']}"},
            timeout=600,
            trust_env=False,
        )

    async def ready(self):
        for _ in range(600):
            assert self.process.poll() is None, self.said()
            try:
                return await self.client.get("/health")
            except httpx2.TransportError:
                await anyio.sleep(0.1)  # the only sign of a server that starts
        raise AssertionError("it does not start")

    def said(self):
        return Path(self.log.name).read_text()[-4_000:]

    async def say(self, model, messages, session=""):
        """The text of a whole streamed reply, and its usage."""
        body = {"model": model, "max_tokens": 8, "stream": True, "messages": messages}
        headers = {"x-claude-code-session-id": session} if session else {}
        post = self.client.stream("POST", "/v1/messages", json=body, headers=headers)
        async with post as response:
            read = (await response.aread()).decode()
        assert response.status_code == 200, read
        assert "event: message_stop" in read, read
        assert "event: error" not in read
        events = [json.loads(line[6:]) for line in read.splitlines() if line.startswith("data: ")]
        deltas = [event["delta"] for event in events if "delta" in event]
        (usage,) = [event["usage"] for event in events if event["type"] == "message_delta"]
        return "".join(delta.get("text", "") for delta in deltas), usage

    async def memory(self):
        """What `plugway models memory --json` prints."""
        return json.loads(await self.models("memory", "--json"))[0]

    async def models(self, *arguments):
        """What `plugway models ...` prints."""
        command = [PLUGWAY, "models", *arguments]
        done = await anyio.run_process(command, env=self.env)
        return done.stdout.decode()

    async def aclose(self):
        await self.client.aclose()
        self.process.terminate()
        await anyio.to_thread.run_sync(self.process.wait, 30)
        self.log.close()

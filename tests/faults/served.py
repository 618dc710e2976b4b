"""A gateway as a user starts it: `plugway serve` in a separate process."""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager

import anyio

TOKEN = "t" * 40
START = """
import resource
if {files}:
    resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))
from plugway.cli.main import main
main()
"""


class Served:
    """The process, its address and its log."""

    def __init__(self, process, log):
        self.pid = process.pid
        self._process = process
        self._log = log
        self.url = ""

    @property
    def log(self):
        """The complete log."""
        return self._log.read_text(errors="replace")

    async def says(self, words, *, seconds=30):
        """Wait until `words` occur in the log."""
        with anyio.fail_after(seconds):
            while words not in self.log:
                assert self._process.returncode is None, self.log
                await anyio.sleep(0.02)


@asynccontextmanager
async def served(folder, config, *, files=0):
    """Serve `config`, which is YAML without `server`; the process may open `files` files."""
    written = folder / "config.yaml"
    written.write_text(f"server: {{port: 0, token: {TOKEN}}}\n{config}")
    written.chmod(0o600)
    log = folder / "log"
    command = [sys.executable, "-c", START.format(files=files), "serve", "--config", str(written)]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "UPSTREAM_KEY": "k" * 9}
    with log.open("wb") as out:
        process = await anyio.open_process(command, stdout=out, stderr=out, env=env)
    try:
        found = Served(process, log)
        await found.says("http://127.0.0.1:")
        found.url = "http://127.0.0.1:" + found.log.partition("http://127.0.0.1:")[2].split()[0]
        yield found
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()

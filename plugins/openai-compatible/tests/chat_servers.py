"""Real servers of Chat Completions, each in an environment of its own, started and ended by tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import httpx2
import pytest

CACHE = Path(
    os.environ.get("PLUGWAY_BUILD_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "plugway-build"
)


def environment(name: str, *packages: str, engine: bool = False) -> Path:
    """The Python of an environment with `packages`, made where it is missing.

    With `engine` it also sees the packages of this one, after its own: llama.cpp takes minutes to
    compile. Skips the test where the packages cannot be had.
    """
    folder = CACHE / name
    python = folder / "bin/python"
    done = folder / "complete"
    if done.exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    install = [python, "-m", "pip", "install", "--quiet", *packages]
    made = subprocess.run(install, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"{name} cannot be installed here: {made.stderr.strip()[-300:]}")
    if engine:
        (folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}").joinpath(
            "site-packages/engine.pth"
        ).write_text(sysconfig.get_path("purelib") + "\n")
    done.touch()
    return python


@asynccontextmanager
async def server(command, folder: Path, port: int, path: str, **env: str):
    """A server while it runs; yields its address once `path` is answered."""
    url = f"http://127.0.0.1:{port}"
    with (folder / "server.log").open("wb") as log:
        process = await anyio.open_process(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=folder,
            env={"PATH": os.defpath, "HOME": str(folder), **env},
        )
        try:
            await _answered(process, url + path, folder / "server.log")
            yield url
        finally:
            process.terminate()
            await process.wait()


async def _answered(process: anyio.abc.Process, url: str, log: Path) -> None:
    async with httpx2.AsyncClient(trust_env=False, verify=False) as client:
        for _ in range(900):
            assert process.returncode is None, _tail(log)
            try:
                if (await client.get(url, timeout=2)).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            await anyio.sleep(0.1)
    pytest.fail(f"{url} was not answered; the log ends:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return log.read_text()[-2000:]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]

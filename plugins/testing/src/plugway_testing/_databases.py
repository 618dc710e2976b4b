"""Real database servers for tests: PostgreSQL and Redis as installed on this machine.

Each uses a free port of 127.0.0.1 and a temporary folder that is removed.

Run as root, they are started as `nobody`, because PostgreSQL refuses root.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psutil
import pytest

PASSWORD: Final = "of the test's own server"
_USER: Final = "plugway"


class PostgresServer:
    """A PostgreSQL server with the user `plugway`, which may do everything."""

    folder: Path
    """Its files; the database is in `data`."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs, self.folder = programs, folder
        self.port = _free_port()
        secret = folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)  # in a folder of its own
        self._run(
            *("initdb", "--no-sync", "--auth=scram-sha-256", f"--username={_USER}"),
            *(f"--pwfile={secret}", "--encoding=UTF8", "--no-locale", f"--pgdata={self._data}"),
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def start(self) -> None:
        """Start it, or start it again after `kill`; it recovers like after a crash."""
        settings = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        log = self.folder / "log"
        self._run("pg_ctl", "start", "-w", "-D", self._data, "-l", log, "-o", options)

    def kill(self) -> None:
        """End all its processes at once, as `kill -9` does."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        if not psutil.pid_exists(pid):
            return
        server = psutil.Process(pid)
        processes = [server, *server.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)

    def database(self) -> dict[str, Any]:
        """Create an empty database; returns the options `url` and `password` of `store`."""
        name = f"test_{secrets.token_hex(8)}"
        where = ("-h", "127.0.0.1", "-p", str(self.port), "-U", _USER)
        self._run("createdb", *where, name)
        url = f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"
        return {"url": url, "password": PASSWORD}

    def _run(self, program: str, *arguments: object, check: bool = True) -> None:
        _run([self._programs / program, *arguments], self.folder, check=check)


class RedisServer:
    """A Redis server that keeps nothing on disk."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder = program, folder
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def options(self) -> dict[str, Any]:
        """The options `redis` and `redis_password` of `store`."""
        return {"redis": f"redis://127.0.0.1:{self.port}/0", "redis_password": PASSWORD}

    def start(self) -> None:
        """Start it, or start it again after `kill`; it is empty then."""
        settings = self._folder / "redis.conf"
        settings.write_text(
            f"bind 127.0.0.1\nport {self.port}\nsave ''\ndir {self._folder}\n"
            f'requirepass "{PASSWORD}"\n'
        )
        settings.chmod(0o644)  # in a folder of its own
        self._process = subprocess.Popen(
            [self._program, settings],
            stdout=subprocess.PIPE,
            cwd=self._folder,
            user=_nobody(),
            extra_groups=_groups(),
        )
        lines: list[bytes] = []
        for line in self._process.stdout or ():
            lines.append(line)
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError(b"".join(lines).decode(errors="replace"))

    def kill(self) -> None:
        """End it at once, as `kill -9` does."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def clear(self) -> None:
        """Remove all keys."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(f'AUTH "{PASSWORD}"\r\nFLUSHALL\r\nQUIT\r\n'.encode())
            while connection.recv(1024):
                pass


@contextmanager
def postgresql_server() -> Generator[PostgresServer]:
    """A PostgreSQL server. Skips the test with a reason if it is not installed."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name)
    found = shutil.which("initdb")
    folders = [*programs, *([Path(found).parent] if found else [])]
    if not folders:
        pytest.skip("PostgreSQL is not installed: no `initdb`")
    with _folder() as folder:
        server = PostgresServer(folders[0], folder)
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def redis_server() -> Generator[RedisServer]:
    """A Redis server. Skips the test with a reason if it is not installed."""
    found = shutil.which("redis-server")
    if found is None:
        pytest.skip("Redis is not installed: no `redis-server`")
    with _folder() as folder:
        server = RedisServer(Path(found), folder)
        try:
            yield server
        finally:
            server.kill()


@contextmanager
def _folder() -> Generator[Path]:
    """A temporary folder of the user that the servers run as; pytest's own is closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="plugway-db-"))
    try:
        if (nobody := _nobody()) is not None:
            shutil.chown(folder, nobody)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nobody() -> str | None:
    """The user that the servers run as, if this process runs as root."""
    user_id: Callable[[], int] = getattr(os, "geteuid", lambda: 1)
    return None if user_id() else "nobody"


def _groups() -> list[int] | None:
    return None if _nobody() is None else []


def _run(command: Sequence[object], folder: Path, *, check: bool) -> None:
    # A file, because the server inherits it: reading a pipe would wait for the server's end.
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=folder,
            stdout=output,
            stderr=output,
            env={**os.environ, "PGPASSWORD": PASSWORD, "HOME": str(folder)},
            timeout=60,
            user=_nobody(),
            extra_groups=_groups(),
        )
        output.seek(0)
        if check and done.returncode:
            raise RuntimeError(f"{command[0]}: {output.read().decode(errors='replace')}")


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]

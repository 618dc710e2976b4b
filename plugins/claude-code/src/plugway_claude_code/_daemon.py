"""Manages the gateway process: reuses or starts it, and stops it after its last session.

A session holds a shared lock while it lasts, so a killed session leaves nothing behind. The process
that gets the lock exclusively is the last one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import IO, Any, Literal

import platformdirs
import psutil

from plugway import LocalGateway, PlugwayError, as_object
from plugway_claude_client import plugway_command
from plugway_service.find import installed_on, start

_START_SECONDS = 60.0
_STOP_SECONDS = 35.0
_POLL_SECONDS = 0.05
_started: list[subprocess.Popen[bytes]] = []
"""Gateways started by this process: they may outlive it, and are not awaited."""


@dataclass(frozen=True, slots=True)
class Started:
    """A running gateway."""

    state: Mapping[str, Any]
    """The response of `/health`."""
    fresh: bool
    """It was started by this call."""
    service: str = ""
    """The name of the service that was started, if it is one."""


@contextmanager
def holding(gateway: LocalGateway) -> Generator[None]:
    """A session. At its end, a gateway that was started for sessions stops, unless other sessions
    use it or it was started with `keep`."""
    with _locked(_file(gateway, "sessions"), "shared") as held:
        try:
            yield
        finally:
            if _lock(held, "alone", wait=False) and not _noted(gateway).get("keep"):
                stop(gateway)


def ensure_running(gateway: LocalGateway, *, keep: bool = False) -> Started:
    """Return the running gateway, or start one; concurrent calls start only one. If it is
    installed as a service, the service is started.

    `keep` keeps it running after the last session.

    Raises:
        PlugwayError: it cannot be started; the message contains its last output.
    """
    if not gateway.port:
        raise PlugwayError("with `port: 0` the gateway cannot be found: set `server.port`")
    with _locked(_file(gateway, "start"), "alone"):
        state = gateway.state()
        if state is not None:
            if keep and (noted := _noted(gateway)):
                _note(gateway, {**noted, "keep": True})
            return Started(state, fresh=False)
        config = gateway.config_path if gateway.configured else None
        if (service := installed_on(gateway.port, config)) is not None:
            # A second gateway would take its port. It keeps running after the last session.
            start(service)
            return Started(_answer_of(gateway), fresh=True, service=service.name)
        return Started(_start(gateway, keep), fresh=True)


def stop(gateway: LocalGateway) -> bool:
    """Stop a gateway that was started here, even if it is in use; return whether there was one."""
    noted = _noted(gateway)
    stopped = False
    try:
        process = psutil.Process(int(noted["pid"]))
        if process.create_time() == noted["born"]:
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_SECONDS)
            stopped = True
    except (ValueError, KeyError, psutil.NoSuchProcess):
        pass  # it was not running, or has already stopped
    except psutil.TimeoutExpired:
        raise PlugwayError(f"the gateway (process {noted['pid']}) did not stop") from None
    _file(gateway, "pid").unlink(missing_ok=True)
    _started[:] = [child for child in _started if child.poll() is None]
    return stopped


def log_path(gateway: LocalGateway) -> Path:
    """The log of a gateway that was started here."""
    return _file(gateway, "log")


def _start(gateway: LocalGateway, keep: bool) -> Mapping[str, Any]:
    words = [plugway_command(), "serve", "--port", str(gateway.port)]
    if gateway.configured:
        words += ["--config", str(gateway.config_path)]
    path = log_path(gateway)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "wb") as log:
        child = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            # Windows has no sessions: keep Ctrl-C in this console from reaching the gateway.
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
    _started.append(child)
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_POLL_SECONDS)
        if child.returncode is not None:
            raise PlugwayError(f"the gateway did not start:\n{_last_words(path)}")
        if (state := gateway.state()) is not None:
            born = psutil.Process(child.pid).create_time()
            _note(gateway, {"pid": child.pid, "born": born, "keep": keep})
            return state
    child.terminate()
    raise PlugwayError(f"the gateway did not start within {_START_SECONDS:g} s: see {path}")


def _answer_of(gateway: LocalGateway) -> Mapping[str, Any]:
    """The state of a service that was started; only systemd waits until it is ready."""
    deadline = time.monotonic() + _START_SECONDS
    pause = Event()
    while (state := gateway.state()) is None:
        if time.monotonic() > deadline:
            raise PlugwayError(f"the service did not start within {_START_SECONDS:g} s")
        pause.wait(_POLL_SECONDS)
    return state


def _last_words(path: Path) -> str:
    lines = path.read_text("utf-8", "replace").strip().splitlines()
    return "\n".join(f"  {line.removeprefix('plugway: ')}" for line in lines[-12:])


def _note(gateway: LocalGateway, noted: Mapping[str, Any]) -> None:
    _file(gateway, "pid").write_text(json.dumps(noted), "utf-8")


def _noted(gateway: LocalGateway) -> dict[str, Any]:
    """The gateway that was started here: `pid`, `born`, `keep`; empty if there is none."""
    try:
        return as_object(json.loads(_file(gateway, "pid").read_text("utf-8")))
    except (OSError, ValueError):
        return {}


def _file(gateway: LocalGateway, kind: str) -> Path:
    folder = platformdirs.user_state_path("plugway", appauthor=False)
    return folder / f"gateway-{gateway.port}.{kind}"


Kind = Literal["shared", "alone"]


@contextmanager
def _locked(path: Path, kind: Kind) -> Generator[IO[bytes]]:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    with open(descriptor, "r+b") as file:
        _lock(file, kind, wait=True)
        yield file


def _lock(file: IO[bytes], kind: Kind, *, wait: bool) -> bool:
    """Try to get the lock; return whether it was acquired. Without locks (Windows) it never is, and
    the gateway keeps running."""
    try:
        import fcntl
    except ImportError:
        return False
    how = fcntl.LOCK_SH if kind == "shared" else fcntl.LOCK_EX
    try:
        fcntl.flock(file, how if wait else how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

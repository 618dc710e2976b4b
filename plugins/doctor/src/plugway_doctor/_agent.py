"""Run an agent's task through the gateway: Claude Code creates a file, and the file is checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO

import anyio

from plugway import LocalGateway, as_object
from plugway_claude_client import ClientUnfit, find_client, plugway_command
from plugway_doctor._checks import Check
from plugway_probe import probe

TASK = "Create the file hello.txt with the text hi"
_NAME = "agent"
_PLAN_SECONDS = 30.0
_STOP_SECONDS = 5.0
_RETRIES = "1"
"""The client retries ten times by default, with increasing waits; the gateway and its plugins
retry as well."""
_MOST_WORDS = 500
_NOISE = ("[claude-code:", "plugway uses the gateway", "plugway started the gateway")


def agent(
    gateway: LocalGateway,
    model: str | None,
    seconds: float,
    checks: Sequence[Check],
    report: Callable[[Check], object],
) -> None:
    """Claude Code creates a file in a temporary folder, unless its model fails a plain request.

    `checks` are the previous checks; `report` is called with each new one. The task is terminated
    after `seconds`.
    """
    try:
        find_client()
    except ClientUnfit as error:
        report(Check(_NAME, "skipped", error.reason))
        return
    words = [plugway_command(), "claude", "--port", str(gateway.port), "--yes"]
    words += ["--config", str(gateway.config_path.absolute())] if gateway.configured else []
    words += ["--model", model] if model else []
    asked = _model_of(words)
    if isinstance(asked, Check):
        report(asked)
        return
    name = f"stream on {asked}"
    stream = next((check for check in checks if check.name == name), None)
    if stream is None:
        ask = partial(probe, gateway.url, gateway.token, asked, tls=gateway.tls, seconds=seconds)
        (found,) = anyio.run(partial(ask, probes=("stream",)))
        stream = Check(name, found.outcome, found.reason, found.fix)
        report(stream)
    if stream.outcome == "failed":
        reason = f"not run, because a plain request to {asked} failed: {stream.reason}"
        report(Check(_NAME, "skipped", reason))
        return
    report(_task(words, seconds))


def _model_of(words: Sequence[str]) -> str | Check:
    """The model that `plugway claude` would use, or a check that says why it cannot start."""
    try:
        done = subprocess.run(
            [*words, "--dry-run"],
            capture_output=True,
            text=True,
            timeout=_PLAN_SECONDS,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        asked = as_object(json.loads(done.stdout)).get("model") if not done.returncode else None
    except (subprocess.TimeoutExpired, ValueError):
        fix = "run `plugway claude --dry-run`, which prints the settings"
        return Check(_NAME, "failed", "`plugway claude` did not report its model", fix)
    if isinstance(asked, str):
        return asked
    if "no command" in done.stderr:
        return Check(
            _NAME,
            "skipped",
            "the package `plugway-claude-code` is not installed; install it for this check",
        )
    fix = "name another model with `--model`, or see `plugway claude --dry-run`"
    return Check(_NAME, "failed", _said(done.stdout, done.stderr), fix)


def _task(words: Sequence[str], seconds: float) -> Check:
    command = [*words, "--", "-p", TASK, "--permission-mode", "acceptEdits"]
    with (
        tempfile.TemporaryDirectory(prefix="plugway-doctor-") as folder,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
    ):
        ended = _run(command, folder, seconds, out, err)
        file = Path(folder, "hello.txt")
        if file.is_file():
            return _judged(file.read_text("utf-8", "replace"))
        said = _said(_text(out), _text(err))
    if not ended:
        reason = f"the task timed out after {seconds:g} s; Claude Code reported: {said}"
        fix = "use a smaller or faster model, or allow more time with `--seconds`"
        return Check(_NAME, "failed", reason, fix)
    reason = f"Claude Code did not create the file; it reported: {said}"
    return Check(_NAME, "failed", reason, "see the `tool` checks above, or use another model")


def _run(
    command: Sequence[str], folder: str, seconds: float, out: IO[bytes], err: IO[bytes]
) -> bool:
    """Whether the command exited by itself; otherwise it and its children are terminated."""
    env = {**os.environ, "CLAUDE_CODE_MAX_RETRIES": _RETRIES}
    with _group(command, folder, env, out, err) as child:
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.terminate()  # `plugway claude` forwards it to the client
            with suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_SECONDS)
            return False
    return True


@contextmanager
def _group(
    command: Sequence[str], folder: str, env: dict[str, str], out: IO[bytes], err: IO[bytes]
) -> Generator[subprocess.Popen[bytes]]:
    """Run a command, and terminate all its processes when the block ends."""
    child = subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=err,
        start_new_session=True,
    )
    try:
        yield child
    finally:
        if os.name == "nt":
            child.kill()
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _judged(text: str) -> Check:
    if text.strip() == "hi":
        return Check(_NAME, "passed", "Claude Code created the requested file")
    reason = f"the file contains {text[:40]!r} instead of 'hi'"
    return Check(_NAME, "failed", reason, "use a larger model; this one loses text")


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _said(out: str, err: str) -> str:
    """The client's answer, including API errors; its warnings if there is no answer."""
    lines = [line for line in err.splitlines() if line.strip() and not line.startswith(_NOISE)]
    return (out.strip() or "\n".join(lines))[-_MOST_WORDS:] or "nothing"

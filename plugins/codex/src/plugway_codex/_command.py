"""The `codex` command, queried over its documented interface for programs, `codex app-server`.

JSON lines over standard input and output: `initialize`, `initialized`, one request, its answer
(OpenAI's page "Codex App Server"). Responses are never logged, because they contain account data.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from subprocess import DEVNULL
from typing import Any, Final

import anyio
import orjson
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from plugway import PlugwayError, as_object

VERSION: Final = "0.1.0"
ASK_SECONDS: Final = 30.0
"""Time limit for one request, including the start of the command."""
_LEAVE_SECONDS: Final = 1.0
_MAX_LINE: Final = 8 * 2**20
_KEPT: Final = (
    "ALL_PROXY",
    "APPDATA",
    "HOME",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "LANG",
    "LOCALAPPDATA",
    "NO_PROXY",
    "PATH",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "USERPROFILE",
)
"""Environment variables passed to the command, besides `CODEX_*`; no keys of other services."""


class CommandFailed(PlugwayError):
    """The command is missing or did not answer. The message contains no account data."""


class CodexCommand:
    """Starts the command for each request and stops it after the response."""

    def __init__(self, command: str, home: str = "") -> None:
        """`command` is a name in `PATH` or a path; `home` the command's folder, if set."""
        self._command = command
        self._home = home

    @property
    def missing(self) -> str:
        """Why it cannot be started; empty if it can."""
        if shutil.which(self._command) is not None:
            return ""
        return (
            f"command `{self._command}` not found; install it "
            "(`npm install -g @openai/codex`), or set its path in the option `command`"
        )

    async def ask(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the result of one request.

        Raises:
            CommandFailed: the request failed.
        """
        found = shutil.which(self._command)
        if found is None:
            raise CommandFailed(self.missing)
        try:
            with anyio.fail_after(ASK_SECONDS):
                return await self._asked(found, method, params)
        except TimeoutError:
            raise CommandFailed(f"`{self._command}` timed out after {ASK_SECONDS:.0f} s") from None
        except (OSError, anyio.EndOfStream, anyio.IncompleteRead, anyio.DelimiterNotFound):
            raise CommandFailed(f"`{self._command} app-server` exited without a response") from None
        except orjson.JSONDecodeError:
            raise CommandFailed(
                f"`{self._command} app-server` sent a response that is not JSON"
            ) from None

    async def _asked(self, found: str, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        process = await anyio.open_process(
            [found, "app-server"], stderr=DEVNULL, env=self._environment()
        )
        try:
            return await _exchange(process, method, params)
        finally:
            with anyio.CancelScope(shield=True):
                await _ended(process)

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name.upper() in _KEPT or name.startswith(("CODEX_", "LC_"))
        }
        return {**kept, "CODEX_HOME": self._home} if self._home else kept


async def _exchange(process: Process, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    lines = BufferedByteReceiveStream(process.stdout)
    who = {"name": "plugway", "title": "Plugway", "version": VERSION}
    for id_, name, fields in (
        (0, "initialize", {"clientInfo": who}),
        (None, "initialized", {}),
        (1, method, dict(params)),
    ):
        message = {"method": name, "params": fields} | ({} if id_ is None else {"id": id_})
        await process.stdin.send(orjson.dumps(message) + b"\n")
        answer: dict[str, Any] = {}
        while id_ is not None and answer.get("id") != id_:
            answer = as_object(orjson.loads(await lines.receive_until(b"\n", _MAX_LINE)))
        if "error" in answer:
            reason = as_object(answer.get("error")).get("message")
            raise CommandFailed(f"`codex` rejected `{method}`: {str(reason)[:200]}")
    return as_object(answer.get("result"))


async def _ended(process: Process) -> None:
    """Terminate the process; kill it if necessary."""
    with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        if process.stdin is not None:
            await process.stdin.aclose()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        with anyio.move_on_after(_LEAVE_SECONDS):
            await process.wait()
        if process.returncode is None:
            process.kill()
    await process.aclose()

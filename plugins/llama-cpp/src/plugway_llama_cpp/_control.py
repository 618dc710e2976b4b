"""A socket that only the user can open, for `plugway models` to reach the running gateway.

A Unix socket: no port, no token. One JSON object in, one out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import platformdirs

from plugway import BackendError, PlugwayError
from plugway_llama_cpp._models import Loaded, Models

_LIMIT = 1 << 20
_NO_SOCKETS = (
    "Python on this system has no Unix sockets, which `plugway models` needs to reach a running "
    "gateway. A model is loaded by its first request, and unloaded after `idle_unload_seconds` or "
    "when the gateway stops"
)


def control_folder() -> Path:
    """Folder of the sockets."""
    return platformdirs.user_state_path("plugway") / "llama-cpp"


@asynccontextmanager
async def control_socket(name: str, loader: Models) -> AsyncGenerator[None]:
    """Listen for commands to this instance; does nothing if the system has no Unix sockets."""
    path = control_folder() / f"{name}-{os.getpid()}.sock"
    server: asyncio.Server | None = None
    if hasattr(asyncio, "start_unix_server"):

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _serve(name, loader, reader, writer)

        # Socket paths are limited to about 100 bytes.
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            server = await asyncio.start_unix_server(handle, path, limit=_LIMIT)
            path.chmod(0o600)
    try:
        yield
    finally:
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink()


async def _serve(
    name: str, loader: Models, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    try:
        command: Any = orjson.loads(await asyncio.wait_for(reader.readline(), 5))
        answer = await _obey(name, loader, command)
    except (ValueError, TimeoutError, KeyError, TypeError) as error:
        answer = {"error": f"not a command: {error}"}
    except PlugwayError as error:
        answer = {"error": str(error)}
    with contextlib.suppress(OSError):
        writer.write(orjson.dumps(answer) + b"\n")
        await writer.drain()
    writer.close()


async def _obey(name: str, loader: Models, command: Mapping[str, Any]) -> dict[str, Any]:
    model = str(command.get("model", ""))
    match command["do"]:
        case "ps":
            return {"instance": name, "models": [_row(m) for m in loader.loaded.values()]}
        case "load":
            loaded = await loader.get(model)
            loaded.supervisor.reset()
            await loaded.supervisor.ready()
            return {"instance": name, "models": [_row(loaded)]}
        case "unload":
            return {"instance": name, "unloaded": await loader.unload(model)}
        case other:
            raise BackendError(f"unknown command {other!r}")


def _row(loaded: Loaded) -> dict[str, Any]:
    supervisor = loaded.supervisor
    return {
        "model": loaded.file.name,
        "state": supervisor.state,
        "pid": supervisor.pid,
        "requests": supervisor.busy,
        "context": loaded.plan.context,
        "needs_bytes": loaded.plan.total,
        "idle_seconds": round(time.monotonic() - supervisor.last_used, 1),
        "reason": supervisor.failure[0] if supervisor.failure else "",
    }


def ask_gateways(
    command: Mapping[str, Any], timeout: float = 5.0, *, pid: int | None = None
) -> list[dict[str, Any]]:
    """The answers of all running instances, or of those in one process. For commands, outside of
    any event loop."""
    if not hasattr(socket, "AF_UNIX"):
        return [{"error": _NO_SOCKETS}]
    answers: list[dict[str, Any]] = []
    folder = control_folder()
    named = f"*-{pid}.sock" if pid else "*.sock"
    for path in sorted(folder.glob(named)) if folder.is_dir() else ():
        try:
            answers.append(_ask(path, command, timeout))
        except ConnectionRefusedError:
            # Left behind by a gateway that was killed.
            path.unlink(missing_ok=True)
        except OSError as error:
            answers.append({"error": f"{path.name}: {error}"})
    return answers


def _ask(path: Path, command: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(str(path))
        line.sendall(orjson.dumps(command) + b"\n")
        data = b"".join(iter(lambda: line.recv(65_536), b""))
    answer: Any = orjson.loads(data)
    return cast("dict[str, Any]", answer)

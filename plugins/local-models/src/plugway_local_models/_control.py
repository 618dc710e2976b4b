"""A socket that only the user can open, for `plugway models` to reach the running gateway.

A Unix socket: no port, no token. One JSON object in, one out. A gateway has one socket, which the
first plugin with local models opens.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final
from weakref import WeakSet

import orjson
import platformdirs

from plugway import BackendError, Gateway, PlugwayError, as_list, as_object
from plugway_local_models._protocols import HoldsModels, LoadedModel, MakesRoom, NamesModels

_LIMIT: Final = 1 << 20
_LIST_SECONDS: Final = 3.0
"""Time for one backend to list its models."""
_NO_SOCKETS: Final = (
    "Python on this system has no Unix sockets, which `plugway models` needs to reach a running "
    "gateway. A model is loaded by its first request, and unloaded after `idle_unload_seconds` or "
    "when the gateway stops"
)
_open: Final[WeakSet[Gateway]] = WeakSet()
"""The gateways of this process that have a socket; during a reload there are two."""

Owners = Mapping[str, HoldsModels]


def control_folder() -> Path:
    """Folder of the sockets."""
    return platformdirs.user_state_path("plugway") / "models"


@asynccontextmanager
async def control_socket(gateway: Gateway | None) -> AsyncGenerator[None]:
    """Listen for commands to the models of a gateway, unless another plugin does already; for
    `lifespan`. Does nothing without a gateway, or if the system has no Unix sockets."""
    if gateway is None or gateway in _open or not hasattr(asyncio, "start_unix_server"):
        yield
        return
    path = control_folder() / f"{os.getpid()}-{id(gateway):x}.sock"
    server: asyncio.Server | None = None

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _serve(gateway, reader, writer)

    # Socket paths are limited to about 100 bytes.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        server = await asyncio.start_unix_server(handle, path, limit=_LIMIT)
        path.chmod(0o600)
    _open.add(gateway)
    try:
        yield
    finally:
        _open.discard(gateway)
        if server is not None:
            server.close()
            with contextlib.suppress(OSError):
                path.unlink()


async def _serve(
    gateway: Gateway, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    answer = await _answer(gateway, reader)
    with contextlib.suppress(OSError):
        # Unlike orjson, it writes names that are not Unicode, and numbers of any size.
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()
    writer.close()


async def _answer(gateway: Gateway, reader: asyncio.StreamReader) -> dict[str, Any]:
    try:
        command = as_object(orjson.loads(await asyncio.wait_for(reader.readline(), 5)))
    except (ValueError, TimeoutError) as error:
        return {"error": f"not a command: {error}"}
    try:
        return await _obey(gateway, command)
    except Exception as error:  # a plugin of any kind: it is contained here
        return {"error": _reason(error)}


async def _obey(gateway: Gateway, command: Mapping[str, Any]) -> dict[str, Any]:
    owners = dict(gateway.find(HoldsModels))
    model = str(command.get("model", ""))
    match command.get("do"):
        case "ps":
            return await _listed(gateway, owners)
        case "load":
            return await _load(owners, model)
        case "unload":
            return {"unloaded": await _unload(owners, model)}
        case other:
            raise BackendError(f"unknown command {other!r}")


async def _load(owners: Owners, model: str) -> dict[str, Any]:
    """Load it into the first backend that has it. Raises `BackendError` with all reasons if none
    can."""
    named, name = _named(owners, model)
    failures: dict[str, str] = {}
    for instance, owner in named.items():
        try:
            await owner.load(name)
            known = await _known_as(owner, name)
        except Exception as error:  # a backend of any kind: it is contained here
            failures[instance] = _reason(error)
            continue
        rows = await _rows({instance: owner})
        return {"models": [row for row in rows if row["model"] == known]}
    raise BackendError(_all(failures) or "no plugin of this gateway loads models")


async def _unload(owners: Owners, model: str) -> bool:
    """Unload it from all backends that have it; False if none has. Raises `BackendError` if none
    unloaded it, and one could not say whether it has it."""
    named, name = _named(owners, model)
    done, failures = False, dict[str, str]()
    for instance, owner in named.items():
        try:
            done |= await owner.unload(await _known_as(owner, name))
        except Exception as error:  # a backend of any kind: it is contained here
            failures[instance] = _reason(error)
    if failures and not done:
        raise BackendError(_all(failures))
    return done


def _all(failures: Mapping[str, str]) -> str:
    if len(failures) == 1:
        return next(iter(failures.values()))
    return "; ".join(f"{instance}: {reason}" for instance, reason in failures.items())


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, PlugwayError) else f"internal error: {error!r}"


async def _known_as(owner: HoldsModels, name: str) -> str:
    return await owner.name_of(name) if isinstance(owner, NamesModels) else name


def _named(owners: Owners, model: str) -> tuple[Owners, str]:
    """The backend of `INSTANCE/MODEL`, else all of them; and the model's name there."""
    instance, slash, name = model.partition("/")
    if slash and instance in owners:
        return {instance: owners[instance]}, name
    return owners, model


async def _rows(owners: Owners) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for instance, owner in owners.items():
        try:
            async with asyncio.timeout(_LIST_SECONDS):
                models = await owner.loaded()
        except TimeoutError:
            late = f"the list of models timed out after {_LIST_SECONDS:g} s"
            rows.append(_row(instance, LoadedModel("?", state="unknown", problem=late)))
        except Exception as error:  # a backend of any kind: it is contained here
            rows.append(_row(instance, LoadedModel("?", state="unknown", problem=_reason(error))))
        else:
            rows += [_row(instance, model) for model in models]
    return rows


def _row(instance: str, loaded: LoadedModel) -> dict[str, Any]:
    idle = loaded.idle_seconds
    return {
        "instance": instance,
        "model": loaded.model,
        "state": "ready" if loaded.state == "loaded" else loaded.state,
        "pid": loaded.pid,
        "requests": loaded.requests,
        "context": loaded.context_tokens,
        "needs_bytes": loaded.size,
        "idle_seconds": None if idle is None else round(idle, 1),
        "reason": loaded.problem,
    }


async def _listed(gateway: Gateway, owners: Owners) -> dict[str, Any]:
    """All models, and the report of the plugin that makes room, if there is one."""
    rows = await _rows(owners)
    for _, plugin in gateway.find(MakesRoom):
        report = await plugin.report()
        known = {(name, model.model): _row(name, model) for name, model in report.models}
        memory = asdict(replace(report, models=()))
        return {
            "models": [known.get((row["instance"], row["model"]), row) for row in rows],
            "memory": {name: value for name, value in memory.items() if name != "models"},
        }
    return {"models": rows, "memory": None}


def ask_gateways(
    command: Mapping[str, Any], timeout: float = 5.0, *, pid: int | None = None
) -> list[dict[str, Any]]:
    """The answers of all running gateways, or of that in one process. For commands, outside of any
    event loop."""
    if not hasattr(socket, "AF_UNIX"):
        return [{"error": _NO_SOCKETS}]
    answers: list[dict[str, Any]] = []
    folder = control_folder()
    named = f"{pid}-*.sock" if pid else "*.sock"
    for path in sorted(folder.glob(named)) if folder.is_dir() else ():
        if not path.is_socket():
            continue
        try:
            answers.append(_ask(path, command, timeout))
        except ConnectionRefusedError:
            # Left behind by a gateway that was killed.
            path.unlink(missing_ok=True)
        except TimeoutError:
            late = f"the gateway at {path} did not answer within {timeout:g} s; see its log"
            answers.append({"error": late})
        except OSError as error:
            answers.append({"error": f"cannot connect to the gateway at {path}: {error}"})
        except (ValueError, RecursionError):
            odd = f"the gateway at {path} sent an invalid answer; restart it if its version differs"
            answers.append({"error": odd})
    return answers


def _ask(path: Path, command: Mapping[str, Any], timeout: float) -> dict[str, Any]:
    """One answer. Raises `OSError`, and `ValueError` for what is not an answer."""
    end, parts = time.monotonic() + timeout, list[bytes]()
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout)
        line.connect(str(path))
        line.sendall(orjson.dumps(command) + b"\n")
        while part := line.recv(65_536):
            parts.append(part)
            if (left := end - time.monotonic()) <= 0:
                raise TimeoutError
            line.settimeout(left)
    return _checked(json.loads(b"".join(parts)))


def _checked(answer: Any) -> dict[str, Any]:
    found, fields = as_object(answer), _row("", LoadedModel("")).keys()
    rows = as_list(found.get("models"))
    if not found or not all(fields <= as_object(row).keys() for row in rows):
        raise ValueError
    return found | ({"models": rows} if "models" in found else {})

"""Starts a server for a command, to see its tools; needs no gateway."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import anyio

from plugway import PlugwayError, StoredKey
from plugway_mcp._connection import ServerFailed
from plugway_mcp._definitions import Definitions
from plugway_mcp._options import PROXY, ServerOptions
from plugway_mcp._pool import Pool
from plugway_packages import Approvals
from plugway_tools import guard_proxy


async def list_tools(name: str, options: ServerOptions) -> Definitions:
    """Start the server, list its tools, and stop it. Raises `ServerFailed`."""
    async with AsyncExitStack() as stack:
        proxy = ""
        if any(PROXY in argument for argument in options.args):
            proxy = await stack.enter_async_context(guard_proxy(options.own_addresses))
        pool = Pool(name, options, await stack.enter_async_context(anyio.create_task_group()))
        pool.proxy = proxy
        try:
            running = await pool.connection()
            return running.listed
        except ServerFailed as error:
            failure = error  # raised outside of the task group
        finally:
            pool.stop()
    raise failure


def resolved(node: object, folder: Path) -> Any:
    """Options as written, with values in place of secret references, as the gateway reads them.

    Raises `PlugwayError`: a secret is missing.
    """
    if isinstance(node, Mapping):
        mapping = cast("Mapping[str, object]", node)
        if len(mapping) == 1:
            kind, name = next(iter(mapping.items()))
            if kind in ("$env", "$file", "$keyring"):
                return _secret(kind, str(name), folder)
        return {key: resolved(value, folder) for key, value in mapping.items()}
    if isinstance(node, list):
        return [resolved(item, folder) for item in cast("list[object]", node)]
    return node


def _secret(kind: str, name: str, folder: Path) -> str:
    value: str | None = None
    if kind == "$env":
        value = os.environ.get(name)
    elif kind == "$file":
        try:
            value = (folder / Path(name).expanduser()).read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError):
            value = None
    else:
        for point in entry_points(group="plugway.key_stores", name="keyring"):
            read = cast("Callable[[str], StoredKey | None]", Approvals().load(point))
            key = read(name)
            value = key.value if key is not None else None
    if not value:
        raise PlugwayError(f"the secret `{{{kind}: {name}}}` has no value here: `plugway check`")
    return value

"""Mounted servers for tests: a faulty one, with short limits."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path

import orjson

from plugway_mcp._definitions import Store
from plugway_mcp._mounts import Mounts
from plugway_mcp._options import McpOptions

FAULTY = Path(__file__).with_name("faulty.py")


def faulty(state=None, **options):
    """The options of the faulty server; all its tools are allowed."""
    args = ["-S", str(FAULTY), str(state or ""), *options.pop("more", ())]
    return {
        "command": sys.executable,
        "args": args,
        "allow": ["read", "write", "run"],
        "timeout_seconds": 5,
        **options,
    }


@asynccontextmanager
async def mounts(tmp_path, **servers):
    """Running servers; what was seen of them is kept in `tmp_path`."""
    options = McpOptions.model_validate({"servers": servers})
    mounted = Mounts(options.servers, ("endpoint_list",), Store(tmp_path / "seen"))
    async with mounted.running():
        await mounted.tools()
        yield mounted


async def say(mounted, tool, text="", **more):
    """The text of a result, with `! ` before it where the tool failed."""
    result = await mounted.run(f"x_{tool}", {"text": text}, **more)
    return f"! {result.text}" if result.is_error else result.text


def write_state(path, **state):
    path.write_bytes(orjson.dumps(state))

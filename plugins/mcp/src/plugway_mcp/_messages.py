"""Messages of a server as they come in: read leniently, and bounded before the SDK sees them."""

from __future__ import annotations

import json
from typing import Any, Final, cast

import orjson
from mcp.types import JSONRPCMessage, JSONRPCResponse, jsonrpc_message_adapter

from plugway_mcp._definitions import MAX_TOOLS

MAX_ASKED: Final = 64
"""Most requests of a server that wait for our answer."""
CHANGED: Final = "notifications/tools/list_changed"
_MOST: Final = {"content": 1000, "tools": MAX_TOOLS + 1}
"""Most items of a result. The SDK needs 20 microseconds and a kilobyte for each."""
_REPAIRED: Final = 2**20
_BOM: Final = b"\xef\xbb\xbf"


def read(line: bytes) -> JSONRPCMessage | None:
    """The message in a line; None if there is none.

    A line with half a character, as a server makes that cuts its texts, is repaired.
    """
    line = line.removeprefix(_BOM)
    try:
        return bounded(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError:
        if len(line) > _REPAIRED or b'"jsonrpc"' not in line or is_json(line):
            return None
    try:
        found = json.loads(line.decode("utf-8", "replace"))
        repaired = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
        return bounded(jsonrpc_message_adapter.validate_json(repaired, by_name=False))
    except (ValueError, RecursionError):
        return None


def is_json(line: bytes) -> bool:
    """Whether a line is JSON."""
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


def bounded(message: JSONRPCMessage) -> JSONRPCMessage:
    """A message whose result has no more items than will be used."""
    if isinstance(message, JSONRPCResponse):
        for key, most in _MOST.items():
            items: object = message.result.get(key)
            if isinstance(items, list):
                del cast("list[Any]", items)[most:]
    return message

"""Exchanges that run or have ended, and looking at those of a gateway."""

import time

import anyio
import orjson

from plugway import Exchange, MessagesRequest
from plugway.testing import request_body


def exchange(**fields):
    return Exchange(MessagesRequest(orjson.dumps(request_body(**fields))))


async def shown(running, good=bool):
    """What runs, once it is `good`."""
    with anyio.fail_after(20):
        while True:
            found = (await running.client.get("/dashboard/exchanges")).json()["running"]
            if good(found):
                return found
            await anyio.sleep(0.01)


def item(number=0, *, ended=None, **changes):
    """An exchange as the dashboard keeps it."""
    return {
        "request_id": f"req_{number}",
        "caller": "owner",
        "session_id": "5e55",
        "agent_id": None,
        "model_asked": "large",
        "served_by": "cloud/large",
        "route": {"targets": ["cloud/large"], "reason": "a pattern"},
        "attempts": [{"target": "cloud/large", "result": "answered", "ms": 1.5}],
        "receipt": [],
        "ended": ended or time.time(),
        "outcome": "completed",
        "status": 200,
        "error": "",
        "usage": {"input": 10, "cache_read": 20, "cache_creation": 0, "output": 3},
        "dollars": 0.5,
        **changes,
    }

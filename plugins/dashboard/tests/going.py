"""Exchanges that run or have ended, and looking at those of a gateway."""

import time
from itertools import count

import anyio
import anyio.to_thread
import httpx2
import orjson
import pytest
from typer.testing import CliRunner

from plugway import Exchange, LocalGateway, MessagesRequest
from plugway.testing import request_body
from plugway_dashboard import logs_app


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


_numbers = count(1)


def item(number=0, *, ended=None, **changes):
    """An exchange as the dashboard keeps it."""
    return {
        "number": next(_numbers),
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


async def logs_of(running, *words):
    """What `plugway logs` prints about a running gateway."""

    def run():
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(LocalGateway, "find", lambda *_: Near(running))
            return CliRunner().invoke(logs_app, list(words)).output

    return await anyio.to_thread.run_sync(run)


class Near:
    """A gateway in this process, as the command finds it."""

    def __init__(self, running):
        self.running = running

    def ask(self, _method, path):
        lines = {"authorization": f"Bearer {self.running.token}"}
        return httpx2.get(f"{self.running.url}{path}", headers=lines).json()

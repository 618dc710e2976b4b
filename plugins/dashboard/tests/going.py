"""Exchanges that run, and looking at those of a gateway."""

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

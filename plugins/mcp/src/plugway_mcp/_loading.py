"""Loading and unloading models on this machine.

A backend that is not of `plugway.Loads` loads a model when it is asked something, and nobody can
make it unload one.
"""

from __future__ import annotations

from typing import Final

import anyio
import orjson

from plugway import BackendError, Gateway, Loads, MessagesRequest, PlugwayError
from plugway_endpoints import Endpoint

WAIT_SECONDS: Final = 50.0
"""A client gives a call 60 s until its first byte."""


async def load(gateway: Gateway, endpoint: Endpoint) -> str:
    """Load a model; the answer says whether it is there, or still on its way."""
    backend = gateway.backends[endpoint.instance]
    with anyio.move_on_after(WAIT_SECONDS):
        try:
            if isinstance(backend, Loads):
                await backend.load(endpoint.model)
            else:
                await gateway.ask(_smallest(endpoint))
        except PlugwayError as error:
            return f"`{endpoint.id}` was not loaded: {error}"
        return f"`{endpoint.id}` is loaded."
    return f"`{endpoint.id}` is not loaded after {WAIT_SECONDS:.0f} s: call `model_load` again."


async def unload(gateway: Gateway, endpoint: Endpoint) -> str:
    """Unload a model. Raises `BackendError` where its server does not offer that."""
    backend = gateway.backends[endpoint.instance]
    if not isinstance(backend, Loads):
        raise BackendError(
            f"`{endpoint.instance}` is a server of its own that cannot be told to unload a model "
            "from here: use its own command"
        )
    gone = await backend.unload(endpoint.model)
    return f"`{endpoint.id}` is unloaded." if gone else f"`{endpoint.id}` was not loaded."


def _smallest(endpoint: Endpoint) -> MessagesRequest:
    turns = [{"role": "user", "content": "."}]
    body = {"model": f"anthropic/{endpoint.id}", "max_tokens": 1, "messages": turns}
    headers = (("content-type", "application/json"),)
    return MessagesRequest(orjson.dumps(body), headers)

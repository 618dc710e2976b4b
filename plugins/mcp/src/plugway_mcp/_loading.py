"""Listing, loading and unloading models on this machine.

A backend without `plugway.Loads` loads a model with its first request, and cannot unload one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Final

import anyio
import orjson

from plugway import BackendError, Gateway, Loads, MessagesRequest, PlugwayError
from plugway_endpoints import Endpoint
from plugway_local_models import HoldsModels, LoadedModel

WAIT_SECONDS: Final = 50.0
"""A client gives a call 60 s until its first byte."""


async def listing(gateway: Gateway, endpoints: Sequence[Endpoint]) -> str:
    """The endpoints with their state, then loaded models that are not listed as endpoints."""
    held = await _held(gateway)
    lines: list[str] = []
    for endpoint in endpoints:
        model = held.pop((endpoint.instance, endpoint.model), None)
        state = _state(model) if model else endpoint.info.state
        lines.append(f"- {endpoint.described()}: {state}")
    for (instance, name), model in held.items():
        lines.append(f"- `{instance}/{name}` (not an endpoint): {_state(model)}")
    return "\n".join(lines)


async def load(gateway: Gateway, endpoint: Endpoint) -> str:
    """Load a model; the result says whether it is loaded or still loading."""
    backend = gateway.backends[endpoint.instance]
    with anyio.move_on_after(WAIT_SECONDS):
        try:
            if isinstance(backend, Loads):
                await backend.load(endpoint.model)
            else:
                await gateway.ask(_smallest(endpoint))
        except PlugwayError as error:
            return f"could not load `{endpoint.id}`: {error}"
        return f"`{endpoint.id}` is loaded."
    return f"`{endpoint.id}` is not loaded after {WAIT_SECONDS:.0f} s: call `model_load` again."


async def unload(gateway: Gateway, endpoint: Endpoint) -> str:
    """Unload a model. Raises `BackendError` if its server does not support that."""
    backend = gateway.backends[endpoint.instance]
    if not isinstance(backend, Loads):
        raise BackendError(
            f"`{endpoint.instance}` is a separate server that cannot unload a model on request "
            "from here. Use its own command"
        )
    if await backend.unload(endpoint.model):
        return f"`{endpoint.id}` is unloaded."
    if not isinstance(backend, HoldsModels):
        return f"`{endpoint.id}` was not unloaded: it is not loaded, or its server keeps it."
    kept = next((m.kept for m in await backend.loaded() if m.model == endpoint.model), "")
    return f"`{endpoint.id}` stays loaded: {kept}." if kept else f"`{endpoint.id}` was not loaded."


async def _held(gateway: Gateway) -> dict[tuple[str, str], LoadedModel]:
    """What is loaded on this machine, by instance and model, as far as the backends can say."""
    held: dict[tuple[str, str], LoadedModel] = {}
    for name, backend in gateway.backends.items():
        if isinstance(backend, HoldsModels):
            with contextlib.suppress(BackendError):
                held |= {(name, model.model): model for model in await backend.loaded()}
    return held


def _state(model: LoadedModel) -> str:
    facts = [model.state]
    if model.size:
        facts.append(f"{model.size / 2**30:.1f} GiB")
    if model.requests:
        facts.append(f"{model.requests} running")
    return ", ".join(facts)


def _smallest(endpoint: Endpoint) -> MessagesRequest:
    turns = [{"role": "user", "content": "."}]
    body = {"model": f"anthropic/{endpoint.id}", "max_tokens": 1, "messages": turns}
    headers = (("content-type", "application/json"),)
    return MessagesRequest(orjson.dumps(body), headers)

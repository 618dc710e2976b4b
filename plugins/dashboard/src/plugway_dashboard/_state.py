"""The state of backends now: which are skipped, and which models this machine's memory holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

import anyio

from plugway import Gateway, PlugwayError
from plugway_endpoints import TellsHealth
from plugway_local_models import HoldsModels, LoadedModel, MakesRoom

_SECONDS: Final = 3.0
"""Time for one backend to list its models."""
_DECISIONS: Final = 20
log = logging.getLogger("plugway.dashboard")


async def state_of(gateway: Gateway) -> Mapping[str, Any]:
    """As JSON-ready data; sizes in bytes."""
    health = [one._asdict() for _, teller in gateway.find(TellsHealth) for one in teller.health()]
    rooms = gateway.find(MakesRoom)
    found: Mapping[str, Any] = {"memory": None, "models": [], "decisions": [], "problems": []}
    with anyio.move_on_after(_SECONDS) as scope:
        found = await (_with_room(rooms[0][1]) if rooms else _without_room(gateway))
    if scope.cancelled_caught:
        found = {**found, "problems": [f"no list of the loaded models within {_SECONDS:g} s"]}
    return {"health": health, **found}


async def _with_room(room: MakesRoom) -> Mapping[str, Any]:
    report = await room.report()
    return {
        "memory": {
            "total": report.total,
            "available": report.available,
            "reserve": report.reserve,
        },
        "models": [_model(backend, model) for backend, model in report.models],
        "decisions": [
            {"age_seconds": one.age_seconds, "what": one.what}
            for one in report.decisions[-_DECISIONS:]
        ],
        "problems": [],
    }


async def _without_room(gateway: Gateway) -> Mapping[str, Any]:
    models: list[Mapping[str, Any]] = []
    problems: list[str] = []
    for name, backend in gateway.find(HoldsModels):
        try:
            models += [_model(name, model) for model in await backend.loaded()]
        except PlugwayError as error:
            problems.append(f"`{name}` does not list its models: {error.record}")
    return {"memory": None, "models": models, "decisions": [], "problems": problems}


def _model(backend: str, model: LoadedModel) -> Mapping[str, Any]:
    return {
        "model": f"{backend}/{model.model}",
        "state": model.state,
        "size": model.size,
        "requests": model.requests,
        "idle_seconds": model.idle_seconds,
        "context": model.context_tokens,
        "kept": model.kept,
        "problem": model.problem,
    }

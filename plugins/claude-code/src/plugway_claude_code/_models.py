"""Resolves the client's model names by asking the gateway's router."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_probe import ListedModel, list_models

SLOTS = ("opus", "sonnet", "haiku", "fable")
"""Claude Code's model names, by strength and purpose."""
_PREFIX = "anthropic/"
_REAL = re.compile(r"^claude-|claude-(opus|sonnet|haiku|fable)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Choice:
    """The model behind one of the client's names."""

    id: str
    """The id that the client sends."""
    name: str
    """The name in its model picker."""
    description: str
    window: int = 0
    targets: tuple[str, ...] = field(default=())
    notice: str = ""
    """A notice of its backend, shown before the first prompt."""

    @property
    def key(self) -> tuple[str, ...]:
        """Equal for two names that lead to the same models."""
        return self.targets or (self.id,)

    @property
    def is_listed(self) -> bool:
        """Whether the id is a model's rather than a router name."""
        return self.id.startswith(_PREFIX)

    @property
    def short_id(self) -> str:
        """Another id of the same model, which the gateway accepts but does not list."""
        return self.id.removeprefix(_PREFIX)


def listed(gateway: LocalGateway) -> list[ListedModel]:
    """The models that the gateway lists."""
    return anyio.run(partial(list_models, gateway.url, gateway.token, tls=gateway.tls))


def choices(
    gateway: LocalGateway, models: Sequence[ListedModel], wanted: str | None = None
) -> dict[str, Choice]:
    """A model for each of `SLOTS`: according to the router, or `wanted` for all.

    Raises:
        PlugwayError: there is no model, or `wanted` matches none or several.
    """
    if wanted is not None:
        model = resolve(wanted, models)
        return dict.fromkeys(SLOTS, _of_model(model))
    return {slot: _routed(gateway, models, slot) for slot in SLOTS}


def resolve(wanted: str, models: Sequence[ListedModel]) -> ListedModel:
    """Find a listed model by its id, the end of its id, or a part that is unique."""
    part = wanted.lower()
    stages = (
        [m for m in models if m.id in (wanted, f"anthropic/{wanted}")],
        [m for m in models if m.id.endswith(f"/{wanted}")],
        [
            m
            for m in models
            if part == m.backend or part in f"{_short_name(m)} {m.display_name}".lower()
        ],
    )
    for found in stages:
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(model.id for model in found)
            raise PlugwayError(f"`{wanted}` is ambiguous: use one of {names}")
    known = ", ".join(model.id for model in models) or "none"
    raise PlugwayError(f"unknown model `{wanted}`; the gateway lists {known}")


def _short_name(model: ListedModel) -> str:
    """The backend's name of a model."""
    return model.id.removeprefix(_PREFIX).removeprefix(f"{model.backend}/")


def _routed(gateway: LocalGateway, models: Sequence[ListedModel], slot: str) -> Choice:
    """The router's targets for this name; a single target is requested by its id."""
    asked = f"plugway-{slot}"
    body = {
        "model": asked,
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hello"}],
    }
    try:
        answer = gateway.ask("POST", "/v1/messages/explain", json.dumps(body).encode())
    except PlugwayError:
        if not models:
            raise
        return _of_model(models[0])
    targets = [
        str(item) for item in as_list(as_object(as_object(answer).get("route")).get("targets"))
    ]
    by_target = {model.id.removeprefix(_PREFIX): model for model in models}
    first = by_target.get(targets[0]) if targets else None
    if first is None and len(targets) == 1 and targets[0].endswith(f"/{asked}"):
        # No router: the only backend receives every name unchanged.
        backend = targets[0].partition("/")[0]
        first = next((model for model in models if model.backend == backend), None)
    if len(targets) == 1 and first is not None:
        return _of_model(first)
    windows = [by_target[target].window for target in targets if target in by_target]
    window = min((size for size in windows if size), default=0)
    name = targets[0] if targets else asked
    rest = f", then {', '.join(targets[1:])}" if targets[1:] else ""
    notice = first.notice if first else ""
    return Choice(asked, name, f"{name}{rest}", window, tuple(targets), notice)


def _of_model(model: ListedModel) -> Choice:
    size = f" · {model.window // 1024}K" if model.window else ""
    name = model.display_name or model.id
    target = model.id.removeprefix(_PREFIX)
    description = f"{model.backend or 'gateway'}{size}"
    return Choice(model.id, name, description, model.window, (target,), model.notice)


def takes_window(model_id: str) -> bool:
    """Whether the client respects a configured window for this id."""
    return not _REAL.search(model_id)


def smallest_window(chosen: Mapping[str, Choice]) -> int:
    """The smallest known window; 0 if none is known."""
    return min((choice.window for choice in chosen.values() if choice.window), default=0)

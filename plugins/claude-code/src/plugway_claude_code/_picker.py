"""Configures the client's `/model` picker to show each model once.

The picker has a row for each of the client's names, one for the model in
`ANTHROPIC_CUSTOM_MODEL_OPTION`, and one for each model of the gateway that has no other row; rows
for the same model are not merged. `availableModels` hides rows whose ids it does not list, and a
name with a hidden id still selects its model (all observed with 2.1.332). So among several names
for one model only one has the listed id; the others have the model's shorter id, which is not
listed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plugway_claude_code._models import SLOTS, Choice
from plugway_probe import ListedModel

_OWN = "ANTHROPIC_CUSTOM_MODEL_OPTION"


@dataclass(frozen=True, slots=True)
class Picker:
    """Settings that define the picker."""

    env: Mapping[str, str]
    available: tuple[str, ...]
    """The value of `availableModels`: the client rejects all other models."""


def picker(
    chosen: Mapping[str, Choice], models: Sequence[ListedModel], in_use: object = None
) -> Picker:
    """The rows for the client's names and for all other models of the gateway.

    `in_use` is the `model` in the user's settings, which the client would reject without a row.
    """
    main = chosen["sonnet"]
    env: dict[str, str] = {}
    shown: dict[tuple[str, ...], str] = {}
    if main.is_listed and in_use not in SLOTS:
        env |= _row(_OWN, main)
        shown[main.key] = main.id
    for slot in sorted(chosen, key=lambda slot: (slot != in_use, slot != "sonnet")):
        choice, name = chosen[slot], f"ANTHROPIC_DEFAULT_{slot.upper()}_MODEL"
        if choice.key in shown:
            env[name] = choice.short_id
        else:
            env |= _row(name, choice)
            shown[choice.key] = choice.id
    kept = [in_use] if isinstance(in_use, str) and _is_users_own(in_use) else []
    ids = [*shown.values(), *(model.id for model in models), *kept]
    return Picker(env, tuple(dict.fromkeys(ids)))


def _is_users_own(model: str) -> bool:
    """Whether the model is neither one of the client's names nor an id of the gateway."""
    return model not in SLOTS and not model.startswith("anthropic/")


def _row(name: str, choice: Choice) -> dict[str, str]:
    return {
        name: choice.id,
        f"{name}_NAME": choice.name,
        f"{name}_DESCRIPTION": choice.description,
    }

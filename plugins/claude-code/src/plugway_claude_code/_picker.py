"""What the client's `/model` shows: each model once.

Its picker has a row for each of the client's own names, one for the model that
`ANTHROPIC_CUSTOM_MODEL_OPTION` names, and one for each model of the gateway that no other row has;
rows of several names for one model are not put together. `availableModels` takes out the rows of
ids that it does not list, and a name whose id is not listed still stands for its model (all of it
seen with 2.1.332). So of several names for one model only one has the id that is listed; the others
have the same model under its shorter id, which is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plugway_claude_code._models import SLOTS, Choice
from plugway_probe import ListedModel

_OWN = "ANTHROPIC_CUSTOM_MODEL_OPTION"


@dataclass(frozen=True, slots=True)
class Picker:
    """Settings that make up the picker."""

    env: Mapping[str, str]
    available: tuple[str, ...]
    """The value of `availableModels`: with it the client takes no other model."""


def picker(
    chosen: Mapping[str, Choice], models: Sequence[ListedModel], in_use: object = None
) -> Picker:
    """The rows for what the client's names stand for, and for all other models of the gateway.

    `in_use` is the `model` of the user's own settings, which the client would refuse if it had no
    row.
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
    """Neither one of the client's names nor an id of the gateway's, which may be gone."""
    return model not in SLOTS and not model.startswith("anthropic/")


def _row(name: str, choice: Choice) -> dict[str, str]:
    return {
        name: choice.id,
        f"{name}_NAME": choice.name,
        f"{name}_DESCRIPTION": choice.description,
    }

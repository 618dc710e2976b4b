"""Validates lists of models from servers, which may contain anything.

`http/snapshot` has the models and the ids that clients see.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from plugway.types.backend import LoadState, ModelInfo
from plugway_wire.json import as_list, as_object
from plugway_wire.names import MAX_MODELS, MAX_NAME, is_model_name

MAX_FACTS: Final = 32
"""Most members of an object in a model's capabilities."""
_STATES: Final = get_args(LoadState)
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{5,18}(Z|[+-]\d\d:\d\d)", re.ASCII)
_LARGEST: Final = 2**40


def valid_models(listed: Any) -> Sequence[ModelInfo]:
    """A backend's list with invalid values removed, as clients may see it."""
    found: dict[str, ModelInfo] = {}
    for info in as_list(list(listed) if isinstance(listed, tuple) else listed):  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(info, ModelInfo) and is_model_name(info.id):
            found.setdefault(info.id, _cleaned(info))
        if len(found) == MAX_MODELS:
            break
    return tuple(found.values())


def _cleaned(info: ModelInfo) -> ModelInfo:
    name, when, state = info.display_name, info.created_at, info.state
    extra, stated = info.extra, as_object(info.extra.get("capabilities"))
    return replace(
        info,
        display_name=_shown(name),
        context_tokens=_tokens(info.context_tokens),
        max_output_tokens=_tokens(info.max_output_tokens),
        state=state if state in _STATES else "unknown",
        created_at=when if _is_time(when) else ModelInfo("").created_at,
        extra={**extra, "capabilities": _facts(stated)} if stated else extra,
    )


def _facts(value: Any, depth: int = 4) -> Any:
    """The valid part of a model's capabilities: booleans, integers, short text, and objects."""
    if isinstance(value, dict):
        first = list(as_object(value).items())[:MAX_FACTS] if depth else []
        found = {name: _facts(fact, depth - 1) for name, fact in first if is_model_name(name)}
        return {name: fact for name, fact in found.items() if fact is not None}
    valid = isinstance(value, bool) or (isinstance(value, int) and abs(value) < _LARGEST)
    return value if valid or is_model_name(value) else None


def _shown(name: object) -> str:
    """A display name without characters that must not be shown."""
    if not isinstance(name, str) or is_model_name(name):
        return name if isinstance(name, str) else ""
    kept = "".join(c for c in name[:MAX_NAME] if c.isprintable() and c not in '<>"`\\')
    return kept.strip()


def _tokens(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST:
        return value
    return 0


def _is_time(value: object) -> bool:
    return isinstance(value, str) and _WHEN.fullmatch(value) is not None

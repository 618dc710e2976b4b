"""Lists of models as servers give them, made fit to be shown: an upstream may list anything.

Which models there are, and under which ids clients see them, is in `http/snapshot`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, get_args

from plugway.types.backend import LoadState, ModelInfo
from plugway.types.json import as_list, as_object

MAX_MODELS: Final = 1000
"""Models of one backend that are taken from its list."""
MAX_NAME: Final = 256
"""Characters of the longest name of a model."""
MAX_FACTS: Final = 32
"""Members of an object by which a server states what a model can do."""
_MARKUP: Final = frozenset("<>\"'`\\")
_STATES: Final = get_args(LoadState)
_WHEN: Final = re.compile(r"\d{4}-\d\d-\d\dT[0-9:.]{5,18}(Z|[+-]\d\d:\d\d)", re.ASCII)
_LARGEST: Final = 2**40


def is_model_name(value: object) -> bool:
    """Whether `value` can be the name of a model: printable text of at most 256 characters without
    white space at its ends, and without what quotes, escapes or is a tag."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_NAME
        and value.isprintable()
        and value == value.strip()
        and _MARKUP.isdisjoint(value)
    )


def named_entries(entries: Any, key: str = "id") -> list[dict[str, Any]]:
    """The objects of a list that have the name of a model in `key`: each name once, at most 1,000;
    none where it is no list."""
    found: dict[str, dict[str, Any]] = {}
    for item in as_list(entries):
        entry = as_object(item)
        if is_model_name(name := entry.get(key)):
            found.setdefault(str(name), entry)
        if len(found) == MAX_MODELS:
            break
    return list(found.values())


def sound_models(listed: Any) -> Sequence[ModelInfo]:
    """What a backend listed, as clients may see it; what is no `ModelInfo` is left out."""
    found: dict[str, ModelInfo] = {}
    for info in as_list(list(listed) if isinstance(listed, tuple) else listed):  # pyright: ignore[reportUnknownArgumentType]
        if isinstance(info, ModelInfo) and is_model_name(info.id):
            found.setdefault(info.id, _sound(info))
        if len(found) == MAX_MODELS:
            break
    return tuple(found.values())


def _sound(info: ModelInfo) -> ModelInfo:
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
    """What a server states of a model: yes or no, numbers, short words, and objects of these."""
    if isinstance(value, dict):
        first = list(as_object(value).items())[:MAX_FACTS] if depth else []
        found = {name: _facts(fact, depth - 1) for name, fact in first if is_model_name(name)}
        return {name: fact for name, fact in found.items() if fact is not None}
    sound = isinstance(value, bool) or (isinstance(value, int) and abs(value) < _LARGEST)
    return value if sound or is_model_name(value) else None


def _shown(name: object) -> str:
    """A name for people: as it is, or what of it may be shown."""
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

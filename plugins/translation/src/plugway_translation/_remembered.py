"""Caches results by a request's list of tools, which a client sends with every request."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

import orjson

_Facts = ParamSpec("_Facts")
_Made = TypeVar("_Made")
_Tools = Sequence[Mapping[str, Any]]
_LISTS: Final = 16
_KEPT_BYTES: Final = 256 * 1024
"""A longer list is translated anew each time: 16 of them would be too much memory."""


def remembered(
    make: Callable[Concatenate[_Tools, _Facts], _Made],
) -> Callable[Concatenate[_Tools, _Facts], _Made]:
    """Decorate a pure function of a list of tools and of facts that compare by value, so that its
    results are cached. Callers share a result and must not change it."""

    kept = deque[tuple[bytes, Any, _Made]](maxlen=_LISTS)

    @wraps(make)
    def cached(tools: _Tools, *args: _Facts.args, **kwargs: _Facts.kwargs) -> _Made:
        raw, facts = orjson.dumps(tools), (args, kwargs)
        # Comparing a few lists is cheaper than the hash of a long one.
        for its, its_facts, made in kept:
            if its == raw and its_facts == facts:
                return made
        made = make(orjson.loads(raw), *args, **kwargs)
        if len(raw) <= _KEPT_BYTES:
            kept.append((raw, facts, made))
        return made

    return cached

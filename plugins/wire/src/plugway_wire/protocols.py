"""Checks of `runtime_checkable` protocols that are made with every request."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, TypeGuard, TypeVar
from weakref import ref

_Kind = TypeVar("_Kind")
_KNOWN: Final[dict[tuple[int, type], tuple[ref[object], bool]]] = {}


def implements(value: object, protocol: type[_Kind]) -> TypeGuard[_Kind]:
    """Whether `value` is an instance of `protocol`, decided once for each object.

    Before Python 3.12, `isinstance` lists the protocol's members each time. For objects that live
    long and have all their attributes when they are first asked about, such as backends.
    """
    key = (id(value), protocol)
    known = _KNOWN.get(key)
    if known is not None:
        return known[1]
    verdict = isinstance(value, protocol)
    with suppress(TypeError):  # of a class with slots and no weak references
        # Removed before the id can belong to another object.
        _KNOWN[key] = ref(value, lambda _: _KNOWN.pop(key, None)), verdict
    return verdict

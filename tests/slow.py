"""How much the tests do by default, and how much with `PLUGWAY_SLOW=1`.

The default suite takes a few minutes. It covers each feature and each case once; the slow suite
combines them, with more seeds, larger inputs and real clients and engines.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import pytest

SLOW = os.environ.get("PLUGWAY_SLOW") == "1"


def seeds(quick: int, slow: int) -> range:
    """The seeds of generated inputs: the first `quick` of them, or `slow` in the slow suite."""
    return range(slow if SLOW else quick)


def share(values: Sequence[Any], number: int, parts: int) -> Sequence[Any]:
    """One of so many parts of the values, in turn by `number`; all of them in the slow suite.

    Tests that differ in something else take one part each, so that together they try every value.
    """
    return values if SLOW else values[number % parts :: parts]


def quick_first(values: Iterable[Any], quick: int) -> list[Any]:
    """Parameters of which all but the first `quick` are slow."""
    return [
        value if number < quick else pytest.param(value, marks=pytest.mark.slow)
        for number, value in enumerate(values)
    ]


def quick_where(
    quick: Callable[..., bool], first: Iterable[Any], *others: Iterable[Any]
) -> list[Any]:
    """Each combination of several parameters; those for which `quick` is false are slow."""
    return [
        pytest.param(*values, marks=[] if quick(*values) else [pytest.mark.slow])
        for values in product(first, *others)
    ]

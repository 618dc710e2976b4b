"""The fields that turn thinking off, beside what a client set there itself. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import MessagesRequest, as_object
from plugway_capabilities import Facts

_ABOUT_THINKING: Final = re.compile(r"think|reason", re.IGNORECASE)


def switched_off(request: MessagesRequest, off: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The fields to set so that `off` applies; empty if nothing changes.

    The client's own members stay, and what the server is known to reject is left out.
    """
    fields: dict[str, Any] = {}
    for name, value in off.items():
        members, present = as_object(value), as_object(request.get(name))
        paths = {name, *(f"{name}.{member}" for member in members)}
        if paths.isdisjoint(facts.rejected_fields) and members.keys() - present.keys():
            fields[name] = {**members, **present}
    return fields


def steers_thinking(value: object) -> bool:
    """Whether a client's own variables of the chat template say how the model is to think."""
    return any(_ABOUT_THINKING.search(name) for name in as_object(value))

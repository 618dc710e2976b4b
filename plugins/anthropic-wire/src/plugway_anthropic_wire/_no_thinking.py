"""The fields that turn thinking off, merged with the client's own. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import MessagesRequest, as_object
from plugway_capabilities import Facts

_ABOUT_THINKING: Final = re.compile(r"think|reason", re.IGNORECASE)


def switched_off(request: MessagesRequest, off: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """The fields to set so that `off` applies; empty if nothing changes.

    The client's own values are kept, and fields that the server is known to reject are omitted.
    """
    fields: dict[str, Any] = {}
    for name, value in off.items():
        members, present = as_object(value), as_object(request.get(name))
        paths = {name, *(f"{name}.{member}" for member in members)}
        if paths.isdisjoint(facts.rejected_fields) and members.keys() - present.keys():
            fields[name] = {**members, **present}
    return fields


def steers_thinking(value: object) -> bool:
    """Whether a client's own variables for the chat template are about thinking."""
    return any(_ABOUT_THINKING.search(name) for name in as_object(value))

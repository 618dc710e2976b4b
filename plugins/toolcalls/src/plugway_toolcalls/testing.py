"""Helpers for tests of reply parsers: the parts in a form that can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from plugway_toolcalls._parts import (
    CallArguments,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
    merged,
)

Blocks = list[tuple[Any, ...]]


def as_blocks(parts: Iterable[Part]) -> Blocks:
    """The parts of a reply: `("text", ...)`, `("thinking", ...)`, `("error", ...)`, and for a call
    `("call", name, arguments)`."""
    found: Blocks = []
    name = ""
    for part in merged(parts):
        match part:
            case TextDelta(text):
                found.append(("text", text))
            case ThinkingDelta(text):
                found.append(("thinking", text))
            case CallStart(name):
                pass
            case CallArguments(fragment):
                found.append(("call", name, json.loads(fragment)))
            case CallError(text, _):
                found.append(("error", text))
            case _:
                pass
    return found

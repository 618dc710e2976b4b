"""A good request of each API, and requests that differ from it in one thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from plugway.testing import refusals

MESSAGES = {"anthropic-version": "2023-06-01", "x-api-key": "k", "content-type": "application/json"}
OPENAI = {"authorization": "Bearer k", "content-type": "application/json"}
GOOGLE = {"x-goog-api-key": "k", "content-type": "application/json"}


@dataclass(frozen=True)
class Case:
    """What a rule takes and what it refuses: fields over those of the good request."""

    taken: Mapping[str, Any]
    refused: Mapping[str, Any]
    words: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Header lines of the refused one, over the usual ones."""
    path: str = ""


def told(api, usual, body, case_path, headers, path, more):
    """What is refused of the good request with `more`; a value of None takes a field away."""
    changed = {name: value for name, value in {**body, **more}.items() if value is not None}
    lines = {name: value for name, value in {**usual, **headers}.items() if value}
    return refusals(api, lines, path or case_path, changed)

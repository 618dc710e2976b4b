"""Tools, and a reader of parts, that the tests of the language side share."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from plugway_toolcalls import (
    CallArguments,
    CallError,
    CallStart,
    Part,
    TextDelta,
    ThinkingDelta,
    Tool,
    merged,
)

Blocks = list[tuple[Any, ...]]


def _schema(**kinds: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": k} for name, k in kinds.items()}}


TOOLS = (
    Tool("Read", "Reads a file", {**_schema(file_path="string"), "required": ["file_path"]}),
    Tool("Bash", "Runs a command", _schema(command="string", timeout="integer")),
    Tool("Write", "Writes a file", _schema(file_path="string", content="string")),
    Tool("Edit", "Changes a file", _schema(edits="array", all="boolean")),
)


def as_blocks(parts: Iterable[Part]) -> Blocks:
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


@pytest.fixture(scope="session")
def tools() -> tuple[Tool, ...]:
    return TOOLS


@pytest.fixture(scope="session")
def blocks() -> Callable[[Iterable[Part]], Blocks]:
    return as_blocks

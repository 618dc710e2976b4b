"""Tools, and a reader of parts, that the tests of the language side share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from plugway_toolcalls import Part, Tool
from plugway_toolcalls.testing import Blocks, as_blocks


def _schema(**kinds: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": k} for name, k in kinds.items()}}


TOOLS = (
    Tool("Read", "Reads a file", {**_schema(file_path="string"), "required": ["file_path"]}),
    Tool("Bash", "Runs a command", _schema(command="string", timeout="integer")),
    Tool("Write", "Writes a file", _schema(file_path="string", content="string")),
    Tool("Edit", "Changes a file", _schema(edits="array", all="boolean")),
)


@pytest.fixture(scope="session")
def tools() -> tuple[Tool, ...]:
    return TOOLS


@pytest.fixture(scope="session")
def blocks() -> Callable[[Iterable[Part]], Blocks]:
    return as_blocks

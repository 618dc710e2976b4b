"""Helpers shared by the tests of the demo model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1]


def load_template(text: str) -> Any:
    sandbox = pytest.importorskip("jinja2.sandbox", reason="jinja2 is not installed")
    env = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    env.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return env.from_string(text)


@pytest.fixture(scope="session")
def template_text() -> str:
    return (FOLDER / "recipe" / "chat_template.jinja").read_text("utf-8")


@pytest.fixture(scope="session")
def template(template_text: str) -> Any:
    return load_template(template_text)

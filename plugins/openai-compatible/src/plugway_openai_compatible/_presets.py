"""The table of known servers; read once and validated."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final, Literal

from plugway import as_object
from plugway_openai_wire.chat import Quirks

PresetName = Literal[
    "azure",
    "deepseek",
    "groq",
    "litellm",
    "llama-cpp-python",
    "lmstudio",
    "mistral",
    "mlx-lm",
    "ollama",
    "openrouter",
    "together",
]

KeyHeader = Literal["authorization", "api-key", "x-api-key"]

_QUIRKS: Final = frozenset(f.name for f in fields(Quirks))


@dataclass(frozen=True, slots=True)
class Preset:
    """One known server."""

    base_url: str = ""
    key_header: KeyHeader = "authorization"
    models_path: str = "/models"
    quirks: Quirks = Quirks()


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name."""
    text = files("plugway_openai_compatible").joinpath("presets.toml").read_text("utf-8")
    return {name: _preset(as_object(row)) for name, row in tomllib.loads(text).items()}


def _preset(row: dict[str, Any]) -> Preset:
    quirks = {name: row.pop(name) for name in list(row) if name in _QUIRKS}
    if isinstance(quirks.get("efforts"), list):
        quirks["efforts"] = tuple(quirks["efforts"])
    return Preset(**row, quirks=Quirks(**quirks))

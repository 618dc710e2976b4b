"""Features of Gemini models, and Google's model list. Pure functions.

https://ai.google.dev/gemini-api/docs/thinking, https://ai.google.dev/gemini-api/docs/gemini-3 and
https://ai.google.dev/api/models.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from plugway import InvalidRequest, ModelInfo, as_list, named_entries
from plugway_capabilities import Facts
from plugway_translation import Effort, MediaPolicy, Reasoning, count

_VERSION: Final = re.compile(r"(gemini|gemma)-(\d{1,3})(?:\.(\d{1,3}))?")
_NO_CHAT: Final = ("embedding", "-tts", "-image", "imagen", "veo", "aqa", "-live", "audio")

_BUDGETS: Final = {"flash-lite": (512, 24576), "flash": (1, 24576), "pro": (128, 32768)}
"""Minimum and maximum thinking tokens of Gemini 2.5 while thinking is on."""


@dataclass(frozen=True, slots=True)
class Target:
    """The model that a request goes to."""

    model: str
    reasoning: Reasoning
    """Signs and opens thinking blocks of the model."""
    facts: Facts = field(default_factory=Facts)
    media: MediaPolicy = "placeholder"
    safety: str = ""
    """Threshold for all harm categories; empty for Google's default."""

    @property
    def version(self) -> tuple[int, int]:
        """`(2, 5)` for `gemini-2.5-pro`; (0, 0) for an alias without a version."""
        match = _VERSION.search(self.model)
        return (int(match[2]), int(match[3] or 0)) if match else (0, 0)

    @property
    def open_weights(self) -> bool:
        """Whether it is a Gemma model."""
        return "gemma-" in self.model

    @property
    def thinks_by(self) -> Literal["level", "budget", ""]:
        """How to control thinking: `thinkingLevel` since 3, `thinkingBudget` in 2.5."""
        if self.version >= ((4, 0) if self.open_weights else (3, 0)):
            return "level"
        return "budget" if self.version == (2, 5) else ""

    @property
    def levels(self) -> tuple[Effort, ...]:
        """The supported thinking levels."""
        if self.open_weights:
            return ("minimal", "high")
        if "pro" not in self.model:
            return ("minimal", "low", "medium", "high")
        return ("low", "high") if self.version == (3, 0) else ("low", "medium", "high")

    @property
    def budgets(self) -> tuple[int, int]:
        """Minimum and maximum thinking tokens."""
        return next((range_ for name, range_ in _BUDGETS.items() if name in self.model), (1, 24576))

    @property
    def always_thinks(self) -> bool:
        """Whether thinking cannot be disabled."""
        return self.thinks_by == "level" or (self.thinks_by == "budget" and "pro" in self.model)

    @property
    def wants_signatures(self) -> bool:
        """Whether earlier calls require a thought signature; True if unknown."""
        return not self.open_weights and (self.version >= (3, 0) or self.version == (0, 0))


def resource(model: str) -> str:
    """The model's resource name in API paths: `models/gemini-2.5-pro`.

    Raises:
        InvalidRequest: the name would change the path.
    """
    if not {"", ".", ".."}.isdisjoint(model.split("/")):
        message = f"model: `{model}` is not a valid model name: it has an empty part, `.` or `..`"
        raise InvalidRequest(message, retry=False)
    return model if "/" in model else f"models/{model}"


def entries_of(page: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The named entries of one page of the list."""
    return named_entries(page.get("models"), "name")


def models_in(entries: Iterable[Mapping[str, Any]]) -> list[ModelInfo]:
    """The text models among the entries."""
    found: list[ModelInfo] = []
    for entry in entries:
        name = entry["name"].removeprefix("models/")
        writes = "generateContent" in as_list(entry.get("supportedGenerationMethods"))
        if name and writes and not any(part in name for part in _NO_CHAT):
            found.append(_model(name, entry))
    return found


def _model(name: str, entry: Mapping[str, Any]) -> ModelInfo:
    capabilities: set[str] = set()
    if name.startswith("gemini"):
        capabilities |= {"tools", "images", "structured_output"}
    if entry.get("thinking") is True:
        capabilities.add("thinking")
    return ModelInfo(
        id=name,
        display_name=str(entry.get("displayName") or ""),
        context_tokens=count(entry.get("inputTokenLimit")),
        max_output_tokens=count(entry.get("outputTokenLimit")),
        capabilities=frozenset(capabilities),
    )

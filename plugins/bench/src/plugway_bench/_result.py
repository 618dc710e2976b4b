"""The result of a run, as written and read: JSON with a version.

`_samples` computes the figures; nothing here measures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from plugway import PlugwayError
from plugway_bench._bodies import Workload
from plugway_local_models.measured import SCHEMA

_MOST_BYTES: Final = 10_000_000
FigureName = Literal[
    "first_cold",
    "first_warm",
    "turns_rate",
    "turns_first",
    "tools_first",
    "prefix_reuse",
    "cancel",
    "turn_share",
    "tools_share",
]
UNITS: Final[Mapping[FigureName, str]] = {
    "first_cold": "ms",
    "first_warm": "ms",
    "turns_rate": "tokens/s",
    "turns_first": "ms",
    "tools_first": "ms",
    "prefix_reuse": "%",
    "cancel": "ms",
    "turn_share": "ms",
    "tools_share": "ms",
}
LABELS: Final[Mapping[FigureName, str]] = {
    "first_cold": "2K, cold: first token, p50",
    "first_warm": "2K, again: first token, p50",
    "turns_rate": "20K turns: tokens a second, p50",
    "turns_first": "20K turns: first token, p50",
    "tools_first": "50K with tools: first token, p95",
    "prefix_reuse": "20K turns: prompt read from the cache, p50",
    "cancel": "upstream closed after a disconnect, p50",
    "turn_share": "2K, cold: the gateway's share of it, p50",
    "tools_share": "50K with tools: the gateway's share of it, p50",
}
HIGHER_IS_BETTER: Final[frozenset[FigureName]] = frozenset({"turns_rate", "prefix_reuse"})


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Figure(_Model):
    """One figure: its value, and the range of what was measured."""

    value: float
    low: float
    high: float
    samples: int

    @property
    def spread(self) -> float:
        """Half of the range, as a share of the value; 0 without a value."""
        return (self.high - self.low) / 2 / self.value if self.value else 0.0


class WorkloadResult(_Model):
    """What became of one workload."""

    outcome: Literal["measured", "context_overflow", "failed", "not_run"]
    reason: str = ""
    prompt_tokens: int | None = None
    """As the server counted, the largest."""
    window: int | None = None
    """If the prompt did not fit."""


class EndpointResult(_Model):
    """Everything about one endpoint."""

    endpoint: str
    zone: str
    window: int = 0
    workloads: dict[Workload, WorkloadResult] = {}
    figures: dict[FigureName, Figure] = {}
    calls_asked: int = 0
    """Replies to requests that ask for a tool call."""
    calls_made: int = 0
    calls_valid: int = 0
    """Calls of offered tools with arguments that fit their schemas."""
    dollars: float | None = None
    """None: no price is known, or the server's counts cannot be used."""
    notes: tuple[str, ...] = ()

    @property
    def valid_rate(self) -> float | None:
        """Share of the requests for a tool call that got only valid ones."""
        return self.calls_valid / self.calls_asked if self.calls_asked else None


class MachineFacts(_Model):
    """The machine that measured."""

    text: str
    cores: int
    memory_bytes: int
    system: str
    python: str
    load: float | None = None
    """Average number of running processes at the beginning; None where it is not known."""


class Result(_Model):
    """A run."""

    schema_version: Literal[1] = SCHEMA
    started: str
    """UTC, ISO 8601."""
    seconds: float
    seed: int
    rounds: int
    complete: bool
    """False: interrupted."""
    machine: MachineFacts
    versions: dict[str, str]
    endpoints: tuple[EndpointResult, ...]


def read_result(path: Path) -> Result:
    """Read a result. Raises `PlugwayError`."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise PlugwayError(f"`{path}` is larger than a result of `plugway bench`")
        return Result.model_validate_json(content)
    except OSError as error:
        raise PlugwayError(f"cannot read `{path}`: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise PlugwayError(
            f"`{path}` is not a result of this version of `plugway bench` (`{place}`: "
            f"{first['msg']}): measure again, or name the `.json` file of a run"
        ) from None

"""What `plugway bench` measured on this machine last, for advice.

Not imported with the package. `plugway-bench` writes the files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import orjson
import platformdirs

from plugway import as_list, as_object

SCHEMA: Final[Literal[1]] = 1
"""The version of the files."""
_MOST_BYTES: Final = 10_000_000


@dataclass(frozen=True, slots=True)
class MeasuredSpeed:
    """The speed of a model, measured with prompts of a coding agent."""

    endpoint: str
    """`instance/model`."""
    started: str
    """UTC, ISO 8601."""
    tokens_per_second: float
    first_seconds: float | None
    """Time to the first token of 2,000 tokens that were not in a cache."""

    @property
    def model(self) -> str:
        """The backend's own name of the model."""
        return self.endpoint.partition("/")[2]

    def as_json(self) -> dict[str, object]:
        """JSON-ready data."""
        return asdict(self)

    def sentence(self) -> str:
        """The measurement in a few words."""
        first = self.first_seconds
        started = "" if first is None else f", first token of a 2K prompt after {first:.2g} s"
        rate = f"{self.tokens_per_second:.3g} tokens a second"
        return f"`{self.endpoint}`, measured on {self.started[:10]}: {rate}{started}"


def results_folder() -> Path:
    """Where `plugway bench` writes by default."""
    return platformdirs.user_state_path("plugway", appauthor=False) / "bench"


def measured_speeds(memory: int, cores: int, folder: Path | None = None) -> list[MeasuredSpeed]:
    """The newest measurement of each endpoint of the zone `local`, on a machine with that memory
    and these cores. Files that cannot be read, or of another version, are skipped."""
    found: dict[str, MeasuredSpeed] = {}
    for path in sorted((folder or results_folder()).glob("bench-*.json"), reverse=True)[:20]:
        for speed in _read(path, memory, cores):
            found.setdefault(speed.endpoint, speed)
    return list(found.values())


def _read(path: Path, memory: int, cores: int) -> Iterator[MeasuredSpeed]:
    result: dict[str, object] = {}
    with suppress(OSError, orjson.JSONDecodeError):
        if path.stat().st_size <= _MOST_BYTES:
            result = as_object(orjson.loads(path.read_bytes()))
    machine = as_object(result.get("machine"))
    if result.get("schema_version") != SCHEMA:
        return
    if (machine.get("memory_bytes"), machine.get("cores")) != (memory, cores):
        return
    for row in map(as_object, as_list(result.get("endpoints"))):
        figures = as_object(row.get("figures"))
        rate = _value(figures.get("turns_rate"))
        if row.get("zone") == "local" and rate:
            first = _value(figures.get("first_cold"))
            seconds = None if first is None else first / 1000
            started = str(result.get("started", ""))
            yield MeasuredSpeed(str(row.get("endpoint", "")), started, rate, seconds)


def _value(figure: object) -> float | None:
    value = as_object(figure).get("value")
    return float(value) if isinstance(value, int | float) and 0 < value < 1e9 else None

"""`plugway check`: reports all problems of a configuration, and warnings.

The loader and the plugins find the problems; they log the warnings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from plugway.cli.config import chosen_config
from plugway.http.snapshot import build_snapshot
from plugway.types.backend import Reaches
from plugway.types.errors import ConfigError, PluginError, Problem
from plugway_log import warnings_logged
from plugway_packages import startup_files


@dataclass(frozen=True, slots=True)
class Report:
    """The result of checking a configuration."""

    error: ConfigError | PluginError | None
    """Why it cannot be used, or None."""
    warnings: tuple[str, ...]
    ways: tuple[tuple[str, str], ...] = ()
    """For each backend, how its server is reached (`Reaches.way`)."""

    def as_json(self) -> dict[str, object]:
        """The report as JSON-ready data."""
        if isinstance(self.error, ConfigError):
            problems = self.error.problems
        else:
            problems = (Problem("", "", str(self.error)),) if self.error else ()
        return {
            "valid": not problems,
            "problems": [asdict(item) for item in problems],
            "warnings": list(self.warnings),
            "ways": dict(self.ways),
        }


def checked(explicit: Path | None) -> Report:
    """Load the configuration with its plugins; nothing is started."""
    with warnings_logged() as logged:
        try:
            snapshot = build_snapshot(chosen_config(explicit))
        except (ConfigError, PluginError) as found:
            error, backends = found, ()
        else:
            error, backends = None, snapshot.backends.values()
    ways = tuple((item.name, item.way) for item in backends if isinstance(item, Reaches))
    return Report(error, (*startup_files().warnings, *logged), ways)

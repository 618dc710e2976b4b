"""The exceptions of a configuration and of plugins; `plugway_wire.errors` has those of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plugway_wire.errors import PlugwayError


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a configuration: its position, the reason and the fix."""

    where: str
    """`file:line:column`, or only the file if the position is unknown."""
    path: str
    """Dotted path in the file, such as `plugins[2].options.api_key`; empty for the whole file."""
    reason: str
    fix: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        path = f"`{self.path}`: " if self.path else ""
        return f"{place}{path}{self.reason}" + (f" - {self.fix}" if self.fix else "")


class ConfigError(PlugwayError):
    """A configuration is invalid; it has all problems found, not only the first."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n".join([head, *(f"  {problem}" for problem in self.problems)]))


class PluginError(PlugwayError):
    """A plugin cannot be loaded: it fails to import, or violates the plugin API."""

    def __init__(self, plugin: str, reason: str, distribution: str = "") -> None:
        self.plugin = plugin
        self.reason = reason
        self.distribution = distribution
        source = f" (distribution `{distribution}`)" if distribution else ""
        super().__init__(f"plugin `{plugin}`{source}: {reason}")


class HookError(PlugwayError):
    """A plugin's hook raised, timed out or returned the wrong type; the cause is chained."""

    def __init__(self, plugin: str, hook: str, reason: str) -> None:
        self.plugin = plugin
        self.hook = hook
        self.reason = reason
        super().__init__(f"plugin `{plugin}`, hook `{hook}`: {reason}")

"""The options: which preset holds for which backend, and what a user wants otherwise."""

from __future__ import annotations

from pydantic import Field

from plugway import Options
from plugway_field_policy._presets import PresetName, SystemTurns


class Target(Options):
    """What holds for one backend."""

    preset: PresetName | None = None
    """Kind of server to take it for, instead of what the backend says of itself."""
    keep: tuple[str, ...] = ()
    """Names that it takes beyond the preset: a field (`metadata`), a part of one
    (`output_config.effort`, `tools.strict`), or a feature (`cache_control`, `server_tools`,
    `tool_reference`, `citations`, `attribution`)."""
    drop: tuple[str, ...] = ()
    """Names that it does not take although the preset does."""
    system_turns: SystemTurns | None = None
    """Turns of role `system` in the conversation: `keep`, a `user-reminder` in their place, or
    `hoist` them to the end of `system`, which costs every cached prefix."""
    merge_turns: bool | None = None
    """Whether turns of one role in a row become one turn."""


class FieldPolicyOptions(Options):
    """Options of `field-policy`."""

    unknown: PresetName = "compatible"
    """Preset for servers of the Messages API that are not of a known kind."""
    backends: dict[str, Target] = Field(default={})
    """Name of a backend -> what holds for it."""

"""The options: the preset of each backend, and changes to it."""

from __future__ import annotations

from pydantic import Field

from plugway import Options
from plugway_field_policy._presets import PresetName, SystemTurns


class Target(Options):
    """The policy of one backend."""

    preset: PresetName | None = None
    """Kind of server, if the backend does not report it correctly."""
    keep: tuple[str, ...] = ()
    """Names to keep in addition to the preset: a field (`metadata`), a part of one
    (`output_config.effort`, `tools.strict`), or a feature (`cache_control`, `server_tools`,
    `tool_reference`, `citations`, `attribution`)."""
    drop: tuple[str, ...] = ()
    """Names to drop although the preset keeps them."""
    system_turns: SystemTurns | None = None
    """How to send `system` turns within the conversation: `keep` them, replace them by a
    `user-reminder`, or `hoist` them to the end of `system`, which invalidates cached prefixes."""
    merge_turns: bool | None = None
    """Whether to merge consecutive turns of one role."""


class FieldPolicyOptions(Options):
    """Options of `field-policy`."""

    unknown: PresetName = "compatible"
    """Preset for servers of the Messages API of unknown kind."""
    backends: dict[str, Target] = Field(default={})
    """Policies by name of the backend."""

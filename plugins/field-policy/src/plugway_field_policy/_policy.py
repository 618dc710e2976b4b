"""The policy of one backend: its preset with the configured changes, computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from plugway import Backend, SpeaksMessages
from plugway_field_policy._options import FieldPolicyOptions, Target
from plugway_field_policy._presets import (
    BETAS,
    BLOCK_EXTRAS,
    BLOCK_KEYS,
    CORE,
    PRESETS,
    TOOL_KEYS,
    PresetName,
    SystemTurns,
)

TRANSLATING: Final = "translating"
"""The preset of backends that translate requests and forward no headers."""
_KINDS: Final[dict[str, PresetName]] = {name: name for name in PRESETS}


@dataclass(frozen=True, slots=True)
class Policy:
    """What a backend accepts, prepared for checking requests."""

    preset: PresetName
    everything: bool
    takes: frozenset[str]
    drops: frozenset[str]
    fields: frozenset[str]
    """Top-level fields of the body."""
    output_keys: frozenset[str] | None
    """Fields of `output_config`; None for all."""
    tool_keys: frozenset[str] | None
    """Fields of tools; None for all."""
    block_keys: dict[str, frozenset[str]]
    system_turns: SystemTurns
    merge_turns: bool

    @property
    def untouched(self) -> bool:
        """Whether the policy changes nothing."""
        return self.everything and not self.drops

    def takes_field(self, name: str) -> bool:
        """Whether to keep a top-level field."""
        return name not in self.drops if self.everything else name in self.fields

    def takes_beta(self, value: str) -> bool:
        """Whether to keep a value of `anthropic-beta`: if its fields in the body are kept."""
        name = _beta_field(value)
        if name is None or self.preset == TRANSLATING:
            return self.everything
        field, _, part = name.partition(".")
        if self.everything:
            return not {name, field} & self.drops
        whole = f"{field}.*" in self.takes or (field == "output_config" and field in self.takes)
        return name in self.takes or (bool(part) and whole)

    def beta_reason(self, value: str) -> str:
        """Why a value of `anthropic-beta` is removed."""
        name = _beta_field(value)
        if self.preset == TRANSLATING:
            return "only servers of the Messages API support betas"
        if name is None:
            return "what they change in the body is unknown"
        if name == "betas":
            return f"`{self.preset}` is not known to support them"
        return "their fields in the body are left out, too"


@lru_cache(256)
def _beta_field(value: str) -> str | None:
    """The name of what a value of `anthropic-beta` adds to the body, if known."""
    return next((name for prefix, name in BETAS if value.startswith(prefix)), None)


def preset_of(backend: Backend, unknown: PresetName) -> PresetName:
    """The preset for a backend, by the kind it reports.

    A backend without the Messages API translates the request itself.
    """
    if not isinstance(backend, SpeaksMessages):
        return TRANSLATING
    return "anthropic" if backend.native else _KINDS.get(backend.kind, unknown)


def policy_of(backend: Backend, options: FieldPolicyOptions) -> Policy:
    """Compute the policy for a backend."""
    wanted = options.backends.get(backend.name, Target())
    name = wanted.preset or preset_of(backend, options.unknown)
    preset = PRESETS[name]
    drops = frozenset(wanted.drop)
    takes = (preset.takes | frozenset(wanted.keep)) - drops
    fields = frozenset(entry.partition(".")[0] for entry in takes)
    extras = takes & BLOCK_EXTRAS
    return Policy(
        preset=name,
        everything=preset.everything,
        takes=takes,
        drops=drops,
        fields=(fields | CORE) - (drops - {"model", "messages", "max_tokens"}),
        output_keys=None if "output_config" in takes else _parts("output_config", takes),
        tool_keys=None
        if "tools.*" in takes
        else TOOL_KEYS | _parts("tools", takes) | (takes & {"cache_control"}),
        block_keys={kind: keys | extras for kind, keys in BLOCK_KEYS.items()},
        system_turns=wanted.system_turns or preset.system_turns,
        merge_turns=preset.merge_turns if wanted.merge_turns is None else wanted.merge_turns,
    )


def _parts(field: str, takes: frozenset[str]) -> frozenset[str]:
    prefix = f"{field}."
    return frozenset(name.removeprefix(prefix) for name in takes if name.startswith(prefix))

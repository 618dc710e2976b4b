"""Checks of the configured plugins: those that an agent needs with models other than Anthropic's,
and their order. `plugway check` reports whether they load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plugway import LocalGateway, as_list, as_object
from plugway_doctor._checks import Check

_NATIVE = "anthropic"
"""The backend whose replies need none of these plugins."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    use: str
    name: str
    """Name of the check."""
    present: str
    absent: str
    place: str


_WANTED = (
    _Wanted(
        "auto-mode",
        "auto mode",
        "the gateway answers its checks for every backend",
        "it works only with Anthropic's own models",
        "first under `plugins`",
    ),
    _Wanted(
        "server-tools",
        "server tools",
        "a web search that is not run is reported as unavailable",
        "a model other than Anthropic's invents web search results",
        "before `tool-repair`, `context-guard` and `field-policy`",
    ),
    _Wanted(
        "tool-repair",
        "tool repair",
        "calls written as prose, wrong arguments and empty turns are repaired",
        "a call that a model writes as prose ends the agent's turn",
        "after `server-tools`",
    ),
    _Wanted(
        "error-normalizer",
        "error messages",
        "errors reach Claude Code as messages that it acts on",
        "Claude Code does not compact when another vendor rejects a prompt as too long",
        "after `resilience`",
    ),
)
_OUTSIDE = (("resilience", "error-normalizer"),)
"""Pairs that load in either order but work only in this one."""


def base_urls(gateway: LocalGateway) -> dict[str, str]:
    """The `base_url` of each instance that has one in the configuration."""
    urls = {entry.name: entry.options.get("base_url") for entry in gateway.plugins()}
    return {name: url.rstrip("/") for name, url in urls.items() if isinstance(url, str)}


def scales_usage(gateway: LocalGateway) -> bool:
    """Whether clients get scaled token counts, and so assume another window than the real one."""
    return any(entry.options.get("scale_usage") is True for entry in gateway.plugins())


def stack(gateway: LocalGateway, state: Mapping[str, Any] | None) -> Iterator[Check]:
    """Whether each wanted plugin is listed, and where to add it; and their order.

    `state` is the status of the running gateway, which lists its backends.
    """
    uses = [entry.use for entry in gateway.plugins()]
    if not gateway.configured or _is_native(gateway, state):
        yield from (Check(one.name, "passed", one.present) for one in _WANTED)
        return
    for one in _WANTED:
        if one.use in uses:
            yield Check(one.name, "passed", one.present)
        else:
            reason = f"`{one.use}` is not listed: {one.absent}"
            fix = f"add `- use: {one.use}` to {gateway.config_path}, {one.place}"
            yield Check(one.name, "warned", reason, fix)
    for outer, inner in _OUTSIDE:
        if {outer, inner} <= {*uses} and uses.index(outer) > uses.index(inner):
            reason = f"`{inner}` is listed before `{outer}`, which then retries in vain"
            fix = f"move `- use: {outer}` before `- use: {inner}` in {gateway.config_path}"
            yield Check("plugin order", "warned", reason, fix)


def _is_native(gateway: LocalGateway, state: Mapping[str, Any] | None) -> bool:
    """Whether every running backend is Anthropic's own."""
    backends = [str(as_object(item).get("name")) for item in as_list((state or {}).get("backends"))]
    uses = {entry.name: entry.use for entry in gateway.plugins()}
    return bool(backends) and all(uses.get(name) == _NATIVE for name in backends)

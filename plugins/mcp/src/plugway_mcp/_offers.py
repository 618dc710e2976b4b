"""Which tools of a server are offered, under which names, and what a call can do."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from plugway import as_object
from plugway_mcp._definitions import Definition
from plugway_mcp._options import ServerOptions, ToolOptions
from plugway_mcp._presets import KnownTool, presets
from plugway_tools import Effect, ToolSpec, harmless

MAX_NAME: Final = 64
MAX_DESCRIPTION: Final = 1024
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_-]+")
_MARK: Final = 6


@dataclass(frozen=True, slots=True)
class Offer:
    """A tool of a server, and whether it may be called."""

    server: str
    definition: Definition
    spec: ToolSpec
    refusal: str = ""
    """Why it is not offered; empty if it is."""


def offers(
    server: str, options: ServerOptions, tools: Iterable[Definition]
) -> list[tuple[Definition, Effect, str]]:
    """Each tool with its effect, and why it is not offered."""
    return [(tool, *_judged(server, options, tool)) for tool in tools]


def effect_of(options: ServerOptions, tool: Definition) -> Effect:
    """What a call can do. Hints of a server count where they warn; where they reassure, only if
    the user trusts them."""
    said = options.tools.get(tool.name, ToolOptions()).effect
    if said is not None:
        return said
    known = _known(options).get(tool.name)
    if known is not None:
        warned = known.effect == "read" and tool.hints.get("readOnlyHint") is False
        return "write" if warned else known.effect
    if not options.trust_hints:
        return "run"
    if tool.hints.get("readOnlyHint") is True:
        return "read"
    inside = tool.hints.get("openWorldHint") is False
    return "write" if inside and tool.hints.get("destructiveHint") is False else "run"


def _judged(server: str, options: ServerOptions, tool: Definition) -> tuple[Effect, str]:
    effect = effect_of(options, tool)
    allowed = options.tools.get(tool.name, ToolOptions()).allowed
    place = f"`servers.{server}"
    if allowed is False:
        return effect, f"{place}.tools` forbids it"
    if allowed is None:
        preset = presets().get(options.preset or "")
        if preset is not None and tool.name in preset.off:
            return effect, f"it is risky: allow it by name in {place}.tools`"
        if effect not in options.allow:
            return effect, f"its effect is `{effect}`, which {place}.allow` does not list"
    return effect, ""


def _known(options: ServerOptions) -> Mapping[str, KnownTool]:
    preset = presets().get(options.preset or "")
    return preset.tools if preset is not None else {}


def specs(
    found: Iterable[tuple[str, ServerOptions, Definition, Effect, str]], taken: Collection[str]
) -> dict[str, Offer]:
    """All tools by the names under which they are offered; `taken` are names of other tools.

    A name does not depend on the order of servers: where two would be the same, each gets a mark.
    """
    rows = list(found)
    plain = Counter(_plain(server, tool.name) for server, _, tool, _, _ in rows)
    offered: dict[str, Offer] = {}
    for server, options, tool, effect, refusal in rows:
        name = _plain(server, tool.name)
        if plain[name] > 1 or name in taken or len(name) > MAX_NAME:
            digest = hashlib.sha256(f"{server}\0{tool.name}".encode()).hexdigest()[:_MARK]
            name = f"{name[: MAX_NAME - _MARK - 1]}_{digest}"
        spec = _spec(name, server, options, tool, effect)
        offered.setdefault(name, Offer(server, tool, spec, refusal))
    return offered


def _plain(server: str, tool: str) -> str:
    """`files_read_file`; a tool that names its server already, as `git_status` does, stays so."""
    named = tool == server or tool.startswith(f"{server}_")
    return _FOREIGN.sub("_", tool if named else f"{server}_{tool}")


def _spec(
    name: str, server: str, options: ServerOptions, tool: Definition, effect: Effect
) -> ToolSpec:
    preset = presets().get(options.preset or "")
    known = _known(options).get(tool.name)
    return ToolSpec(
        name=name,
        description=harmless(" ".join(tool.description.split()))[:MAX_DESCRIPTION],
        input_schema={"type": "object", **cast("Mapping[str, Any]", _readable(tool.schema))},
        effect=effect,
        outside=preset.outside if preset is not None and known is not None else True,
        parallel=effect == "read" and preset is not None and known is not None and preset.parallel,
        words=known.words if known is not None else (),
    )


def _readable(schema: object, *, names: bool = False) -> object:
    """A schema whose descriptions have no invisible characters; names and values stay."""
    if isinstance(schema, Mapping):
        return {
            key: harmless(value)
            if not names and key in ("description", "title") and isinstance(value, str)
            else _readable(value, names=not names and key in ("properties", "$defs"))
            for key, value in as_object(schema).items()
        }
    if isinstance(schema, list):
        return [_readable(item) for item in cast("list[object]", schema)]
    return schema

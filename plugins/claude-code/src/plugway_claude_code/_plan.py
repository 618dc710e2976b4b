"""Builds a plan from what was found: the order of models, and the configuration."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from plugway_claude_code._detect import (
    GIB,
    KEYS,
    Findings,
    Model,
    Source,
    installed_plugins,
    usable,
)

_STACK = (
    "dashboard",
    "auto-mode",
    "gemini-api",
    "openai-api",
    "mcp",
    "local-answers",
    "switch",
    "recommend",
    "thinking",
    "resilience",
    "error-normalizer",
    "server-tools",
    "tool-repair",
    "context-guard",
    "field-policy",
)
_CODERS = ("coder", "devstral", "codestral", "gpt-oss", "glm", "qwen3")
_MODELS_A_SOURCE = 3
_USUAL_WINDOW = 65_536
DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate for the main model."""

    source: Source
    instance: str
    model: Model
    why: str

    @property
    def target(self) -> str:
        """`instance/model`, as in the router's `models`."""
        return f"{self.instance}/{self.model.name}"

    @property
    def paid(self) -> bool:
        """Whether prompts leave this machine and cost money."""
        return self.source.address in KEYS


def candidates(found: Findings, *, allow_keys: bool) -> list[Candidate]:
    """The models to test, best first: running servers, files, keys, the demonstration model.

    Models known to lack tools are omitted, because they would fail the first test.
    """
    ranked: list[Candidate] = []
    room = found.machine.for_models
    for source in usable([*found.servers, *([found.files] if found.files else [])]):
        instance = "local" if source.plugin == "llama-cpp" else source.instance or source.plugin
        order = sorted(source.models, key=lambda model: _rank(model, room), reverse=True)
        fitting = [
            model
            for model in order
            if not model.toolless and (not model.bytes or model.bytes < room)
        ]
        ranked += [
            Candidate(source, instance, model, _why(source, model))
            for model in fitting[:_MODELS_A_SOURCE]
        ]
    for source in found.keys if allow_keys else ():
        reason = f"{source.address} is set; prompts go to {source.title}"
        instance = source.instance or source.plugin
        ranked += [Candidate(source, instance, model, reason) for model in source.models]
    if "llama-cpp" in installed_plugins():
        demo = Source("llama-cpp", "comes with Plugway", "", (Model(DEMO),))
        why = "nothing else was found; it only shows that everything works"
        ranked.append(Candidate(demo, "local", Model(DEMO), why))
    return ranked


def _rank(model: Model, room: int) -> tuple[bool, bool, int]:
    """Prefer loaded models, then those for code, then the largest that fits."""
    coder = any(word in model.name.lower() for word in _CODERS)
    return (model.loaded, coder, model.bytes if model.bytes < room else -model.bytes)


def _why(source: Source, model: Model) -> str:
    if source.plugin == "llama-cpp":
        return f"a file of {model.bytes / GIB:.1f} GiB that fits into memory"
    state = "loaded in" if model.loaded else "there in"
    return f"{state} {source.title} at {source.address}"


def config_text(chosen: Candidate, all_of: Sequence[Candidate]) -> str:
    """A configuration with the chosen model first, and all other local backends."""
    installed = installed_plugins()
    lines = [
        "# Written by `plugway claude` from what it found on this machine. Edit it freely:",
        "# `plugway check` finds mistakes, `plugway config example` explains the options.",
        "plugins:",
        *(f"  - use: {name}" for name in _STACK if name in installed),
        "  - use: router",
        "    options:",
        "      models:",
        f'        "*": [{json.dumps(chosen.target)}]',
    ]
    entries = {chosen.instance: chosen}
    for other in all_of:
        if not other.paid and other.model.name != DEMO:
            entries.setdefault(other.instance, other)
    for instance, candidate in entries.items():
        lines += _entry(instance, candidate)
    return "\n".join(lines) + "\n"


def _entry(instance: str, candidate: Candidate) -> list[str]:
    source = candidate.source
    options: dict[str, object] = dict(source.options)
    if source.plugin == "llama-cpp":
        options["model"] = candidate.model.name
    if source.plugin == "ollama":
        options["context_tokens"] = _USUAL_WINDOW
    named = [] if instance == source.plugin else [f"    name: {instance}"]
    written = [f"    options: {json.dumps(options)}"] if options else []
    return [f"  - use: {source.plugin}", *named, *written]


def found_table(found: Findings) -> Table:
    """A table of what was found."""
    table = Table("found", "where", "models", box=None, padding=(0, 2), title_justify="left")
    installed = installed_plugins()
    for source in found.servers:
        note = "" if source.plugin in installed else f" (no plugin for it: {source.plugin})"
        table.add_row(source.title, source.address, _names(source.models) + note)
    if found.files:
        table.add_row(found.files.title, found.files.address, _names(found.files.models))
    for source in found.keys:
        table.add_row(f"key of {source.title}", source.address, "")
    machine = found.machine
    table.add_row(
        "memory", f"{machine.ram / GIB:.0f} GiB", f"{machine.ram_free / GIB:.0f} GiB free"
    )
    if machine.vram:
        table.add_row("graphics memory", f"{machine.vram / GIB:.0f} GiB", machine.gpu)
    return table


def plan_table(found: Findings, ranked: Sequence[Candidate], path: Path) -> Table:
    """A table of the plan: what serves, what is omitted, and what happens to the configuration."""
    first = ranked[0]
    size = f"{first.model.bytes / GIB:.1f} GiB" if first.model.bytes else "-"
    window = f"{first.model.window:,} tokens" if first.model.window else "known after the test"
    table = Table("plan", "", box=None, padding=(0, 2), show_header=False)
    table.add_row("model", first.target)
    table.add_row("because", first.why)
    table.add_row("size, window", f"{size}, {window}")
    if len(ranked) > 1:
        table.add_row("if it fails", ", ".join(item.target for item in ranked[1:4]))
    toolless = [model for source in found.servers for model in source.models if model.toolless]
    if toolless:
        table.add_row("left out", f"{_names(toolless)}: an agent needs a model that calls tools")
    kept = "none is needed" if first.model.name == DEMO else str(path)
    table.add_row("configuration", kept)
    return table


def _names(models: Sequence[Model]) -> str:
    names = [f"{model.name} (no tools)" if model.toolless else model.name for model in models[:4]]
    shown = ", ".join(names)
    return f"{shown} and {len(models) - 4} more" if len(models) > 4 else shown

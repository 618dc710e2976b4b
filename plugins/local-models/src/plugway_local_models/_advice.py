"""Which models of the catalogue fit a machine, which of them to prefer, and why.

It computes only: `_machine` measures, `_here` looks for models that are here already.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from plugway_local_models._catalog import Catalog, CatalogModel, ModelFiles, catalog
from plugway_local_models._machine import Machine, Place
from plugway_local_models.measured import MeasuredSpeed
from plugway_local_models.sizing import CLAUDE_CODE_FLOOR, Need, need

Purpose = Literal["claude-code", "chat"]


@dataclass(frozen=True, slots=True)
class Contexts:
    """Sizes of the context for a purpose, in tokens."""

    least: int
    good: int
    """What a better quantisation is chosen beside."""
    most: int
    """More is not asked for, even if it fits."""


CONTEXTS: Final[Mapping[Purpose, Contexts]] = {
    "claude-code": Contexts(32_768, 65_536, 131_072),
    "chat": Contexts(8_192, 16_384, 32_768),
}
"""Claude Code's first request takes about 20,000 tokens, so that 32K leave room for one small task
(`docs/configuration.md`)."""
_QUICK_BILLIONS: Final = 10.0
"""Active parameters, in billions, up to which a model is quick enough everywhere: more take
seconds per word on a machine without much memory bandwidth."""
_SLOW_RATE: Final = 5.0
"""Tokens a second below which a model is too slow to work with, where `plugway bench` measured."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that a program on this machine has."""

    owner: str
    """`llama-cpp`, `ollama` or `lmstudio`."""
    name: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that fits, in the form that is advised."""

    model: CatalogModel
    files: ModelFiles
    context: int
    need: Need
    place: Place
    here: tuple[Installed, ...] = ()
    """Programs that have the model already, in any quantisation."""
    measured: MeasuredSpeed | None = None
    """What `plugway bench` measured here."""

    @property
    def is_slow(self) -> bool:
        """Whether it fits, but is too slow here to work with: as measured, else as estimated."""
        if self.measured is not None:
            return self.measured.tokens_per_second < _SLOW_RATE
        return not self.place.quick and self.model.active > _QUICK_BILLIONS

    @property
    def backend(self) -> str:
        """The plugin to run it with: one that has it, or one that uses this memory without further
        steps. The `llama-cpp-python` of the package index computes on the processor or on Metal."""
        if self.here:
            return self.here[0].owner
        return "ollama" if self.place.kind == "gpu" else "llama-cpp"

    @property
    def command(self) -> str:
        """The command that gets it; empty if it is here."""
        if self.here:
            return ""
        return self.commands[self.backend]

    @property
    def commands(self) -> Mapping[str, str]:
        """The command that gets it, by backend."""
        name = f"{self.model.repo}:{self.files.quant}"
        return {
            "llama-cpp": f"plugway models pull {name}",
            "ollama": f"ollama pull hf.co/{name}",
        }

    @property
    def setting(self) -> str:
        """Where the size of the context is set for its backend."""
        return {
            "llama-cpp": f"options: {{context: {self.context}}}",
            "ollama": f"OLLAMA_CONTEXT_LENGTH={self.context}",
        }.get(self.backend, "")

    @property
    def tags(self) -> tuple[str, ...]:
        """What is wrong with it, in a few words."""
        return tuple(tag for tag, _ in self._warnings())

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know before the download."""
        return tuple(note for _, note in self._warnings())

    def _warnings(self) -> Iterator[tuple[str, str]]:
        if self.files.is_low:
            yield "low quality", "fewer than four bits per weight: replies are noticeably worse"
        if self.measured is not None:
            if self.is_slow:
                yield "slow", f"slow here: {self.measured.tokens_per_second:.2g} tokens a second"
        elif self.is_slow:
            billions = f"{self.model.active:g} billion"
            yield "slow", f"slow here: {billions} parameters work on each token"
        if self.measured is None and self.place.kind == "cpu" and self.context >= CLAUDE_CODE_FLOOR:
            note = "without a graphics card, a prompt of 20,000 tokens can take minutes"
            yield "on the processor", note

    def sentence(self) -> str:
        """The sum that shows why it fits."""
        return self.need.sentence(self.place.free)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready data; sizes in bytes."""
        return {
            "model": self.model.key,
            "title": self.model.title,
            "quantization": self.files.quant,
            "context": self.context,
            "backend": self.backend,
            "memory": self.place.kind,
            "weights_bytes": self.need.weights,
            "cache_bytes": self.need.cache,
            "needs_bytes": self.need.total,
            "free_bytes": self.place.free,
            "sum": self.sentence(),
            "slow_here": self.is_slow,
            "notes": list(self.notes),
            "measured": self.measured and self.measured.as_json(),
            "here": [{"owner": item.owner, "name": item.name} for item in self.here],
            "command": self.command,
            "setting": self.setting,
            "commands": dict(self.commands),
            "sources": list(self.model.sources),
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """What fits a machine."""

    machine: Machine
    purpose: Purpose
    choices: tuple[Choice, ...]
    """One for each model that fits, the best first; those that are slow here last."""
    smallest: Choice | None
    """The model for this purpose that needs the least memory, if none is advised."""
    runs: Choice | None
    """The best that runs here for small chats, if none is advised."""
    checked: str
    """Date of the catalogue."""

    @property
    def best(self) -> Choice | None:
        """The advised one; None if nothing is useful here."""
        return next((choice for choice in self.choices if not choice.is_slow), None)

    def as_json(self) -> dict[str, Any]:
        """JSON-ready data."""
        machine = self.machine
        return {
            "machine": {
                "memory_bytes": machine.total,
                "free_bytes": machine.free,
                "cores": machine.cores,
                "chip": machine.chip,
                "metal_bytes": machine.metal,
                "cards": [
                    {"name": card.name, "memory_bytes": card.total, "free_bytes": card.free}
                    for card in machine.cards
                ],
            },
            "for": self.purpose,
            "recommended": self.best.as_json() if self.best else None,
            "fits": [choice.as_json() for choice in self.choices],
            "smallest": self.smallest.as_json() if self.smallest else None,
            "runs": self.runs.as_json() if self.runs else None,
            "catalogue": self.checked,
        }


def advise(
    machine: Machine,
    purpose: Purpose = "claude-code",
    *,
    context: int | None = None,
    installed: Sequence[Installed] = (),
    measured: Sequence[MeasuredSpeed] = (),
    known: Catalog | None = None,
) -> Advice:
    """Advice for a machine. With `context`, models have exactly that many tokens."""
    known = known or catalog()
    choices = _choices(machine, purpose, context, known, installed, measured)
    smallest = runs = None
    if not any(not choice.is_slow for choice in choices):
        smallest = _smallest(machine, purpose, context, known, installed)
        chats = _choices(machine, "chat", None, known, installed, measured)
        runs = next((choice for choice in chats if not choice.is_slow), None)
    return Advice(machine, purpose, tuple(choices), smallest, runs, known.checked)


def _choices(
    machine: Machine,
    purpose: Purpose,
    context: int | None,
    known: Catalog,
    installed: Sequence[Installed],
    measured: Sequence[MeasuredSpeed],
) -> list[Choice]:
    found: list[Choice] = []
    for model in _suitable(known, purpose):
        here = tuple(item for item in installed if model.is_named(item.name))
        fitting = (_fitting(model, place, purpose, context, here) for place in machine.places)
        if choice := next((choice for choice in fitting if choice is not None), None):
            speed = next((one for one in measured if model.is_named(one.model)), None)
            found.append(replace(choice, measured=speed))
    places = machine.places
    return sorted(
        found, key=lambda each: (each.is_slow, places.index(each.place), each.files.is_low)
    )


def _suitable(known: Catalog, purpose: Purpose) -> Iterator[CatalogModel]:
    return (model for model in known.models if model.agents or purpose == "chat")


def _fitting(
    model: CatalogModel,
    place: Place,
    purpose: Purpose,
    context: int | None,
    here: tuple[Installed, ...],
) -> Choice | None:
    """The best form of a model in a place: the largest file beside a good context, or beside the
    least one; fewer than four bits only if nothing else fits; then as much context as fits."""
    limits = CONTEXTS[purpose]
    wanted = [context] if context else [limits.good, limits.least]
    fine = [entry for entry in reversed(model.files) if not entry.is_low]
    low = [entry for entry in reversed(model.files) if entry.is_low]
    for group in (fine, low):
        for tokens in (size for size in wanted if size <= model.context):
            for entry in group:
                found = Choice(
                    model, entry, tokens, need(model.shape, entry.size, tokens), place, here
                )
                if found.need.fits(place.free):
                    return found if context else _longer(found, min(limits.most, model.context))
    return None


def _longer(choice: Choice, most: int) -> Choice:
    """With twice the context, as often as it fits."""
    tokens = choice.context * 2
    more = need(choice.model.shape, choice.files.size, tokens)
    if tokens > most or not more.fits(choice.place.free):
        return choice
    longer = Choice(choice.model, choice.files, tokens, more, choice.place, choice.here)
    return _longer(longer, most)


def _smallest(
    machine: Machine,
    purpose: Purpose,
    context: int | None,
    known: Catalog,
    installed: Sequence[Installed],
) -> Choice | None:
    """The suitable model that needs the least memory, where most of it is free."""
    place = max(machine.places, key=lambda place: place.free)
    tokens = context or CONTEXTS[purpose].least
    found = [
        Choice(
            model,
            entry,
            tokens,
            need(model.shape, entry.size, tokens),
            place,
            tuple(item for item in installed if model.is_named(item.name)),
        )
        for model in _suitable(known, purpose)
        for entry in model.files
        if tokens <= model.context and not entry.is_low
    ]
    return min(found, key=lambda choice: choice.need.total, default=None)

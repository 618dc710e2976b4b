"""What this machine offers to a model: memory, processors, graphics cards.

Reads files and runs the vendors' own tools, each for a short time; sends nothing anywhere.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

from plugway import as_object
from plugway_local_models.memory import read_memory
from plugway_local_models.sizing import GIB, MIB, gib

_SECONDS: Final = 4.0
SYSTEM: Final = 4 * GIB
"""Memory that is assumed to be used by the system and other programs, for a machine that is only
described."""
_CARD_SHARE: Final = 0.95
"""Share of a graphics card's memory that is assumed to be free, for a card that is only
described: the display and the driver take the rest."""
_LARGE_MAC: Final = 48 * GIB
_QUICK_CHIPS: Final = re.compile(r"^Apple M\d+ (Max|Ultra)\b")


@dataclass(frozen=True, slots=True)
class Card:
    """A graphics card with its own memory, in bytes."""

    name: str
    total: int
    free: int


@dataclass(frozen=True, slots=True)
class Place:
    """Memory that a model can be loaded into."""

    kind: str
    """`gpu`, `metal` or `cpu`."""
    free: int
    """Bytes."""
    quick: bool
    """Whether a model of more than 10 billion active parameters is quick enough to work with."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, measured or described; sizes in bytes."""

    total: int
    """Main memory, or less within a container."""
    free: int
    cores: int = 0
    """Physical cores that this process may use; 0 if unknown."""
    chip: str = ""
    metal: int = 0
    """What Metal may use of the memory; 0 on other machines."""
    cards: tuple[Card, ...] = field(default=())

    @property
    def places(self) -> tuple[Place, ...]:
        """Where a model can be loaded, the quickest place first."""
        if self.metal:
            quick = _QUICK_CHIPS.search(self.chip) is not None
            return (Place("metal", min(self.free, self.metal), quick),)
        found = [Place("gpu", card.free, True) for card in self.cards]
        found.sort(key=lambda place: place.free, reverse=True)
        return (*found[:1], Place("cpu", self.free, False))

    def sentence(self) -> str:
        """The machine in one line."""
        parts = [self.chip] if self.chip else []
        parts.append(f"{gib(self.total)} GiB of memory, {gib(self.free)} free")
        parts += [f"{self.cores} cores"] if self.cores else []
        if self.metal:
            parts.append(f"Metal may use {gib(self.metal)} GiB")
        parts += [
            f"{card.name} with {gib(card.total)} GiB, {gib(card.free)} free" for card in self.cards
        ]
        if not self.metal and not self.cards:
            parts.append("no graphics card that models can use")
        return "; ".join(parts)


class Probe:
    """How the machine is asked; tests replace it."""

    system = platform.system()
    architecture = platform.machine()
    root = Path("/")

    def memory(self) -> tuple[int, int]:
        """Total and available bytes, within a container's limit."""
        memory = read_memory(self.root)
        return memory.total, memory.available

    def cores(self) -> int:
        """Physical cores that this process may use."""
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
        physical = psutil.cpu_count(logical=False) or 0
        return min(usable or physical, physical or usable or 0)

    def run(self, words: Sequence[str]) -> str:
        """What a command prints; empty if it is missing, fails or takes too long."""
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                words,
                capture_output=True,
                stdin=subprocess.DEVNULL,
                timeout=_SECONDS,
                check=True,
            )
            return done.stdout.decode("utf-8", "replace")
        return ""

    def text(self, path: str) -> str:
        """A file; empty if it cannot be read."""
        with suppress(OSError):
            return (self.root / path).read_text("utf-8", "replace")
        return ""


def read_machine(probe: Probe | None = None) -> Machine:
    """Measure this machine; takes up to some seconds where a vendor's tool is slow."""
    probe = probe or Probe()
    total, free = probe.memory()
    if probe.system == "Darwin":
        chip = probe.run(["sysctl", "-n", "machdep.cpu.brand_string"]).strip()
        metal = _metal(total, probe) if probe.architecture == "arm64" else 0
        return Machine(total, free, probe.cores(), chip, metal)
    cards = _nvidia(probe) or _amd(probe)
    return Machine(total, free, probe.cores(), _processor(probe), 0, tuple(cards))


def described_machine(memory: int, *, card: int = 0, chip: str = "") -> Machine:
    """A machine that the user describes: bytes of memory, bytes of the graphics card's memory, and
    a chip such as `Apple M4 Pro`. A part of the memory counts as used."""
    free = max(0, memory - SYSTEM)
    if chip.startswith("Apple"):
        return Machine(memory, free, chip=chip, metal=metal_share(memory))
    cards = (Card("graphics card", card, int(card * _CARD_SHARE)),) if card else ()
    return Machine(memory, free, chip=chip, cards=cards)


def metal_share(memory: int) -> int:
    """Bytes that Metal recommends to use at most (`recommendedMaxWorkingSetSize`).

    As users report it with these machines: two thirds of 16 and 32 GB (abetlen/llama-cpp-python
    issue 687, ollama issue 434), three quarters of 64 GB (llama.cpp issue 1870), more of 128 GB
    (antirez/ds4 issue 893). Sizes between these count as the smaller share.
    """
    return memory * 3 // 4 if memory >= _LARGE_MAC else memory * 2 // 3


def _metal(memory: int, probe: Probe) -> int:
    """The limit that the user set (`iogpu.wired_limit_mb`, 0 for the default), or the usual one."""
    text = probe.run(["sysctl", "-n", "iogpu.wired_limit_mb"]).strip()
    limit = int(text) * MIB if text.isdecimal() else 0
    return min(memory, limit or metal_share(memory))


def _processor(probe: Probe) -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", probe.text("proc/cpuinfo"), re.MULTILINE)
    return found[1].strip() if found else ""


def _nvidia(probe: Probe) -> list[Card]:
    """Cards that `nvidia-smi` reports, in MiB; one that shares the main memory reports none."""
    query = "--query-gpu=name,memory.total,memory.free"
    found: list[Card] = []
    for line in probe.run(["nvidia-smi", query, "--format=csv,noheader,nounits"]).splitlines():
        name, _, rest = line.rpartition(",")
        name, _, total = name.rpartition(",")
        if total.strip().isdecimal() and rest.strip().isdecimal():
            found.append(Card(name.strip(), int(total) * MIB, int(rest) * MIB))
    return found


def _amd(probe: Probe) -> list[Card]:
    """Cards that `rocm-smi` reports, in bytes."""
    text = probe.run(["rocm-smi", "--showproductname", "--showmeminfo", "vram", "--json"])
    try:
        document = as_object(json.loads(text)) if text else {}
    except ValueError:
        return []
    found: list[Card] = []
    for item in map(as_object, document.values()):
        total = str(item.get("VRAM Total Memory (B)", ""))
        used = str(item.get("VRAM Total Used Memory (B)", ""))
        if total.isdecimal() and used.isdecimal():
            name = str(item.get("Card Series") or item.get("Card series") or "AMD graphics card")
            found.append(Card(name, int(total), max(0, int(total) - int(used))))
    return found

"""The machine and the versions that a result states."""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from plugway_bench._result import MachineFacts
from plugway_local_models.fitting import read_machine

_ENGINES: Final = ("llama-cpp-python", "mlx-lm")


def machine_facts() -> MachineFacts:
    """This machine, now."""
    try:
        machine = read_machine()
        text, cores, memory = machine.sentence(), machine.cores, machine.total
    except OSError as error:
        text, cores, memory = f"unknown: {error}", os.cpu_count() or 0, 0
    load = None
    if hasattr(os, "getloadavg"):
        with suppress(OSError):
            load = round(os.getloadavg()[0], 2)
    return MachineFacts(
        text=text,
        cores=cores,
        memory_bytes=memory,
        system=platform.platform(),
        python=platform.python_version(),
        load=load,
    )


def versions() -> dict[str, str]:
    """Of Plugway and of the engines that run within it. Other servers do not state theirs."""
    found: dict[str, str] = {}
    for name in ("plugway", *_ENGINES):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found

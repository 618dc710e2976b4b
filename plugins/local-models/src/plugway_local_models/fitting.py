"""Which models fit a machine: the measurement, the catalogue and the advice, for other packages.

Not imported with the package: it needs psutil and reads a data file.
"""

from __future__ import annotations

from plugway_local_models._advice import Advice, Choice, Installed, Purpose, advise
from plugway_local_models._here import installed_models
from plugway_local_models._machine import Card, Machine, Place, described_machine, read_machine

__all__ = [
    "Advice",
    "Card",
    "Choice",
    "Installed",
    "Machine",
    "Place",
    "Purpose",
    "advise",
    "described_machine",
    "installed_models",
    "read_machine",
]

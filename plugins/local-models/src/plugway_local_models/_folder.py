"""Where models and what is computed from them lie on this machine.

See `_kinds` for the models in the folder, and `_hub` for downloads.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs


class NoSuchModel(Exception):
    """No model has the name, or more than one; the message has the fix."""


class UnusableModel(ValueError):
    """A file is not a safe, complete model; the message has the reason."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model that can be loaded."""

    name: str
    path: Path
    """Its file, the first one if there are several, or its folder."""


def models_folder() -> Path:
    """Folder of the files that `plugway models pull` downloads."""
    return platformdirs.user_data_path("plugway") / "models"


def cache_folder() -> Path:
    """Folder of computed prompts."""
    return platformdirs.user_cache_path("plugway") / "prefixes"


def log_folder() -> Path:
    """Folder of the workers' logs."""
    return platformdirs.user_log_path("plugway")


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a file is in a folder or its subfolders, after all `..` and linked folders."""
    return path.parent.resolve().is_relative_to(folder.resolve())


def named_model(name: str, known: Sequence[ModelFile]) -> ModelFile | None:
    """The model with that name, or the only one with that last part of a name; None if there is
    none. Raises `NoSuchModel` if there are several."""
    if exact := [model for model in known if model.name == name]:
        return exact[0]
    found = [model for model in known if model.name.rpartition("/")[2] == name]
    if len(found) > 1:
        listed = " or ".join(f"`{model.name}`" for model in found[:4])
        raise NoSuchModel(f"`{name}` is ambiguous: name {listed}")
    return found[0] if found else None


def unknown_model(name: str, known: Sequence[ModelFile], folder: Path) -> NoSuchModel:
    """The error for a name that no model in the folder has."""
    return NoSuchModel(f"there is no model `{name}` in {folder}. {advice(name, known)}")


def advice(name: str, known: Sequence[ModelFile]) -> str:
    """The names that are like `name`, and the commands that list and add models."""
    close = difflib.get_close_matches(name, [model.name for model in known], 3, 0.4)
    hint = f"Did you mean {' or '.join(f'`{c}`' for c in close)}? " if close else ""
    return f"{hint}`plugway models list` lists the models, `plugway models pull ORG/REPO` adds one"

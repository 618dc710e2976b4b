"""The folder that a model's name means: the demo, a path, or a name in the models folder."""

from __future__ import annotations

import importlib
from pathlib import Path

from plugway_local_engine.demo import DEMO
from plugway_local_models import (
    ModelFile,
    NoSuchModel,
    models_folder,
    named_model,
    unknown_model,
)
from plugway_mlx._folder import CONFIG, WEIGHTS, is_gguf


def list_models(folder: Path | None = None) -> list[ModelFile]:
    """The models in the folder, by name: folders with a configuration and safetensors."""
    folder = folder or models_folder()
    configs = sorted(folder.rglob(CONFIG)) if folder.is_dir() else []
    return [
        ModelFile(path.parent.relative_to(folder).as_posix(), path.parent)
        for path in configs
        if path.parent != folder and any(path.parent.glob(WEIGHTS))
    ]


def find_model(name: str) -> ModelFile:
    """The model that `name` means. Only for names from the user of this machine; see
    `find_in_folder` for those of clients.

    Raises:
        NoSuchModel: there is none; the message has the fix.
    """
    if name == DEMO:
        return ModelFile(DEMO, _demo_path())
    known, folder = list_models(), models_folder()
    if model := named_model(name, known):
        return model
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return ModelFile(path.resolve().name, path)
        there = path.exists()
    except (OSError, RuntimeError) as error:  # such as a name that is too long
        raise NoSuchModel(f"`{name[:200]}` is no name of a model folder: {error}") from None
    if there and is_gguf(path):
        raise NoSuchModel(
            f"{path} is a GGUF file, which the plugin `llama-cpp` runs; an MLX model is a folder"
        )
    if there:
        raise NoSuchModel(f"{path} is a file; an MLX model is a folder, here {path.parent}")
    if path.is_absolute():
        raise NoSuchModel(f"the model folder {path} does not exist")
    raise unknown_model(name, known, folder)


def find_in_folder(name: str) -> ModelFile:
    """The demo, or the model of that name in the models folder; never another path.

    Raises `NoSuchModel` as `find_model` does.
    """
    if name == DEMO:
        return ModelFile(DEMO, _demo_path())
    known = list_models()
    if model := named_model(name, known):
        return model
    raise unknown_model(name, known, models_folder())


def _demo_path() -> Path:
    try:
        package = importlib.import_module("plugway_demo_model")
    except ImportError:
        raise NoSuchModel(
            "the embedded model is not installed: install `plugway-demo-model`, "
            "or set `model` to a folder with an MLX model"
        ) from None
    path = Path(package.safetensors_path())
    if not path.is_dir():
        raise NoSuchModel(f"the embedded model lacks {path}: install `plugway-demo-model`")
    return path

"""GGUF files in the models folder: their names, and the file that a name means.

See `_gguf` for the contents of a file.
"""

from __future__ import annotations

import importlib
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from plugway_llama_cpp._files import is_whole
from plugway_local_engine.demo import DEMO
from plugway_local_models import ModelFile, NoSuchModel, advice, models_folder, unknown_model

DEMO_TITLE: Final = "Plugway demo model"
"""`general.name` in its file."""
_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")


def list_models(folder: Path | None = None) -> list[ModelFile]:
    """The models in the folder, by name; the first part of a split one. Names that would be equal
    are those of the files."""
    folder = folder or models_folder()
    names: dict[Path, str] = {}
    for path in sorted(folder.rglob("*.gguf")) if folder.is_dir() else ():
        name = path.relative_to(folder).with_suffix("").as_posix()
        shard = _SHARD.search(path.stem)
        if shard is None or is_whole(path):
            names[path] = name
        elif shard[1] == "00001":
            names[path] = _SHARD.sub("", name)
    often = Counter(names.values())
    return [
        ModelFile(name if often[name] == 1 else path.relative_to(folder).as_posix(), path)
        for path, name in names.items()
    ]


def find_model(name: str, folder: Path | None = None) -> ModelFile:
    """The model that `name` means: the demo, a path, or a name in the folder.

    Only for names from the user of this machine; see `find_in_folder` for those of clients.

    Raises:
        NoSuchModel: there is none, or more than one; the message names the files and the command.
    """
    if name == DEMO:
        return ModelFile(DEMO, _demo_path())
    try:
        path = Path(name).expanduser()
        if path.is_file():
            return ModelFile(path.stem, path)
    except (OSError, RuntimeError) as error:  # such as a name that is too long
        raise NoSuchModel(f"`{name[:200]}` is no name of a model file: {error}") from None
    known = list_models(folder)
    if model := _named(name, known, folder or models_folder()):
        return model
    if path.is_dir():
        raise NoSuchModel(f"{path} is a folder, not a model file. {_inside(path, known)}")
    if path.exists():
        raise NoSuchModel(f"{path} is not a regular file, so it is not a model")
    if path.suffix == ".gguf" and len(path.parts) > 1:
        raise NoSuchModel(f"the model file {path} does not exist. {advice(name, known)}")
    raise unknown_model(name, known, folder or models_folder())


def find_in_folder(name: str) -> ModelFile:
    """The demo, or the model of that name in the models folder; never another path.

    Raises `NoSuchModel` as `find_model` does.
    """
    if name == DEMO:
        return ModelFile(DEMO, _demo_path())
    known, folder = list_models(), models_folder()
    if model := _named(name, known, folder):
        return model
    raise unknown_model(name, known, folder)


def _named(name: str, known: Sequence[ModelFile], folder: Path) -> ModelFile | None:
    """The model with that name, file name or file name without its end, in this order."""
    files = {model: model.path.relative_to(folder).as_posix() for model in known}
    exact = [model for model in known if name in (model.name, files[model])]
    found = exact or [
        model
        for model in known
        if name in (model.path.name, model.path.stem)
        or name in (_SHARD.sub("", model.path.stem), _SHARD.sub("", files[model][: -len(".gguf")]))
    ]
    if len(found) > 1:
        listed = " or ".join(f"`{files[model]}`" for model in found[:4])
        more = f" ({len(found) - 4} more)" if len(found) > 4 else ""
        raise NoSuchModel(f"`{name}` is ambiguous: name {listed}{more}")
    return found[0] if found else None


def _inside(folder: Path, known: Sequence[ModelFile]) -> str:
    there = [model.path.name for model in list_models(folder)]
    if there:
        more = " and others" if len(there) > 3 else ""
        return f"Name a file in it: {', '.join(f'`{name}`' for name in there[:3])}{more}"
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return "It is a model in safetensors, which the plugin `mlx` runs; this engine needs GGUF"
    return f"It contains no GGUF file. {advice(folder.name, known)}"


def _demo_path() -> Path:
    try:
        package = importlib.import_module("plugway_demo_model")
    except ImportError:
        raise NoSuchModel(
            "the embedded model is not installed: install `plugway-demo-model`, "
            "or set `model` to a GGUF file"
        ) from None
    path: Path = Path(package.model_path())
    if not path.is_file():
        raise NoSuchModel(f"the embedded model lacks {path}: install `plugway-demo-model`")
    return path

"""MLX as a kind of models, for `plugway models`: its folders here and on a hub, and their sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final

from plugway_local_engine.demo import DEMO
from plugway_local_models import (
    ModelFacts,
    ModelFile,
    NoSuchModel,
    PullFailed,
    RemoteFile,
    UnusableModel,
)
from plugway_mlx._folder import CONFIG, WEIGHTS, read_model
from plugway_mlx._installed import missing_engine
from plugway_mlx._names import find_model, list_models
from plugway_mlx._options import MlxOptions
from plugway_mlx._plan import plan
from plugway_mlx._weights import read_weights

_BESIDE: Final = (
    *("*.json", "*.jinja", "tokenizer.model", "tiktoken.model", "merges.txt", "vocab.txt"),
    *("*.tiktoken",),
)
"""The files of a model beside its weights. Programs (`*.py`) are never among them."""


class MlxFolder:
    """Folders with MLX models (a `ModelKind`)."""

    title = "MLX"

    def models(self) -> list[ModelFile]:
        """Those of the models folder. The demo model is listed as GGUF already."""
        return list_models()

    def find(self, name: str) -> ModelFile:
        """A path, or a name in the folder; raises `NoSuchModel`."""
        model = find_model(name)
        if name != DEMO and not (model.path / CONFIG).is_file():
            raise NoSuchModel(f"{model.path} has no `{CONFIG}`, so it is not an MLX model")
        return model

    def facts(self, model: ModelFile) -> ModelFacts:
        """From the configuration."""
        size = sum(path.stat().st_size for path in self.files(model))
        try:
            found = read_model(model.path)
        except UnusableModel as error:
            return ModelFacts(size, about=f"cannot be loaded: {error}")
        about = " ".join(part for part in ("MLX", found.bits) if part)
        return ModelFacts(size, found.architecture, found.trained_context, about)

    def details(self, model: ModelFile) -> Mapping[str, Any]:
        """From the configuration, with the plan for default options; raises `UnusableModel`."""
        found, options = read_model(model.path), MlxOptions()
        chosen = plan(found, context=None, batch=options.batch, slots=options.slots)
        missing = missing_engine()
        return {
            "quantization": found.bits or "none",
            "layers": found.number("num_hidden_layers"),
            "window": found.number("sliding_window"),
            "default_context": chosen.context,
            "memory": chosen.arithmetic(),
            "fits": chosen.fits,
            **({"engine": missing} if missing else {}),
        }

    def files(self, model: ModelFile) -> list[Path]:
        """All files of the folder that belong to a model; none if it is not a model."""
        if not (model.path / CONFIG).is_file():
            return []
        patterns = (WEIGHTS, *_BESIDE)
        found = {path for pattern in patterns for path in model.path.glob(pattern)}
        return sorted(path for path in found if path.is_symlink() or path.is_file())

    def choose(self, files: Sequence[RemoteFile], variant: str, repo: str) -> list[RemoteFile]:
        """The configuration, the tokenizer and the weights; a repository contains one model, so
        there are no variants."""
        top = [file for file in files if len(PurePosixPath(file.path).parts) == 1]
        weights = [f for f in top if PurePosixPath(f.path).match(WEIGHTS)]
        configs = [f for f in top if f.path == CONFIG]
        if not weights or not configs:
            return []
        if variant:
            raise PullFailed(
                f"`{repo}` contains one model, without variants: leave out `:{variant}`"
            )
        beside = [
            f
            for f in top
            if f.path != CONFIG and any(PurePosixPath(f.path).match(name) for name in _BESIDE)
        ]
        return [*configs, *beside, *weights]

    def check_file(self, path: Path, file: RemoteFile) -> None:
        """Read the header of weights; raises `UnusableModel`."""
        if file.path.endswith(".safetensors"):
            read_weights(path)

    def check_all(self, paths: Sequence[Path]) -> None:
        """Read the folder; raises `UnusableModel`."""
        read_model(paths[0].parent)


MLX: Final = MlxFolder()

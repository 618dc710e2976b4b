"""Whisper models for CTranslate2 as a kind of models, for `plugway models`."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any, Final

from plugway_local_models import (
    ModelFacts,
    ModelFile,
    PullFailed,
    RemoteFile,
    UnusableModel,
    models_folder,
    named_model,
    unknown_model,
)

WEIGHTS: Final = "model.bin"
NEEDED: Final = (WEIGHTS, "config.json", "tokenizer.json")
"""Without its own tokenizer, faster-whisper would download one."""
_BESIDE: Final = ("preprocessor_config.json", "vocabulary.txt", "vocabulary.json")
_SPEC: Final = "WhisperSpec"
_WORK_BYTES: Final = 300 << 20
"""Memory of a worker besides the weights."""
_UNKNOWN_BYTES: Final = 800 << 20


class WhisperFolder:
    """Folders with Whisper models for CTranslate2 (a `ModelKind`)."""

    title = "Whisper (CTranslate2)"

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is that of models; a worker does not know the environment of the gateway."""
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the models are."""
        return self._folder or models_folder()

    def models(self) -> list[ModelFile]:
        """Those of the models folder."""
        folder = self.folder
        found = sorted(folder.rglob(WEIGHTS)) if folder.is_dir() else []
        return [
            ModelFile(path.parent.relative_to(folder).as_posix(), path.parent)
            for path in found
            if path.parent != folder and _spec_of(path) == _SPEC
        ]

    def find(self, name: str) -> ModelFile:
        """A folder, or a name in the models folder or its last part; raises `NoSuchModel`."""
        known = self.models()
        if model := named_model(name, known):
            return model
        try:
            path = Path(name).expanduser()
            if _spec_of(path / WEIGHTS) == _SPEC:
                return ModelFile(path.resolve().name, path)
        except (OSError, RuntimeError, ValueError):  # such as a name that is too long
            pass
        raise unknown_model(name, known, self.folder)

    def facts(self, model: ModelFile) -> ModelFacts:
        """From the files."""
        size = sum(path.stat().st_size for path in self.files(model))
        try:
            check(model.path)
        except UnusableModel as error:
            return ModelFacts(size, "whisper", about=f"cannot be loaded: {error}")
        return ModelFacts(size, "whisper", about="speech to text")

    def details(self, model: ModelFile) -> Mapping[str, Any]:
        """The memory that it needs; raises `UnusableModel`."""
        check(model.path)
        missing = find_spec("faster_whisper") is None
        note = {"engine": "not installed: `pip install './plugins/speech-to-text[whisper]'`"}
        return {"memory": memory_of(model.path), **(note if missing else {})}

    def files(self, model: ModelFile) -> list[Path]:
        """The files of the model; none if it is not a model."""
        if _spec_of(model.path / WEIGHTS) != _SPEC:
            return []
        return [p for name in (*NEEDED, *_BESIDE) if (p := model.path / name).is_file()]

    def choose(self, files: Sequence[RemoteFile], variant: str, repo: str) -> list[RemoteFile]:
        """The files of the one model of a repository."""
        top = {f.path: f for f in files if len(PurePosixPath(f.path).parts) == 1}
        vocabulary = any(path.startswith("vocabulary.") for path in top)
        if not vocabulary or any(name not in top for name in NEEDED):
            return []
        if variant:
            raise PullFailed(
                f"`{repo}` contains one model, without variants: leave out `:{variant}`"
            )
        return [top[name] for name in (*NEEDED, *_BESIDE) if name in top]

    def check_file(self, path: Path, file: RemoteFile) -> None:
        """Read the header of weights; raises `UnusableModel`."""
        if PurePosixPath(file.path).name == WEIGHTS:
            _check_weights(path)

    def check_all(self, paths: Sequence[Path]) -> None:
        """Check the folder; raises `UnusableModel`."""
        check(paths[0].parent)


WHISPER: Final = WhisperFolder()


def check(folder: Path) -> None:
    """Raise `UnusableModel` if a folder is not a complete model."""
    for name in NEEDED:
        if not (folder / name).is_file():
            raise UnusableModel(f"{folder} lacks `{name}`: pull the model again")
    _check_weights(folder / WEIGHTS)
    for name in NEEDED[1:]:
        try:
            json.loads((folder / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            raise UnusableModel(f"{folder / name} is not JSON: pull the model again") from None


def memory_of(folder: Path | None) -> int:
    """Estimated bytes of memory of a worker with that model."""
    try:
        return (folder / WEIGHTS).stat().st_size + _WORK_BYTES if folder else _UNKNOWN_BYTES
    except OSError:
        return _UNKNOWN_BYTES


def _check_weights(path: Path) -> None:
    found = _spec_of(path)
    if found != _SPEC:
        what = f"a model of the kind `{found}`" if found else "no model for CTranslate2"
        raise UnusableModel(f"it is {what}, not a Whisper model for CTranslate2")


def _spec_of(path: Path) -> str:
    """The kind in the header of CTranslate2's weights, `models/model.cc` there: a version, then a
    string with its length."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
        _, length = struct.unpack_from("<IH", head)
        return head[6 : 6 + length].rstrip(b"\0").decode("ascii") if 1 < length < 58 else ""
    except (OSError, struct.error, UnicodeDecodeError):
        return ""

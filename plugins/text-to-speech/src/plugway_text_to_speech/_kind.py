"""Piper's voices as a kind of models, for `plugway models`: a network and its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from plugway import as_object
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

_ONNX: Final = ".onnx"
_JSON: Final = ".onnx.json"
_MOST_JSON: Final = 4 << 20
_ONNX_START: Final = b"\x08"
"""The first field of an ONNX file, `ir_version`; see `onnx.proto`."""


class PiperVoices:
    """Voices: `NAME.onnx` with `NAME.onnx.json` (a `ModelKind`)."""

    title = "Piper voice"

    def __init__(self, folder: Path | None = None) -> None:
        """`folder` is that of models; a worker does not know the environment of the gateway."""
        self._folder = folder

    @property
    def folder(self) -> Path:
        """Where the voices are."""
        return self._folder or models_folder()

    def models(self) -> list[ModelFile]:
        """Those of the models folder."""
        folder = self.folder
        found = sorted(folder.rglob(f"*{_JSON}")) if folder.is_dir() else []
        voices = [path.with_suffix("") for path in found]
        return [
            ModelFile(path.relative_to(folder).as_posix().removesuffix(_ONNX), path)
            for path in voices
            if path.is_file() and _is_voice(path)
        ]

    def find(self, name: str) -> ModelFile:
        """A file, or a name in the models folder or its last part; raises `NoSuchModel`."""
        known = self.models()
        if voice := named_model(name, known):
            return voice
        try:
            path = Path(name).expanduser()
            if path.suffix == _ONNX and path.is_file() and _is_voice(path):
                return ModelFile(path.stem, path)
        except (OSError, RuntimeError, ValueError):  # such as a name that is too long
            pass
        raise unknown_model(name, known, self.folder)

    def facts(self, model: ModelFile) -> ModelFacts:
        """From the configuration."""
        size = sum(path.stat().st_size for path in self.files(model))
        try:
            found = read_voice(model.path)
        except UnusableModel as error:
            return ModelFacts(size, "piper", about=f"cannot be used: {error}")
        return ModelFacts(size, "piper", about=f"voice, {language_of(found)}")

    def details(self, model: ModelFile) -> Mapping[str, Any]:
        """From the configuration; raises `UnusableModel`."""
        found = read_voice(model.path)
        return {
            "language": language_of(found),
            "sample_rate": found["audio"]["sample_rate"],
            "speakers": found.get("num_speakers") or 1,
        }

    def files(self, model: ModelFile) -> list[Path]:
        """The network and the configuration; none if it is not a voice."""
        if model.path.suffix != _ONNX:
            return []
        both = (model.path, model.path.with_name(model.path.name + ".json"))
        return [path for path in both if path.is_file()]

    def choose(self, files: Sequence[RemoteFile], variant: str, repo: str) -> list[RemoteFile]:
        """The two files of one voice; a repository may have many, and `variant` is its name."""
        by_path = {file.path: file for file in files}
        voices = {
            path.rpartition("/")[2].removesuffix(_ONNX): path
            for path in by_path
            if path.endswith(_ONNX) and f"{path}.json" in by_path
        }
        if not voices:
            return []
        name = variant or (next(iter(voices)) if len(voices) == 1 else "")
        if name not in voices:
            some = ", ".join(f"`{repo}:{voice}`" for voice in sorted(voices)[:5])
            lead = f"has no voice `{variant}`" if variant else f"has {len(voices)} voices: name one"
            raise PullFailed(f"`{repo}` {lead}, such as {some}")
        return [by_path[voices[name]], by_path[f"{voices[name]}.json"]]

    def check_file(self, path: Path, file: RemoteFile) -> None:
        """Check what the file starts with; raises `UnusableModel`."""
        with path.open("rb") as data:
            start = data.read(1)
        if file.path.endswith(_ONNX) and start != _ONNX_START:
            raise UnusableModel("it is not an ONNX file")
        if file.path.endswith(_JSON):
            _read(path)

    def check_all(self, paths: Sequence[Path]) -> None:
        """Read the configuration; raises `UnusableModel`."""
        read_voice(paths[0])


PIPER: Final = PiperVoices()


def read_voice(path: Path) -> dict[str, Any]:
    """The configuration of a voice, by the path of its network. Raises `UnusableModel`."""
    return _read(path.with_name(path.name + ".json"))


def language_of(config: Mapping[str, Any]) -> str:
    """The language of a voice, such as `en_US`; `?` if it is not stated."""
    language = as_object(config.get("language")).get("code")
    voice = as_object(config.get("espeak")).get("voice")
    return str(language or voice or "?")[:20]


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found: Any = json.loads(file.read(_MOST_JSON))
    except (OSError, ValueError, RecursionError):
        raise UnusableModel(f"{path.name} is not JSON: pull the voice again") from None
    config = dict(as_object(found))
    rate = as_object(config.get("audio")).get("sample_rate")
    if type(rate) is not int or not 4_000 <= rate <= 96_000 or "phoneme_id_map" not in config:
        raise UnusableModel(f"{path.name} is not the configuration of a Piper voice")
    return config


def _is_voice(path: Path) -> bool:
    try:
        read_voice(path)
    except UnusableModel:
        return False
    return True

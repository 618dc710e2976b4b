"""GGUF as a kind of models, for `plugway models`: its files here and on a hub, and their sizes.

See `_folder` for names, `_files` for the parts of a model, `_gguf` for the contents of a file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from plugway_llama_cpp._files import is_something_else, is_whole, parts_of, read_model
from plugway_llama_cpp._folder import DEMO, find_model, list_models
from plugway_llama_cpp._gguf import HostileFile, read_header
from plugway_llama_cpp._memory import plan
from plugway_llama_cpp._options import LlamaCppOptions
from plugway_local_models import ModelFacts, ModelFile, NoSuchModel, PullFailed, RemoteFile

_PREFERRED: Final = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q5_K_M", "Q8_0", "Q6_K", "IQ4_XS", "BF16", "F16")
_SHARD: Final = re.compile(r"-\d{5}-of-(\d{5})\.gguf$")


class Gguf:
    """GGUF files (a `ModelKind`)."""

    title = "GGUF"

    def models(self) -> list[ModelFile]:
        """The demo model if it is installed, then those of the models folder."""
        models = list_models()
        try:
            return [find_model(DEMO), *models]
        except NoSuchModel:
            return models

    def find(self, name: str) -> ModelFile:
        """The demo, a path, or a name in the folder; raises `NoSuchModel`."""
        return find_model(name)

    def facts(self, model: ModelFile) -> ModelFacts:
        """From the header."""
        files = [part for part in parts_of(model.path) if part.is_file()]
        size = sum(part.stat().st_size for part in files)
        try:
            header = read_model(model.path)
        except HostileFile as error:
            return ModelFacts(size, about=f"cannot be loaded: {error}")
        about = header.text("general.name") or header.text("general.basename")
        return ModelFacts(size, header.architecture, header.number("context_length"), about)

    def details(self, model: ModelFile) -> Mapping[str, Any]:
        """From the header, with the plan for default options; raises `HostileFile`."""
        header = read_model(model.path)
        options = LlamaCppOptions()
        chosen = plan(
            header,
            context=options.context,
            batch=options.batch,
            slots=options.slots,
            kv_type=options.kv_type,
        )
        return {
            "parameters": header.parameters,
            "layers": header.number("block_count"),
            "window": header.number("attention.sliding_window"),
            "chat_template": bool(header.text("tokenizer.chat_template")),
            "license": header.text("general.license"),
            "default_context": chosen.context,
            "memory": chosen.arithmetic(),
            "fits": chosen.fits,
        }

    def files(self, model: ModelFile) -> list[Path]:
        """All parts of a split model, except those that are models of their own."""
        files = [p for p in parts_of(model.path) if p == model.path or not is_whole(p)]
        return [p for p in files if p.is_symlink() or (p.exists() and not p.is_dir())]

    def choose(self, files: Sequence[RemoteFile], variant: str, repo: str) -> list[RemoteFile]:
        """The file of that quantization, with all its parts; by default, a common small one. A
        `variant` that starts with `mmproj` means the image projector."""
        projector = variant.lower().startswith("mmproj")
        named = [f for f in files if f.path.endswith(".gguf")]
        models = [f for f in named if ("mmproj" in f.path.lower()) == projector]
        if not models:
            return []
        for wanted in (variant,) if variant else _PREFERRED:
            pattern = re.compile(rf"(^|[^a-z0-9]){re.escape(wanted.lower())}([^a-z0-9_]|$)")
            found = [f for f in models if pattern.search(f.path.lower())]
            if found:
                return _parts(found)
        if variant:
            known = ", ".join(f"`{Path(f.path).name}`" for f in models[:20])
            raise PullFailed(f"`{repo}` has no file for `{variant}`; it has {known}")
        return _parts(models)

    def check_file(self, path: Path, file: RemoteFile) -> None:
        """Read the header; raises `HostileFile`."""
        read_header(path)

    def check_all(self, paths: Sequence[Path]) -> None:
        """Read all parts; other kinds of files, such as a projector, pass. Raises `HostileFile`."""
        if not is_something_else(paths[0]):
            read_model(paths[0])


GGUF: Final = Gguf()


def _parts(found: list[RemoteFile]) -> list[RemoteFile]:
    first = min(found, key=lambda f: (len(f.path), f.path))
    shard = _SHARD.search(first.path)
    if shard is None:
        return [first]
    stem = first.path[: shard.start()]
    return sorted(
        (f for f in found if f.path.startswith(stem) and _SHARD.search(f.path)),
        key=lambda f: f.path,
    )

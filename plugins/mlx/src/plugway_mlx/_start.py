"""The worker's entry point: load a model, create the engine, serve until told to stop."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from plugway_local_engine import LoadFailed
from plugway_local_engine.engine import (
    DiskCache,
    PrefixCache,
    Preparer,
    SlotTable,
    StateStore,
    Window,
    load_template,
)
from plugway_mlx import _mlx
from plugway_mlx._context import Context
from plugway_mlx._engine import Engine
from plugway_mlx._installed import HOW_TO_INSTALL
from plugway_mlx._job import MlxJob
from plugway_mlx._metal import Metal
from plugway_mlx._model import Model, chat_template
from plugway_mlx._settings import EngineSettings

if TYPE_CHECKING:
    from plugway_local_engine import Channel

_MIB: Final = 1 << 20
_WARM: Final = 16
_OUTPUT_ROOM: Final = 8
"""Tokens of a slot beyond the window."""
_OWN_PROGRAM: Final = (
    "it needs its own program for its configuration or tokenizer (`auto_map`), which is not run. "
    "Use a model that mlx-lm and transformers support without one"
)


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine._worker` in the child."""
    settings = EngineSettings(**config)
    began = time.monotonic()
    # The loop and the threads that read and prepare share one interpreter lock: switch often, so
    # that rendering a long prompt does not delay all other requests' tokens.
    sys.setswitchinterval(0.0005)
    # Models are folders here; nothing is looked up on a hub.
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    folder = Path(settings.path)
    model, source = _load(folder, channel)

    metal = Metal(settings.memory_share)
    if problem := metal.limit(_weights(folder)):
        raise LoadFailed(f"{folder}: {problem}")
    context = Context(model, settings.slots)
    _warm_up(context)
    slots = SlotTable.of(settings.slots, settings.context + _OUTPUT_ROOM)
    key = _key(folder, context)
    disk = DiskCache(Path(settings.disk_folder), key, settings.disk_cache_mib * _MIB)
    prefix = PrefixCache(context, slots, StateStore(settings.cache_mib * _MIB), disk)
    engine = Engine(channel, context, slots, prefix, settings, metal)
    preparer = Preparer(
        channel,
        engine.submit,
        MlxJob,
        model,
        _window(settings),
        load_template(source, settings.template, model, settings.path),
        model.grammars,
    )
    channel.send(
        {
            "op": "ready",
            "description": model.description,
            "context": settings.context,
            "cells": settings.cells,
            "window": model.window,
            "vocabulary": model.vocabulary_size,
            "metal": metal.most,
            "seconds": round(time.monotonic() - began, 3),
            **preparer.facts(),
        }
    )
    engine.run(preparer.take)


def _load(folder: Path, channel: Channel) -> tuple[Model, str | None]:
    channel.beat(lambda: {"loaded": 0})
    try:
        _mlx.load()
    except ImportError as error:
        raise LoadFailed(f"MLX cannot be imported ({error}). {HOW_TO_INSTALL}") from None
    try:
        return Model(folder), chat_template(folder)
    # mlx-lm and the tokenizers report a folder that they cannot use by exceptions of many types.
    except Exception as error:
        if "trust_remote_code" in str(error):
            raise LoadFailed(f"{folder}: {_OWN_PROGRAM}") from None
        known = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        raise LoadFailed(f"mlx-lm {version('mlx-lm')} cannot load {folder}: {known}") from None


def _window(settings: EngineSettings) -> Window:
    return Window(
        settings.context,
        settings.seed,
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
    )


def _warm_up(context: Context) -> None:
    """Compile what a prompt and a token need, so that no request has to wait for it."""
    context.read(0, np.zeros(_WARM, np.int32))
    context.start(0, 0).tolist()
    context.remove(0, 0)


def _weights(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("model*.safetensors"))


def _key(folder: Path, context: Context) -> str:
    """Identifies what a saved state depends on: the model's files, the caches, the library."""
    digest = hashlib.blake2b(digest_size=12)
    for path in [folder / "config.json", *sorted(folder.glob("model*.safetensors"))]:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{path.name} {size}".encode())
            for place in (0, size // 3, size // 2, max(0, size - _MIB)):
                file.seek(place)
                digest.update(file.read(_MIB))
    layout = (context.model.kinds, version("mlx"), version("mlx-lm"), sys.byteorder)
    digest.update(repr(layout).encode())
    return digest.hexdigest()

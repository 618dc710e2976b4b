"""The worker's entry point: load a model, create the engine, serve until asked to stop."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from plugway_llama_cpp import _binding as binding
from plugway_llama_cpp._binding import Context, ContextSettings, Model
from plugway_llama_cpp._engine import Engine
from plugway_llama_cpp._files import parts_of
from plugway_llama_cpp._job import LlamaJob
from plugway_llama_cpp._settings import EngineSettings
from plugway_llama_cpp._threads import Threads
from plugway_local_engine import GrammarTokenizer, LoadFailed
from plugway_local_engine.engine import (
    DiskCache,
    PrefixCache,
    Preparer,
    SlotTable,
    StateStore,
    Window,
    load_template,
)

if TYPE_CHECKING:
    from plugway_llama_cpp._images import Images
    from plugway_local_engine import Channel

_MIB: Final = 1 << 20
_TRIALS: Final = 16
_TEMPLATE: Final = "tokenizer.chat_template"


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine._worker` in the child."""
    settings = EngineSettings(**config)
    began = time.monotonic()
    # The loop and the threads that read and prepare share one interpreter lock: switch often, so
    # that rendering a long prompt does not delay all other requests' tokens.
    sys.setswitchinterval(0.0005)
    system = binding.start()
    model = _load(settings, channel)
    try:
        context = Context(
            model,
            ContextSettings(
                settings.cells,
                settings.batch,
                settings.slots,
                settings.threads,
                min(settings.batch, settings.slots * (1 + settings.guess_ahead)),
                settings.flash_attention,
                settings.kv_type,
            ),
        )
    except MemoryError as error:
        raise LoadFailed(
            f"llama.cpp cannot create a context of {settings.cells:,} tokens for {settings.path}: "
            f"{error}. Lower `context` or `slots`"
        ) from None
    speaking = _warm_up(context, settings.threads)
    slots = SlotTable.of(settings.slots, settings.context + 8)
    disk = DiskCache(Path(settings.disk_folder), _key(settings), settings.disk_cache_mib * _MIB)
    memory = StateStore(settings.cache_mib * _MIB)
    prefix = PrefixCache(context, slots, memory, disk)
    images = _images(settings, model, channel)
    threads = Threads(settings.threads, speaking)
    engine = Engine(channel, context, slots, prefix, threads, images, settings.guess_ahead)
    preparer = _preparer(channel, engine, model, settings, images)
    channel.send(
        {
            "op": "ready",
            "description": model.description,
            "context": settings.context,
            "cells": context.cells,
            "trained_context": model.trained_context,
            "window": model.window,
            "vocabulary": model.vocabulary_size,
            "system": system,
            "threads": [speaking, settings.threads],
            "seconds": round(time.monotonic() - began, 3),
            **preparer.facts(),
        }
    )
    engine.run(preparer.take)


def _preparer(
    channel: Channel,
    engine: Engine,
    model: Model,
    settings: EngineSettings,
    images: Images | None,
) -> Preparer[LlamaJob]:
    window = Window(
        settings.context,
        settings.seed,
        settings.temperature,
        settings.top_k,
        settings.top_p,
        settings.min_p,
    )
    return Preparer(
        channel,
        engine.submit,
        LlamaJob,
        model,
        window,
        load_template(model.meta(_TEMPLATE), settings.template, model, settings.path),
        lambda ends: GrammarTokenizer.of_llama_cpp(model.vocab, eos=ends),
        images,
    )


def _load(settings: EngineSettings, channel: Channel) -> Model:
    if not os.path.isfile(settings.path):
        raise LoadFailed(f"{settings.path} does not exist")

    def progress(done: float) -> None:
        channel.beat(lambda: {"loaded": round(done, 3)})

    try:
        return Model(settings.path, gpu_layers=settings.gpu_layers, progress=progress)
    except ValueError as error:
        raise LoadFailed(f"llama.cpp cannot load {settings.path}: {error}") from None


def _images(settings: EngineSettings, model: Model, channel: Channel) -> Images | None:
    if not settings.mmproj:
        return None
    from plugway_llama_cpp._images import Images
    from plugway_llama_cpp._mtmd import Projector

    try:
        projector = Projector(
            settings.mmproj, model, threads=settings.threads, batch=settings.batch
        )
    except ValueError as error:
        raise LoadFailed(
            f"llama.cpp cannot use {settings.mmproj} as the `mmproj` of this model: {error}"
        ) from None
    return Images(projector, settings.batch, channel.wake)


def _warm_up(context: Context, threads: int) -> int:
    """Set up buffers and threads with a first decode, so that no request has to wait for it.

    Returns the number of threads that decodes a token fastest: for a small model, waiting for each
    other after every operation can take longer than a second thread saves.
    """
    context.tokens[:_TRIALS] = max(context.model.special("bos"), 0)
    context.positions[:_TRIALS] = np.arange(_TRIALS)
    context.sequences[:_TRIALS] = 0
    context.outputs[:_TRIALS] = 0
    context.decode(_TRIALS)
    context.outputs[0] = 1
    seconds: dict[int, float] = {}
    for count in {1, threads}:
        context.set_threads(count)
        runs = [_one(context) for _ in range(_TRIALS)]
        seconds[count] = sorted(runs)[len(runs) // 2]
    context.look_at_layers(0, context.last_position(0) + 1)
    context.remove(0, 0)
    return min(seconds, key=lambda count: seconds[count])


def _one(context: Context) -> float:
    context.positions[0] = context.last_position(0) + 1
    began = time.perf_counter()
    context.decode(1)
    return time.perf_counter() - began


def _key(settings: EngineSettings) -> str:
    """Identifies what a saved state depends on: the model file, the state's layout, the library."""
    digest = hashlib.blake2b(digest_size=12)
    sizes: list[int] = []
    projector = [Path(settings.mmproj)] if settings.mmproj else []
    for path in (*parts_of(Path(settings.path)), *projector):
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            sizes.append(size)
            for place in (0, size // 3, size // 2, max(0, size - _MIB)):
                file.seek(place)
                digest.update(file.read(_MIB))
    layout = (sizes, settings.kv_type, settings.flash_attention, binding.version(), sys.byteorder)
    digest.update(repr(layout).encode())
    return digest.hexdigest()

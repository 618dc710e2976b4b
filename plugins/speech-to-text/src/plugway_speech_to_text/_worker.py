"""The worker: decodes audio within limits, cuts it at pauses, and writes down what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, Protocol

from plugway_local_engine import Channel, LoadFailed
from plugway_media.worker import Piece, serve

POCKETSPHINX: Final = "pocketsphinx"


class Recognizer(Protocol):
    """An engine. `language` is what the last call found, or was asked for."""

    language: str

    def segments(self, samples: Any, ask: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """What is said in at most 30 s of samples, with times from their start. Raises
        `Refused`."""
        ...


def main(channel: Channel, config: Mapping[str, Any]) -> None:
    """Called by `plugway_local_engine` in the child."""
    model = config["model"]
    try:
        from plugway_speech_to_text._cut import Cutter
        from plugway_speech_to_text._sound import RATE, decode

        import_module("av")  # now, not with the first file
        engine, cutter = load(model, config), Cutter()
    except ImportError as error:
        extra = "pocketsphinx" if model == POCKETSPHINX else "whisper"
        raise LoadFailed(missing(extra, error.name or "")) from None

    def handle(header: Mapping[str, Any], body: bytes) -> Iterator[Piece]:
        samples = decode(body, config["max_seconds"])
        ask, number = dict(header), 0
        yield {"duration": len(samples) / RATE}, b""
        for start, stop in cutter.windows(samples):
            for segment in engine.segments(samples[start:stop], ask):
                yield {"segment": _moved(segment, start / RATE, number)}, b""
                number += 1
            ask["language"] = engine.language
            yield {"done": stop / RATE}, b""
        yield {"language": ask.get("language") or ""}, b""

    serve(channel, handle)


def load(model: str, config: Mapping[str, Any]) -> Recognizer:
    """Load an engine.

    Raises:
        ImportError: it is not installed.
        LoadFailed: there is no such model, or it cannot be loaded.
    """
    if model == POCKETSPHINX:
        from plugway_speech_to_text._pocketsphinx import Pocketsphinx

        return Pocketsphinx()
    from plugway_local_models import NoSuchModel, UnusableModel
    from plugway_speech_to_text._kind import WhisperFolder, check
    from plugway_speech_to_text._whisper import Whisper

    try:
        path = WhisperFolder(Path(config["folder"])).find(model).path
        check(path)
        return Whisper(path, config["device"], config["threads"])
    except (NoSuchModel, UnusableModel) as error:
        raise LoadFailed(str(error)) from None
    except (RuntimeError, ValueError, OSError) as error:
        raise LoadFailed(f"`{model}` cannot be loaded: {error}") from None


def missing(extra: str, module: str) -> str:
    """What to install if `module` is missing."""
    return f"`{module}` is not installed: run `pip install './plugins/speech-to-text[{extra}]'`"


def _moved(segment: dict[str, Any], by: float, number: int) -> dict[str, Any]:
    def times(value: Mapping[str, Any]) -> dict[str, float]:
        return {key: round(value[key] + by, 3) for key in ("start", "end")}

    words = [{**word, **times(word)} for word in segment["words"]]
    return {**segment, **times(segment), "words": words, "id": number}

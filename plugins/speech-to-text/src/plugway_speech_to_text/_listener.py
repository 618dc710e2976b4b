"""Sends audio to the engine of a model, and collects what it hears."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from plugway import RequestRejected
from plugway_media.checks import check_audio
from plugway_media.engine import Engine
from plugway_speech_to_text._ask import Ask
from plugway_speech_to_text._texts import Heard, clean

_OF_OPENAI: Final = ("whisper-1", "gpt-transcribe", "gpt-4o-transcribe", "gpt-4o-mini-transcribe")
"""What clients send whose model cannot be configured; means the default."""

Hear = Callable[[dict[str, Any]], Awaitable[None]]
Seconds = Callable[[float, float], object]
"""Called with the seconds that are done, and all."""


class Listener:
    """The engines of the models."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines

    def engine(self, model: str) -> Engine:
        """The engine of a model, by its name or the last part of it. Raises `RequestRejected`."""
        default = self._engines[0]
        if not model or model.startswith(_OF_OPENAI):
            return default
        for engine in self._engines:
            if model in (engine.spec.model, engine.spec.model.rpartition("/")[2]):
                return engine
        names = ", ".join(f"`{engine.spec.model}`" for engine in self._engines)
        message = (
            f"model: unknown model {model[:200]!r}; here: {names}, or `whisper-1` for the first"
        )
        raise RequestRejected(message, status=404, type="not_found_error", retry=False, record=True)

    async def hear(
        self, data: bytes, ask: Ask, on_segment: Hear | None = None, seconds: Seconds | None = None
    ) -> Heard:
        """What is said in an audio file. Raises `RequestRejected`."""
        check_audio(data)
        engine = self.engine(ask.model)
        segments: list[Mapping[str, Any]] = []
        duration, language = 0.0, ""
        async with engine.call(ask.header(), data) as pieces:
            async for piece in pieces:
                match dict(piece.header):
                    case {"segment": found}:
                        segments.append(segment := clean(found))
                        if on_segment is not None:
                            await on_segment(segment)
                    case {"done": done} if seconds is not None:
                        seconds(done, duration)
                    case {"duration": duration}:
                        pass
                    case {"language": language}:
                        pass
                    case _:
                        pass
        return Heard(duration, language, segments)

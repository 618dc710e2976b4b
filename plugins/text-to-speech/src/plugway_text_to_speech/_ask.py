"""What a request asks for, in OpenAI's fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, cast, get_args

from plugway import RequestRejected, as_object
from plugway_wire.errors import InvalidRequest

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
_ENGINES: Final = ("piper", "espeak-ng")
_OF_OPENAI: Final = ("tts-", "gpt-")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    text: str
    voice: str = ""
    engine: str = ""
    """`piper` or `espeak-ng`, if the client wants that one."""
    format: Format = "mp3"
    speed: float = 1.0
    events: bool = False
    """Whether the sound is sent in events."""

    def header(self) -> dict[str, Any]:
        """What the worker needs of it besides the text."""
        return {
            "voice": self.voice,
            "engine": self.engine,
            "format": self.format,
            "speed": self.speed,
        }


def read_ask(fields: Mapping[str, Any], most: int) -> Ask:
    """The fields of a JSON body. Raises `RequestRejected`."""
    text = _text(fields, "input")
    if not text.strip():
        _refuse("input", "the text to speak is required")
    if len(text) > most:
        _refuse("input", f"has {len(text):,} characters; at most {most:,} are accepted")
    voice = fields.get("voice")
    named = _text(fields, "voice") if not isinstance(voice, dict) else _id(as_object(voice))
    model = _text(fields, "model")
    if model and model not in _ENGINES and not model.startswith(_OF_OPENAI):
        message = f"model: unknown {model[:100]!r}; known: `tts-1` for any, `piper`, `espeak-ng`"
        raise RequestRejected(message, status=404, type="not_found_error", retry=False, record=True)
    shape = _text(fields, "response_format") or "mp3"
    if shape not in get_args(Format):
        _refuse("response_format", f"expected one of {', '.join(get_args(Format))}, got {shape!r}")
    stream = _text(fields, "stream_format") or "audio"
    if stream not in ("audio", "sse"):
        _refuse("stream_format", f"expected `audio` or `sse`, got {stream!r}")
    return Ask(
        clean(text),
        named,
        model if model in _ENGINES else "",
        cast("Format", shape),
        _speed(fields.get("speed")),
        stream == "sse",
    )


def clean(text: str) -> str:
    """The text without control characters, which programs would not speak but may obey."""
    kept = "".join(c if c == "\n" or c.isprintable() else " " for c in text)
    return kept.strip() + "\n"


def _speed(value: object) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.25 <= value <= 4.0:
        _refuse("speed", f"expected a number from 0.25 to 4, got {str(value)[:50]!r}")
    return float(value)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse(name, "expected text")
    return value


def _id(voice: Mapping[str, Any]) -> str:
    name = voice.get("id")
    if not isinstance(name, str):
        _refuse("voice.id", "expected text")
    return name


def _refuse(name: str, why: str) -> NoReturn:
    raise InvalidRequest(f"{name}: {why}", retry=False, record=True)

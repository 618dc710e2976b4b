"""What a client gets: OpenAI's JSON, plain text, subtitles, and the events of a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from plugway_media.streams import event
from plugway_speech_to_text._ask import Ask, Format
from plugway_speech_to_text._languages import language_name
from plugway_tools import harmless

MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
_SEGMENT: Final = (
    *("id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob"),
    *("compression_ratio", "no_speech_prob"),
)

Segment = Mapping[str, Any]
_MOST_TEXT: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Heard:
    """A whole transcription."""

    duration: float
    language: str
    """Code of ISO 639-1; empty if nothing was said."""
    segments: Sequence[Segment]

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(one["text"] for one in self.segments).strip()


def clean(segment: Segment) -> dict[str, Any]:
    """The segment without control characters: a model may write anything."""
    words = [{**word, "word": harmless(word["word"])} for word in segment["words"]]
    return {**segment, "text": harmless(segment["text"], _MOST_TEXT), "words": words}


def body(heard: Heard, ask: Ask) -> bytes:
    """The body of a reply in the format that is asked for."""
    match ask.format:
        case "text":
            return f"{heard.text}\n".encode()
        case "srt":
            return "\n".join(_cues(heard.segments, ",", numbers=True)).encode()
        case "vtt":
            return "\n".join(["WEBVTT\n", *_cues(heard.segments, ".", numbers=False)]).encode()
        case "json":
            return orjson.dumps({"text": heard.text, "usage": _usage(heard)})
        case _:
            return orjson.dumps(verbose(heard, ask))


def verbose(heard: Heard, ask: Ask) -> dict[str, Any]:
    """`verbose_json`."""
    found: dict[str, Any] = {
        "task": ask.task,
        "language": language_name("en" if ask.task == "translate" else heard.language),
        "duration": round(heard.duration, 3),
        "text": heard.text,
    }
    if ask.segments:
        found["segments"] = [{key: one[key] for key in _SEGMENT} for one in heard.segments]
    if ask.words:
        found["words"] = [word for one in heard.segments for word in one["words"]]
    return {**found, "usage": _usage(heard)}


def delta_event(text: str) -> bytes:
    """An event with text that was just heard."""
    return event({"type": "transcript.text.delta", "delta": text})


def done_event(text: str) -> bytes:
    """The last event, with all of the text."""
    return event({"type": "transcript.text.done", "text": text})


def _usage(heard: Heard) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.duration, 3)}


def _cues(segments: Iterable[Segment], point: str, *, numbers: bool) -> list[str]:
    cues: list[str] = []
    for number, one in enumerate(segments, 1):
        # A cue ends with an empty line, and `-->` in a text would start another.
        text = " ".join(one["text"].split()).replace("-->", "->")
        times = f"{_clock(one['start'], point)} --> {_clock(one['end'], point)}"
        cues.append("\n".join([*([str(number)] if numbers else []), times, text, ""]))
    return cues


def _clock(seconds: float, point: str) -> str:
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}{point}{thousandths:03}"

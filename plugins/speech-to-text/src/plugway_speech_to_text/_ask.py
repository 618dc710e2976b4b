"""What a request asks for, in OpenAI's fields, checked before an engine sees the audio."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, cast, get_args

from plugway_wire.errors import InvalidRequest

Task = Literal["transcribe", "translate"]
Format = Literal["json", "text", "srt", "vtt", "verbose_json"]

_LANGUAGE: Final = re.compile(r"[a-z]{2,3}")
_MOST_PROMPT: Final = 2_000
_NOT_HERE: Final = ("known_speaker_names", "known_speaker_references", "include")


@dataclass(frozen=True, slots=True)
class Ask:
    """One request."""

    task: Task = "transcribe"
    model: str = ""
    """As the client names it; empty for the default."""
    format: Format = "json"
    language: str = ""
    prompt: str = ""
    hotwords: str = ""
    temperature: float = 0.0
    words: bool = False
    """Whether times of words are asked for."""
    segments: bool = True
    """Whether `verbose_json` has segments."""
    stream: bool = False

    def header(self) -> dict[str, Any]:
        """What the worker needs of it."""
        return {
            "task": self.task,
            "language": self.language or None,
            "prompt": self.prompt,
            "hotwords": self.hotwords,
            "temperature": self.temperature,
            "words": self.words,
        }


def read_ask(fields: Mapping[str, Any], task: Task) -> Ask:
    """The fields of a form or a JSON body. Raises `InvalidRequest`."""
    for name in _NOT_HERE:
        if fields.get(name):
            _refuse(name, "not available with the engines of this plugin; leave it out")
    shape = _text(fields, "response_format", 20) or "json"
    if shape not in get_args(Format):
        _refuse("response_format", f"expected one of {', '.join(get_args(Format))}, got {shape!r}")
    grains = _texts(fields, "timestamp_granularities")
    for grain in grains:
        if grain not in ("word", "segment"):
            _refuse("timestamp_granularities", f"expected `word` or `segment`, got {grain!r}")
    if grains and shape != "verbose_json":
        _refuse("timestamp_granularities", "needs `response_format` `verbose_json`")
    languages = _texts(fields, "languages")
    language = _text(fields, "language", 20) or (languages[0] if len(languages) == 1 else "")
    if language and not _LANGUAGE.fullmatch(language):
        _refuse("language", f"expected a code of ISO 639-1 such as `en`, got {language!r}")
    return Ask(
        task,
        _text(fields, "model", 500),
        cast("Format", shape),
        language,
        _text(fields, "prompt", _MOST_PROMPT),
        " ".join(_texts(fields, "keywords"))[:_MOST_PROMPT],
        _number(fields),
        "word" in grains,
        not grains or "segment" in grains,
        _flag(fields),
    )


def _text(fields: Mapping[str, Any], name: str, most: int) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        _refuse(name, "expected text, once")
    if len(value) > most:
        _refuse(name, f"has {len(value):,} characters; at most {most:,} are accepted")
    return value


def _texts(fields: Mapping[str, Any], name: str) -> list[str]:
    value = fields.get(name)
    values: list[Any] = value if isinstance(value, list) else [] if value is None else [value]  # pyright: ignore[reportUnknownVariableType]
    for one in values:
        if not isinstance(one, str):
            _refuse(name, "expected a list of texts")
    return values


def _number(fields: Mapping[str, Any]) -> float:
    value = fields.get("temperature")
    if value is None:
        return 0.0
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not 0.0 <= found <= 1.0:
        _refuse("temperature", f"expected a number from 0 to 1, got {str(value)[:50]!r}")
    return found


def _flag(fields: Mapping[str, Any]) -> bool:
    value = fields.get("stream")
    text = str(value).lower()
    if value is None or text in ("false", "0"):
        return False
    if text not in ("true", "1"):
        _refuse("stream", f"expected true or false, got {text[:50]!r}")
    return True


def _refuse(name: str, why: str) -> NoReturn:
    raise InvalidRequest(f"{name}: {why}", retry=False, record=True)

"""The programs that speak, each another process: Piper and espeak-ng. Only the worker imports it.

Piper and espeak-ng are under the GPL; nothing of them is imported.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from plugway_local_models import NoSuchModel, UnusableModel
from plugway_media.worker import Refused
from plugway_text_to_speech._kind import PiperVoices, language_of, read_voice

ESPEAK: Final = "espeak-ng"
OF_OPENAI: Final = (
    *("alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer"),
    *("verse", "marin", "cedar"),
)
"""Voices that clients send which do not let the user choose; they mean the default."""
_WORDS_PER_MINUTE: Final = 175
_ESPEAK_RATE: Final = 22_050
_SECONDS: Final = 20
INSTALL: Final = (
    "no voice is installed: `sudo apt install espeak-ng` (`brew install espeak-ng` on macOS), or "
    "`pip install './plugins/text-to-speech[piper]'` and `plugway models pull "
    "rhasspy/piper-voices:en_US-lessac-medium`"
)


@dataclass(frozen=True, slots=True)
class Voice:
    """A voice that is installed."""

    id: str
    engine: Literal["piper", "espeak-ng"]
    language: str
    rate: int
    """Samples in a second."""
    path: Path | None = None

    def shown(self) -> dict[str, Any]:
        """As the list of voices has it."""
        return {
            "id": self.id,
            "engine": self.engine,
            "language": self.language,
            "sample_rate": self.rate,
        }


class Voices:
    """The voices that may be used."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._kind = PiperVoices(Path(config["folder"]))
        self._names: list[str] = config["voices"]
        self._piper = piper_command(config["piper"])
        self._espeak = shutil.which(ESPEAK)

    def known(self) -> list[Voice]:
        """All of them, the default first. Looked up each time: a voice may have been pulled."""
        if self._names:
            return [self._named(name) for name in self._names]
        found: list[Voice] = []
        if self._piper:
            found = [_piper_voice(voice.name, voice.path) for voice in self._kind.models()]
        return [*found, *self._espeak_voices()]

    def choose(self, name: str, engine: str) -> Voice:
        """The voice of a request. Raises `Refused`."""
        known = [voice for voice in self.known() if not engine or voice.engine == engine]
        if not known:
            raise Refused(f"model: no voice of `{engine}` is installed" if engine else INSTALL)
        if not name or name in OF_OPENAI:
            english = (v for v in known if v.language.lower()[:2] == "en" and not self._names)
            return next(english, known[0])
        for voice in known:
            if name in (voice.id, voice.id.rpartition("/")[2]):
                return voice
        some = ", ".join(f"`{voice.id}`" for voice in known[:5])
        raise Refused(f"voice: unknown {name[:100]!r}; see GET /v1/audio/voices, such as {some}")

    def command(self, voice: Voice, speed: float) -> list[str]:
        """The program that reads a text from its input, and writes samples; espeak-ng with the
        header of a wav file in front."""
        if voice.path is not None:
            return [
                *(*self._piper, "-m", str(voice.path), "--output-raw"),
                *("--length-scale", f"{1 / speed:.3f}", "--sentence-silence", "0.2"),
            ]
        words = round(_WORDS_PER_MINUTE * speed)
        language = voice.id.partition("/")[2]
        return [str(self._espeak), "-v", language, "-s", str(words), "-b", "1", "--stdin",
                "--stdout"]  # fmt: skip

    def can_speak(self, voice: Voice, text: bytes) -> bool:
        """Whether a voice finds sounds in a text. espeak-ng answers one without any, such as
        `...`, with silence; some signs have names that it speaks."""
        if voice.engine != ESPEAK or any(map(str.isalnum, text.decode("utf-8", "replace"))):
            return True
        command = [*self.command(voice, 1.0)[:3], "-q", "-x", "--stdin"]
        done = subprocess.run(command, input=text, capture_output=True, timeout=_SECONDS)
        return bool(done.stdout.strip())

    def _named(self, name: str) -> Voice:
        engine, _, language = name.partition("/")
        if engine == ESPEAK:
            if self._espeak is None:
                raise Refused(f"`{name}`: espeak-ng is not installed: `sudo apt install espeak-ng`")
            if name not in [voice.id for voice in self._espeak_voices()]:
                raise Refused(
                    f"`{name}`: espeak-ng has no language {language!r}: `espeak-ng --voices`"
                )
            return Voice(name, "espeak-ng", language, _ESPEAK_RATE)
        if not self._piper:
            raise Refused(
                f"`{name}`: Piper is not installed: `pip install './plugins/text-to-speech[piper]'`"
            )
        try:
            found = self._kind.find(name)
            return _piper_voice(found.name, found.path)
        except (NoSuchModel, UnusableModel) as error:
            raise Refused(str(error)) from None

    def _espeak_voices(self) -> list[Voice]:
        if self._espeak is None:
            return []
        done = subprocess.run(
            [self._espeak, "--voices"], capture_output=True, timeout=_SECONDS, check=True, text=True
        )
        languages = [line.split()[1] for line in done.stdout.splitlines()[1:] if line.strip()]
        first = sorted(dict.fromkeys(languages), key=lambda language: language != "en-us")
        return [Voice(f"{ESPEAK}/{name}", "espeak-ng", name, _ESPEAK_RATE) for name in first]


def piper_command(program: str) -> Sequence[str]:
    """How Piper is started; empty if it is not installed. `piper` on the path may be another
    program, which configures mice."""
    if program:
        return [program]
    return [sys.executable, "-m", "piper"] if find_spec("piper") else []


def _piper_voice(name: str, path: Path) -> Voice:
    config = read_voice(path)
    return Voice(name, "piper", language_of(config), config["audio"]["sample_rate"], path)

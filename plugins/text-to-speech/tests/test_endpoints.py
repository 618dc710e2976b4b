"""`/v1/audio/speech` and `/v1/audio/voices`, as OpenAI's SDK uses them, with a real worker and a
program in place of Piper."""

import asyncio
import base64
import io
import json
import os
import shutil
import wave

import anyio
import httpx2
import numpy as np
import openai
import psutil
import pytest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.skipif(os.name == "nt", reason="the program in place of Piper is a script"),
]
needs_ffmpeg = pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")


@pytest.fixture
async def both(make, serving):
    async with serving(make()) as found:
        yield found


async def ask(sdk, **more):
    body = {"model": "tts-1", "voice": "alloy", "input": "abcde", "response_format": "wav"}
    return await sdk.audio.speech.create(**{**body, **more})


async def test_the_sdk_gets_a_wav_file(both):
    found = await ask(both[1])
    assert found.response.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(found.content)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (22050, 1, 2)
    assert len(found.content) == 44 + 2 * 5 * 2205


async def test_pcm_has_24000_samples_a_second(both):
    samples = np.frombuffer((await ask(both[1], response_format="pcm")).content, "<i2")
    assert abs(len(samples) - 12_000) <= 16
    spectrum = np.abs(np.fft.rfft(samples[:12_000]))
    assert spectrum.argmax() * 2 == 440


@needs_ffmpeg
@pytest.mark.parametrize(
    ("shape", "kind", "start"),
    [
        ("mp3", "audio/mpeg", (b"ID3", b"\xff")),
        ("opus", "audio/ogg", (b"OggS",)),
        ("aac", "audio/aac", (b"\xff",)),
        ("flac", "audio/flac", (b"fLaC",)),
    ],
)
async def test_other_formats_are_made_by_ffmpeg(both, shape, kind, start):
    found = await ask(both[1], response_format=shape)
    assert found.response.headers["content-type"] == kind
    assert found.content.startswith(start)


async def test_without_ffmpeg_the_error_says_so(make, serving, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    async with serving(make()) as (_, sdk):
        with pytest.raises(openai.BadRequestError, match="`mp3` needs the program ffmpeg"):
            await ask(sdk, response_format="mp3")
        assert (await ask(sdk)).content.startswith(b"RIFF")


async def test_speed_changes_the_length(both):
    assert len((await ask(both[1], speed=2.0)).content) == 44 + 5 * 2205 // 2 * 2


async def test_sound_is_streamed_while_it_is_made(make, serving):
    plugin = make()
    async with serving(plugin) as (_, sdk):
        streamed = sdk.audio.speech.with_streaming_response
        async with streamed.create(
            model="tts-1", voice="alloy", input="wait", response_format="wav"
        ) as answer:
            first = await anext(answer.iter_bytes(1000))  # the program has not ended
            assert first.startswith(b"RIFF")
            worker = psutil.Process(plugin.engines[0].pid)
            (program,) = worker.children()
        async with asyncio.timeout(20):  # the client has left
            while psutil.pid_exists(program.pid):
                await asyncio.sleep(0.01)
        assert (await ask(sdk)).content.startswith(b"RIFF")


async def test_events_have_the_sound_in_base64(both):
    body = {"input": "abc", "voice": "alloy", "response_format": "wav", "stream_format": "sse"}
    answer = await both[0].client.post("/v1/audio/speech", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert [event["type"] for event in events[-2:]] == ["speech.audio.delta", "speech.audio.done"]
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    assert len(sound) == 44 + 2 * 3 * 2205


async def test_the_voices_are_listed(both):
    answer = await both[0].client.get("/v1/audio/voices")
    assert answer.json()["voices"] == [
        {"id": "en_US-ann", "engine": "piper", "language": "en_US", "sample_rate": 22050},
        {"id": "de_DE-bert", "engine": "piper", "language": "en_US", "sample_rate": 22050},
    ]
    assert (await ask(both[1], voice="de_DE-bert")).content.startswith(b"RIFF")
    assert (await ask(both[1], voice={"id": "de_DE-bert"})).content.startswith(b"RIFF")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"input": None}, 400, "input: the text to speak is required"),
        ({"input": " \n"}, 400, "input: the text to speak is required"),
        ({"input": 3}, 400, "input: expected text"),
        ({"input": "x" * 4097}, 400, "has 4,097 characters; at most 4,096"),
        ({"input": "!"}, 400, "contains nothing that can be spoken"),
        ({"voice": "eve"}, 400, "voice: unknown 'eve'"),
        ({"voice": "../../etc/passwd"}, 400, "voice: unknown"),
        ({"model": "kokoro"}, 404, "model: unknown 'kokoro'"),
        ({"model": "espeak-ng"}, 400, "no voice of `espeak-ng`"),
        ({"response_format": "midi"}, 400, "response_format: expected one of mp3"),
        ({"speed": 5}, 400, "speed: expected a number from 0.25 to 4"),
        ({"speed": True}, 400, "speed: expected a number"),
        ({"stream_format": "ws"}, 400, "stream_format: expected `audio` or `sse`"),
        ({"input": "die"}, 500, "see its log"),
    ],
)
async def test_a_wrong_field_is_named(both, fields, status, message):
    body = {"input": "abc", "voice": "alloy", "response_format": "wav", **fields}
    answer = await both[0].client.post("/v1/audio/speech", json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


async def test_a_killed_worker_is_one_failed_request(make, serving):
    plugin = make()
    async with serving(plugin) as (running, sdk):
        await ask(sdk)
        body = {"input": "wait", "voice": "alloy", "response_format": "wav", "stream_format": "sse"}
        async with running.client.stream("POST", "/v1/audio/speech", json=body) as answer:
            lines = answer.aiter_lines()
            assert "speech.audio.delta" in await anext(lines)
            worker = psutil.Process(plugin.engines[0].pid)
            programs = worker.children(recursive=True)
            assert programs
            worker.kill()
            rest = [line async for line in lines]
        assert "SIGKILL" in rest[-2] + rest[-1]
        assert not psutil.wait_procs(programs, timeout=10)[1]
        assert (await ask(sdk)).content.startswith(b"RIFF")


async def test_a_program_with_the_voice_waits_for_the_next_request(make, serving):
    plugin = make()
    async with serving(plugin) as (_, sdk):
        await ask(sdk)
        worker = psutil.Process(plugin.engines[0].pid)
        (waits,) = worker.children()
        first = (await ask(sdk)).content
        assert not waits.is_running()  # it has spoken, and ended
        (waits,) = worker.children()
        waits.kill()
        with anyio.fail_after(10):
            while waits.status() != psutil.STATUS_ZOMBIE:
                await anyio.sleep(0.01)
        assert len((await ask(sdk)).content) == len(first)
        (waits,) = worker.children()
        assert len((await ask(sdk, speed=2.0)).content) < len(first)
        assert not waits.is_running()  # it had another speed
        (waits,) = worker.children()
        held = plugin.engines[0].held()
        assert held.size >= worker.memory_info().rss + waits.memory_info().rss // 2
        assert await plugin.unload("voices")
        assert not psutil.wait_procs([worker, waits], timeout=10)[1]


async def test_sound_that_breaks_off_is_not_a_whole_reply(make, serving):
    plugin = make()
    async with serving(plugin) as (running, sdk):
        body = {"input": "wait", "voice": "alloy", "response_format": "wav"}
        with pytest.raises(httpx2.RemoteProtocolError):
            async with running.client.stream("POST", "/v1/audio/speech", json=body) as answer:
                pieces = answer.aiter_bytes()
                assert (await anext(pieces)).startswith(b"RIFF")
                psutil.Process(plugin.engines[0].pid).kill()
                [piece async for piece in pieces]
        assert (await ask(sdk)).content.startswith(b"RIFF")


async def test_a_configured_voice_that_is_missing_is_named_with_the_fix(make, serving):
    for options, message in (
        ({"voices": ["espeak-ng/xx-none"]}, "espeak-ng"),
        ({"voices": ["en_US-nobody"]}, "there is no model `en_US-nobody`"),
    ):
        async with serving(make(**options)) as (_, sdk):
            with pytest.raises(openai.BadRequestError, match=message):
                await ask(sdk)


async def test_the_log_of_a_failure_does_not_quote_the_text(make, serving, tmp_path):
    plugin = make()
    async with serving(plugin) as (running, _):
        body = {"input": "die xylophone", "voice": "alloy", "response_format": "wav"}
        assert (await running.client.post("/v1/audio/speech", json=body)).status_code == 500
    logs = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert "the voice is broken" in logs
    assert "xylophone" not in logs


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="`espeak-ng` is not installed")
@pytest.mark.parametrize("text", ["...", "---", "\u201c\u201d", "\u3002"])
async def test_espeak_is_not_heard_as_silence_where_there_is_nothing_to_speak(make, serving, text):
    async with serving(make(voices=["espeak-ng/en-us"])) as (_, sdk):
        for shape in ("wav", "pcm"):
            with pytest.raises(openai.BadRequestError, match="nothing that can be spoken"):
                await sdk.audio.speech.create(
                    model="tts-1", voice="alloy", input=text, response_format=shape
                )
        for named in ("+", "\U0001f600", "a"):
            sound = await sdk.audio.speech.create(
                model="tts-1", voice="alloy", input=named, response_format="wav"
            )
            assert len(sound.content) > 10_000

"""`/v1/audio/transcriptions` and `/translations`, as OpenAI's SDK uses them."""

import asyncio
import base64
import time

import openai
import psutil
import pytest

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    # The SDK marks translations as deprecated, because the vendor ends its model.
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]


@pytest.fixture
async def both(make, serving):
    async with serving(make()) as found:
        yield found


@pytest.fixture
def sdk(both):
    return both[1].audio


async def test_the_sdk_gets_the_text(sdk, sound):
    found = await sdk.transcriptions.create(model="whisper-1", file=("a.wav", sound("one|two")))
    assert found.text == "one two"
    assert (found.usage.type, found.usage.seconds) == ("duration", 4.0)
    assert (await sdk.translations.create(model="whisper-1", file=sound("yes"))).text == "yes"


async def test_each_format_is_openais(sdk, sound):
    async def ask(shape, **more):
        return await sdk.transcriptions.create(
            model="base", file=sound("Hello there.|A --> B"), response_format=shape, **more
        )

    assert await ask("text") == "Hello there. A --> B\n"
    assert await ask("srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello there.\n\n"
        "2\n00:00:02,000 --> 00:00:03,500\nA -> B\n"
    )
    assert await ask("vtt") == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nHello there.\n\n"
        "00:00:02.000 --> 00:00:03.500\nA -> B\n"
    )
    found = await ask("verbose_json")
    assert (found.language, found.duration, found.words) == ("english", 4.0, None)
    assert [(one.id, one.start, one.end) for one in found.segments] == [(0, 0, 1.5), (1, 2, 3.5)]
    assert (found.segments[0].text, found.segments[0].tokens) == (" Hello there.", [1])
    found = await ask("verbose_json", timestamp_granularities=["word"])
    assert [(one.word, one.start, one.end) for one in found.words[:2]] == [
        ("Hello", 0.0, 1.5),
        ("there.", 0.0, 1.5),
    ]
    assert found.segments is None
    found = await ask("verbose_json", timestamp_granularities=["word", "segment"])
    assert len(found.segments) == 2
    assert len(found.words) == 5


async def test_a_translation_is_english(sdk, sound):
    found = await sdk.translations.create(
        model="whisper-1", file=sound("asked"), response_format="verbose_json"
    )
    assert found.language == "english"
    assert found.text.startswith("task=translate")


async def test_what_is_asked_for_reaches_the_engine(sdk, sound):
    found = await sdk.transcriptions.create(
        model="gpt-transcribe",
        file=sound("asked"),
        language="de",
        temperature=0.25,
        prompt="Names: Ada",
        keywords=["Kubernetes", "Postgres"],
    )
    asked = "task=transcribe,language=de,temperature=0.25,Kubernetes Postgres,Names: Ada"
    assert found.text == asked


async def test_a_stream_has_the_text_as_it_is_heard(both, sdk, sound, tmp_path):
    stream = await sdk.transcriptions.create(
        model="whisper-1", file=sound("one|wait|two"), stream=True
    )
    events = aiter(stream)
    first = await anext(events)
    assert (first.type, first.delta) == ("transcript.text.delta", "one")
    (tmp_path / "gate").touch()  # only now the engine goes on
    rest = [event async for event in events]
    assert [event.type for event in rest] == ["transcript.text.delta", "transcript.text.done"]
    assert rest[0].delta == " two"
    assert rest[1].text == "one two"


async def test_a_stream_that_fails_ends_with_the_error(sdk, sound):
    stream = await sdk.transcriptions.create(model="whisper-1", file=sound("one|die"), stream=True)
    with pytest.raises(openai.APIError, match="SIGKILL"):
        [event async for event in stream]


async def test_nothing_heard_is_an_empty_text(sdk, sound):
    assert (await sdk.transcriptions.create(model="whisper-1", file=sound(""))).text == ""
    found = await sdk.transcriptions.create(
        model="whisper-1", file=sound(""), response_format="vtt"
    )
    assert found == "WEBVTT\n"


async def test_base64_in_json_is_accepted(both, sound):
    data = base64.b64encode(sound("hi")).decode()
    answer = await both[0].client.post("/v1/audio/transcriptions", json={"file": data})
    assert answer.json()["text"] == "hi"


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"model": "nova-3"}, 404, "`org/tiny.en`, `org/base`"),
        ({"response_format": "diarized_json"}, 400, "response_format: expected one of json"),
        ({"timestamp_granularities[]": "word"}, 400, "needs `response_format` `verbose_json`"),
        ({"timestamp_granularities[]": "char"}, 400, "expected `word` or `segment`"),
        ({"temperature": "2"}, 400, "temperature: expected a number from 0 to 1"),
        ({"temperature": "nan"}, 400, "temperature: expected a number from 0 to 1"),
        ({"language": "English"}, 400, "language: expected a code"),
        ({"stream": "maybe"}, 400, "stream: expected true or false"),
        ({"prompt": "x" * 2001}, 400, "prompt: has 2,001 characters"),
        ({"include[]": "logprobs"}, 400, "include: not available"),
        ({"known_speaker_names[]": "Ada"}, 400, "known_speaker_names: not available"),
    ],
)
async def test_a_wrong_field_is_named(both, sound, fields, status, message):
    answer = await both[0].client.post(
        "/v1/audio/transcriptions", data=fields, files={"file": sound("x")}
    )
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("file", "status", "message"),
    [
        (b"", 400, "the audio file is empty"),
        (b"MZ\x90\0" + b"says:x", 400, "not audio in the format"),
        (b"#EXTM3U\nfile:///etc/passwd", 400, "not audio in the format"),
        (b"RIFF\0\0\0\0WAVEsays:refuse", 400, "the wav file is damaged"),
        (b"RIFF\0\0\0\0WAVE" + b"[" * (25 * 2**20), 413, "at most"),
        (b"RIFF\0\0\0\0WAVEsays:die", 503, "SIGKILL"),
    ],
)
async def test_a_file_that_cannot_be_read_is_refused_with_the_reason(both, file, status, message):
    answer = await both[0].client.post("/v1/audio/transcriptions", files={"file": file})
    assert answer.status_code == status, answer.text
    assert message in answer.json()["error"]["message"]


async def test_hostile_files_start_no_engine(make, serving):
    plugin = make()
    async with serving(plugin) as (running, _):
        for file in (b"", b"MZ", b"RIFF\0\0\0\0WEBP", b"#EXTM3U"):
            await running.client.post("/v1/audio/transcriptions", files={"file": file})
        assert [engine.pid for engine in plugin.engines] == [None, None]


async def test_a_killed_worker_is_one_failed_request(both, sound):
    statuses = [
        (
            await both[0].client.post("/v1/audio/transcriptions", files={"file": sound(says)})
        ).status_code
        for says in ("a", "die", "b")
    ]
    assert statuses == [200, 503, 200]


async def test_the_worker_stops_when_the_client_leaves(make, serving, sound, tmp_path):
    plugin = make()
    async with serving(plugin) as (_, sdk):
        stream = await sdk.audio.transcriptions.create(
            model="whisper-1", file=sound("one|wait|two"), stream=True
        )
        assert (await anext(aiter(stream))).delta == "one"
        await stream.close()
        async with asyncio.timeout(20):
            while plugin.engines[0].held().requests:
                await asyncio.sleep(0.01)
        (tmp_path / "gate").touch()
        found = await sdk.audio.transcriptions.create(model="whisper-1", file=sound("next"))
        assert found.text == "next"


async def test_the_loop_is_not_held_by_a_large_file(make, serving, monkeypatch):
    """CPU time of each step of the loop, because this machine may be busy."""
    steps, run = [], asyncio.Handle._run

    def measured(handle):
        before = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - before)

    file = b"RIFF\0\0\0\0WAVE" + b"\x11" * (24 * 2**20) + b"says:long"
    async with serving(make()) as (_, sdk):
        await sdk.audio.transcriptions.create(model="whisper-1", file=b"RIFF\0\0\0\0WAVEsays:a")
        async with openai_form(file) as (headers, body):
            monkeypatch.setattr(asyncio.Handle, "_run", measured)
            answer = await sdk._client.post(
                f"{sdk.base_url}audio/transcriptions",
                content=body,
                headers={**headers, "authorization": f"Bearer {sdk.api_key}"},
            )
            monkeypatch.undo()
    assert answer.json()["text"] == "long"
    assert max(steps) < 0.1


class openai_form:
    """A form as the SDK sends it, written before the measurement, and sent in pieces."""

    def __init__(self, file):
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        self.data = head + file + b"\r\n--b--\r\n"

    async def __aenter__(self):
        async def pieces():
            for start in range(0, len(self.data), 1 << 16):
                yield self.data[start : start + (1 << 16)]

        return {"content-type": "multipart/form-data; boundary=b"}, pieces()

    async def __aexit__(self, *_):
        pass


async def test_each_model_has_its_own_worker_which_memory_can_end(make, serving, sound):
    plugin = make()
    async with serving(plugin) as (_, sdk):
        for model in ("tiny.en", "org/base"):
            await sdk.audio.transcriptions.create(model=model, file=sound("x"))
        pids = {engine.pid for engine in plugin.engines}
        assert len(pids) == 2
        assert {held.model for held in await plugin.loaded()} == {"org/tiny.en", "org/base"}
        assert await plugin.unload("org/base")
        assert sum(psutil.pid_exists(pid) for pid in pids) == 1

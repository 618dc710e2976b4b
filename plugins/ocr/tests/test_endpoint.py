"""`POST /v1/ocr`, as clients use it."""

import base64
import sys
from functools import partial

import anyio
import httpx2
import pytest
from speaking import block, png

from plugway.testing import build_plugin, gateway
from plugway_ocr import Ocr

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


@pytest.fixture
async def client(make, backend):
    async with gateway([make(), backend]) as running:
        yield running.client


BASE64 = base64.b64encode(png("hello")).decode()


@pytest.mark.parametrize(
    "body",
    [
        {"json": {"image": BASE64}},
        {"json": {"image": f"data:image/png;base64,{BASE64}"}},
        {"json": {"image": block("hello")["source"]}},
        {"files": {"file": ("a.png", png("hello"), "image/png")}},
        {"files": {"image": png("hello")}},
    ],
)
async def test_a_picture_comes_as_base64_or_as_a_file(client, body):
    answer = await client.post("/v1/ocr", **body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["text"] == "hello"
    assert (found["width"], found["height"]) == (40, 20)
    assert found["lines"] == [{"text": "hello", "box": [0, 0, 1, 1], "score": 1.0}]


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"json": {}}, 400, "image: base64, a `data:` URL, or a file"),
        ({"json": {"image": 1}}, 400, "image: expected base64"),
        ({"json": {"image": "!"}}, 400, "image: not valid base64"),
        ({"json": {"image": ""}}, 400, "the picture is empty"),
        ({"json": {"image": base64.b64encode(b"MZ").decode()}}, 400, "not a PNG"),
        ({"files": {"file": png("x")[:50]}}, 400, "cannot be decoded"),
        ({"files": {"file": png("x").ljust(21 * 2**20, b"[")}}, 413, "at most"),
        ({"files": {"other": png("x")}}, 400, "image: base64"),
        ({"files": {"file": png("die")}}, 503, "SIGKILL"),
    ],
)
async def test_other_bodies_are_refused_with_the_reason(client, body, status, message):
    answer = await client.post("/v1/ocr", **body)
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


async def test_a_killed_worker_is_one_failed_request(client):
    assert (await client.post("/v1/ocr", files={"file": png("a")})).status_code == 200
    assert (await client.post("/v1/ocr", files={"file": png("die")})).status_code == 503
    answer = await client.post("/v1/ocr", files={"file": png("b")})
    assert answer.json()["text"] == "b"


async def test_a_client_that_leaves_while_it_waits_is_not_served(make, backend):
    ocr = make()
    async with gateway([ocr, backend]) as running, anyio.create_task_group() as group:
        assert (await running.client.post("/v1/ocr", files={"file": png("a")})).status_code == 200
        work = partial(running.client.post, "/v1/ocr", files={"file": png("slow")})
        group.start_soon(work)
        with anyio.fail_after(20):
            while ocr.engines[0].held().requests < 1:
                await anyio.sleep(0.01)
        async with httpx2.AsyncClient(trust_env=False) as leaving:
            headers = {"authorization": f"Bearer {running.token}"}
            with anyio.move_on_after(0.5):
                await leaving.post(
                    f"{running.url}/v1/ocr", files={"file": png("left")}, headers=headers
                )
        answer = await running.client.post("/v1/ocr", files={"file": png("b")})
    lines = answer.json()
    assert (lines["text"], lines["served"]) == ("b", 3)


async def test_invisible_characters_are_escaped(client):
    answer = await client.post("/v1/ocr", files={"file": png("a\u202eb\x1b[2J")})
    assert answer.json()["text"] == "a\\u202eb\\x1b[2J"


@pytest.mark.skipif(sys.platform == "darwin", reason="it may be installed there")
async def test_an_engine_that_is_not_installed_says_what_to_install(backend, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    async with gateway([build_plugin(Ocr, "ocr", engine="vision"), backend]) as running:
        answer = await running.client.post("/v1/ocr", files={"file": png("x")})
    assert answer.status_code == 503
    message = answer.json()["error"]["message"]
    assert "`ocrmac` is not installed: run `pip install './plugins/ocr[vision]'`" in message
    assert answer.headers["x-should-retry"] == "false"

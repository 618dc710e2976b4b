"""Forms and base64, as routes read them from real requests."""

import asyncio
import base64
import time

import httpx2
import pytest
from starlette.responses import JSONResponse
from starlette.routing import Route

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import gateway
from plugway_media.uploads import MULTIPART, decode_base64, read_form

pytestmark = pytest.mark.anyio
MOST = 4 * 2**20


class Files(Plugin[NoOptions]):
    """Returns what it has read."""

    @hookimpl
    def register_routes(self):
        async def served(request):
            form = await read_form(request, max_bytes=MOST)
            sizes = {name: len(data) for name, data in form.files.items()}
            if "data" in form.fields:
                found = await decode_base64(form.fields["data"], "data", max_bytes=MOST)
                return JSONResponse({"bytes": len(found), "start": found[:20].decode()})
            return JSONResponse({"fields": dict(form.fields), "sizes": sizes, "names": form.names})

        route = Route("/files", served, methods=["POST"])
        route.accepts = (MULTIPART,)
        return [route]


@pytest.fixture
async def client():
    async with gateway([Files(NoOptions(), name="files")]) as running:
        yield running.client


async def test_a_form_has_fields_and_a_file(client):
    answer = await client.post(
        "/files",
        files={"file": ("a b.wav", b"\x00\xff" * 1000, "audio/wav")},
        data={"model": "whisper-1", "granularities[]": ["word", "segment"], "more": ["a", "b"]},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "fields": {
            "model": "whisper-1",
            "granularities": ["word", "segment"],
            "more": ["a", "b"],
        },
        "sizes": {"file": 2000},
        "names": {"file": "a b.wav"},
    }


async def test_the_same_fields_may_be_json(client):
    answer = await client.post("/files", json={"model": "x", "more": ["a"]})
    assert answer.json()["fields"] == {"model": "x", "more": ["a"]}


@pytest.mark.parametrize("start", ["", "data:image/png;base64,"])
async def test_base64_may_be_a_data_url(client, start):
    data = start + base64.b64encode(b"text " * 500_000).decode()
    answer = await client.post("/files", json={"data": data})
    assert answer.json() == {"bytes": 2_500_000, "start": "text " * 4}


FORM = "multipart/form-data; boundary=b"


def part(name, content, filename=None):
    file = f'; filename="{filename}"' if filename else ""
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{content}\r\n'


@pytest.mark.parametrize(
    ("kind", "body", "status", "message"),
    [
        (FORM, b"nonsense--b--", 400, "the form cannot be parsed"),
        ("multipart/form-data", b"----\r\n", 400, "boundary"),
        (FORM, part("a", "x", "a") + part("b", "x", "b") + "--b--\r\n", 400, "Too many files"),
        (FORM, "".join(part(str(n), "") for n in range(65)) + "--b--", 400, "Too many fields"),
        (FORM, part("a", "x" * 300_000) + "--b--\r\n", 400, "maximum size"),
        (FORM, part("a", "x" * (MOST + 1), "a") + "--b--\r\n", 413, "at most 4,194,304"),
        (FORM, part("a", "x" * (MOST + 2**21), "a") + "--b--\r\n", 413, "at most 4,194,304"),
        ("application/json", b"[1]", 400, "must be a JSON object"),
        ("application/json", b"{", 400, "not valid JSON"),
        ("application/json", b'{"data": 1}', 400, "data: expected base64"),
        ("application/json", b'{"data": "data:image/png,abc"}', 400, ";base64"),
        ("application/json", b'{"data": "ab*="}', 400, "data: not valid base64"),
        ("application/json", b'{"data": "https://x/a.png"}', 400, "URLs are not fetched"),
        ("application/json", b'{"data": "abc"}', 400, "data: not valid base64"),
        ("application/json", b'{"data": "%s"}' % (b"A" * 6_000_000), 413, "at most 4,194,304"),
    ],
)
async def test_other_bodies_are_refused_with_the_reason(client, kind, body, status, message):
    content = body.encode() if isinstance(body, str) else body
    answer = await client.post("/files", content=content, headers={"content-type": kind})
    assert answer.status_code == status
    assert message in answer.json()["error"]["message"]


@pytest.mark.parametrize("cut", ["", "--", "--b", "--b-"])
async def test_a_form_without_an_end_is_refused(client, cut):
    content = part("a", "x" * 100, "a").encode() + cut.encode()
    answer = await client.post("/files", content=content, headers={"content-type": FORM})
    assert answer.status_code == 400
    assert "it has no end: it was cut off" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("multipart/form-data", "its `content-type` names no `boundary`"),
        ("multipart/form-data; boundary=", "its `content-type` names no `boundary`"),
        ("multipart/form-data; boundary=other", "it does not begin with the `boundary`"),
    ],
)
async def test_a_form_with_another_boundary_is_refused_with_the_reason(client, kind, reason):
    content = part("a", "x", "a") + "--b--"
    answer = await client.post("/files", content=content, headers={"content-type": kind})
    assert answer.status_code == 400
    assert reason in answer.json()["error"]["message"]


@pytest.mark.parametrize("piece", [b"\r\n--", b"\r", b"\r\n--b", b"-" * 63 + b"\n"])
async def test_the_event_loop_is_not_held_by_a_form_that_is_slow_to_parse(
    client, piece, monkeypatch
):
    head = b'--b\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
    body = head + (piece + b"x") * (MOST // (len(piece) + 1)) + b"\r\n--b--\r\n"
    steps, run = [], asyncio.Handle._run

    def timed(handle):
        before = time.thread_time()
        run(handle)
        steps.append(time.thread_time() - before)

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    answer = await client.post("/files", content=body, headers={"content-type": FORM})
    monkeypatch.undo()
    assert answer.status_code in (200, 400)
    assert max(steps) < 0.1


async def test_only_a_route_that_accepts_forms_gets_one(client):
    answer = await client.post("/v1/messages", files={"file": b"x"})
    assert answer.status_code == 415
    assert isinstance(client, httpx2.AsyncClient)

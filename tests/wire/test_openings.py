"""How a stream begins is read alike with every line end, and however its bytes arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from plugway import as_object
from plugway.testing import ScriptedUpstream, anthropic_stream, gateway, parse_sse, sse
from plugway_upstream_errors import _opening, is_error, opened, status_in
from tests.receipts.servers import answer
from tests.wire.adapted import PLUGINS
from tests.wire.test_errors_in_streams import FORMS, STREAM
from tests.wire.ways import asked

pytestmark = pytest.mark.anyio

ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}
NAMED = [(name, orjson.dumps(data)) for name, data in anthropic_stream("hello")]
CHUNK = b'{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":%b}]}'
GOOD = {
    "Messages API": b"".join(b"event: %b\ndata: %b\n\n" % (n.encode(), d) for n, d in NAMED),
    "Messages API without names": b"".join(b"data: %b\n\n" % data for _, data in NAMED),
    "Messages API, named `message`": b"".join(b"event: message\ndata: %b\n\n" % d for _, d in NAMED),
    "Chat": b"data: %b\n\ndata: %b\n\n" % (CHUNK % b'{"role":"assistant"}', CHUNK % b'{"content":"x"}'),
    "Responses": b'event: response.created\ndata: {"type":"response.created","response":{"error":null}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"x"}\n\n',
    "a queue, then an answer": b'data: {"type":"info","message":"queued at position 3"}\n\ndata: %b\n\n' % (CHUNK % b'{"content":"x"}'),
}  # fmt: skip
MORE = {
    "event without type": b'event: error\ndata: {"message":"loading model"}\n\n',
    "two lines of data": b'data: {"error":\ndata: {"message":"no","code":400}}\n\n',
    "named `message`": b'event: message\ndata: {"type":"error","error":{"message":"no"}}\n\n',
    "after a queue": b'data: {"status":"processing","detail":"warming up"}\n\ndata: {"error":"no"}\n\n',
}  # fmt: skip
BAD = MORE | {name: made("no slot") for name, (_, kind, made) in FORMS.items() if kind == STREAM}


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def found(*data: bytes) -> tuple[bytes, bytes]:
    """The error at the start, and all bytes that are handed on."""
    chunks, error = await opened(pieces(*data))
    return error, b"".join([chunk async for chunk in chunks]) if not error else b""


def with_ends(data: bytes, end: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\n", end)


def cuts(data: bytes) -> list[tuple[bytes, ...]]:
    single = tuple(data[at : at + 1] for at in range(len(data)))
    return [single, *((data[:at], data[at:]) for at in range(len(data)))]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", GOOD)
async def test_an_answer_is_handed_on_whole(name, end):
    data = with_ends(GOOD[name], ENDS[end])
    for cut in cuts(data):
        assert await found(*cut) == (b"", data)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", BAD)
async def test_an_error_is_found(name, end):
    data = with_ends(BAD[name], ENDS[end])
    expected, _ = await found(BAD[name])
    assert expected
    for cut in cuts(data):
        assert (await found(*cut))[0].strip() == expected.strip()


async def test_a_long_first_event_is_searched_once(monkeypatch):
    searched = 0

    class Counted:
        def finditer(self, text, start):
            nonlocal searched
            searched += len(text) - start
            return blank_lines.finditer(text, start)

    blank_lines = _opening._BLANK_LINES
    monkeypatch.setattr(_opening, "_BLANK_LINES", Counted())
    data = b"data: %b\n\n" % (CHUNK % (b'{"content":"%b"}' % (b"x" * 2**17)))
    cut = [data[at : at + 16] for at in range(0, len(data), 16)]
    assert await found(*cut) == (b"", data)
    assert len(data) <= searched < 2 * len(data)


@pytest.mark.parametrize(
    "value",
    [
        {"type": "info", "message": "queued at position 3"},
        {"status": "processing", "detail": "warming up"},
        {"status": "queued", "message": "position 3", "code": 202},
        {"state": "loading", "message": "loading model", "progress": 0.5},
        {"message": "queued", "position": 3},
        {"code": 0, "message": "Success", "choices": []},
        {"code": "0", "msg": "done", "data": None},
        {"code": 20000, "message": "Ok"},
        {"success": True, "message": "accepted"},
        {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"error": None, "errors": [], "message": "", "type": "info"},
        {"type": "message_start", "message": {"role": "assistant"}},
        {"model": "m", "message": {"role": "assistant", "content": "x"}, "done": False},
    ],
)
def test_a_report_of_progress_is_not_an_error(value):
    assert not is_error(value)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ({"error": "no"}, 502),
        ({"errors": [{"message": "no"}]}, 502),
        ({"type": "error", "message": "no"}, 502),
        ({"object": "error", "message": "no", "code": 404}, 404),
        ({"code": 429, "message": "no"}, 429),
        ({"status": "503", "message": "no"}, 503),
        ({"status_code": 400}, 400),
        ({"code": 1301, "msg": "no"}, 502),
        ({"code": "context_length_exceeded", "message": "no"}, 502),
        ({"type": "invalid_request_error", "message": "no"}, 400),
        ({"status": "failed", "message": "no"}, 502),
        ({"success": False, "message": "no", "data": {}}, 502),
        ({"base_resp": {"status_code": 1004, "status_msg": "no"}, "choices": None}, 502),
        ({"detail": "Not Found"}, 502),
        ({"detail": [{"loc": ["body", "x"], "msg": "no", "type": "missing"}]}, 502),
        ({"message": "no model is loaded", "request_id": "r"}, 502),
    ],
)
def test_an_error_has_one_of_these_forms(value, status):
    assert is_error(value)
    assert status_in(orjson.dumps(value)) == status


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("server", ["llama-server", "vllm", "lmstudio", "anthropic-compatible"])
async def test_a_client_gets_the_answer_whatever_the_line_ends(server, end):
    data = with_ends(GOOD["Messages API"], ENDS[end])
    cut = [data[at : at + 7] for at in range(0, len(data), 7)]

    def otherwise(request):
        return answer(request) if request.method == "GET" else sse(cut)

    async with (
        ScriptedUpstream(otherwise=otherwise) as upstream,
        gateway([PLUGINS[server](upstream.url)]) as running,
    ):
        response = await running.post({**asked("messages"), "tools": [], "stream": True})
    assert response.status_code == 200
    assert [name for name, _ in parse_sse(response.content)] == [name for name, _ in NAMED]


STOP = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWERED = {
    "chat": b"data: %b\n\n%b" % (CHUNK % b'{"content":"hello"}', STOP),
    "llama-server": GOOD["Messages API"],
}  # fmt: skip


@pytest.mark.parametrize("server", ANSWERED)
@pytest.mark.parametrize(
    "report",
    [
        b'{"type":"info","message":"queued at position 3"}',
        b'{"status":"processing","detail":"warming up"}',
        b'{"code":0,"message":"Success","choices":[]}',
    ],
)
async def test_a_client_gets_the_answer_after_a_report_of_progress(server, report):
    data = b"data: %b\n\n" % report + ANSWERED[server]

    def otherwise(request):
        return answer(request) if request.method == "GET" else sse([data])

    async with (
        ScriptedUpstream(otherwise=otherwise) as upstream,
        gateway([PLUGINS[server](upstream.url)]) as running,
    ):
        response = await running.post({**asked("messages"), "tools": [], "stream": True})
    assert response.status_code == 200
    events = [data for _, data in parse_sse(response.content)]
    deltas = [as_object(data.get("delta")) for data in events]
    assert "".join(delta.get("text", "") for delta in deltas) == "hello"
    assert events[-1]["type"] == "message_stop"

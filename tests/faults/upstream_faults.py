"""Faults of upstreams by name: what one sends instead of the rest of its reply.

Each can occur before any content, after a head and a silence, and after content. In the body of a
stream a step is bytes on the wire: `chunk` makes a piece of a body of them.
"""

from __future__ import annotations

import json

from plugway.testing import Cut, Hold, Reset, Sleep
from tests.faults.answers import event, streamed
from tests.faults.seeds import CALLS

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"
BIG = 9 * 2**20


def chunk(raw):
    return b"%x\r\n%b\r\n" % (len(raw), raw)


def head(status, *lines, body=b""):
    told = "".join(f"{line}\r\n" for line in lines)
    return f"HTTP/1.1 {status} X\r\n{told}content-length: {len(body)}\r\n\r\n".encode() + body


def error(status, type_="some_error"):
    told = {"type": "error", "error": {"type": type_, "message": "says so"}}
    return head(status, "content-type: application/json", body=json.dumps(told).encode())


def said(data, name=""):
    """One event, then the end of the body."""
    return [chunk(event(data, name)), END]


HEADS = {
    "400": [error(400)], "401": [error(401)], "403": [error(403)], "404": [error(404)], "413": [error(413)],
    "429": [error(429)], "429 with a wait": [head(429, "retry-after: 600", body=b"{}")], "500": [error(500)],
    "502 in HTML": [head(502, "content-type: text/html", body=b"<html>Bad Gateway</html>")],
    "503": [error(503)], "529": [error(529, "overloaded_error")],
    "200 in HTML": [head(200, "content-type: text/html", body=b"<html>Welcome</html>")],
    "200 and nothing": [head(200)], "204": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "a redirect": [head(307, "location: http://127.0.0.1:1/")], "304": [b"HTTP/1.1 304 X\r\n\r\n"],
    "a status that is none": [b"HTTP/1.1 999 X\r\n\r\n"], "not HTTP": [b"SSH-2.0-OpenSSH_9.9\r\n", Cut()],
    "a head without end": [b"HTTP/1.1 200 OK\r\nx: y", Cut()],
    "a head of a megabyte": [b"HTTP/1.1 200 OK\r\nx: " + b"y" * 2**20 + b"\r\n\r\n", Cut()],
    "two lengths": [b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}", Cut()],
    "encoded in gzip": [head(200, "content-encoding: gzip", body=b"\x1f\x8b")],
}  # fmt: skip
"""Sent instead of a head; after a head, it is not a valid chunk of a body."""

WIRE = {
    "FIN": [Cut()], "RST": [Reset()], "a clean end": [END], "a bad size": [b"zz\r\n", Hold()],
    "a negative size": [b"-1\r\n", Hold()], "a size of 16 digits": [b"f" * 16 + b"\r\nx", Cut()],
    "a chunk that is longer": [b"2\r\nabcdef\r\n", Hold()], "a chunk that is cut": [b"ff\r\nabc", Cut()],
    "silence": [Hold()], "silence in an event": [chunk(b'event: ping\ndata: {"ty'), Hold()],
    "silence in a character": [chunk(b'data: {"type": "x", "a": "\xc3'), Hold()],
    "pings for ever": [step for _ in range(40) for step in (chunk(event({"type": "ping"}, "ping")), Sleep(0.05))],
    "comments for ever": [step for _ in range(40) for step in (chunk(b": x\n\n"), Sleep(0.05))],
    "empty lines for ever": [step for _ in range(40) for step in (chunk(b"\n"), Sleep(0.05))],
    "an event without end": [chunk(b"data: " + b"x" * BIG), Hold()],
    "an event of nine megabytes": [chunk(event({"type": "news", "a": "x" * BIG})), END],
    "HTML": [chunk(b"<html>Bad Gateway</html>\n\n"), END], "zeros": [chunk(b"\0" * 5000), END],
    "gzip": [chunk(b"\x1f\x8b\x08\0\0\0\0\0"), END], "bytes that are no text": [chunk(b"\xff\xfe" * 50 + b"\n\n"), END],
    "no JSON": said(b"oops", "content_block_delta"), "half of a JSON value": said(b'{"type": "content_bl', "content_block_delta"),
    "a list": said([1], "content_block_delta"), "null": said(None, "content_block_delta"),
    "a deep value": said(b"[" * 2000 + b"]" * 2000, "content_block_delta"),
    "a number of 5000 digits": said(b'{"type": "content_block_delta", "index": ' + b"9" * 5000 + b"}", "content_block_delta"),
    "a text that is no UTF-8": said(b'{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "\xff"}}', "content_block_delta"),
}  # fmt: skip

TOLD = {
    "overloaded": {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    "a failure": {"type": "error", "error": {"type": "api_error", "message": "broken"}},
    "an error in a text": {"error": "broken"},
    "an error of chat": {"error": {"message": "broken", "code": 500}},
    "an error of Gemini": {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}},
    "an error of nothing": {"type": "error", "error": {}},
    "an error of a number": {"type": "error", "error": 5},
    "an error of a list": {"error": [{"message": "x"}]},
}


def orders(api):
    """Events of the API in an order that is not expected."""
    usual = streamed(api, ["Hel", "lo."], calls=CALLS)
    other = streamed("chat" if api != "chat" else "messages")
    yield "it starts again and ends early", [*usual[:3], *usual[:2]]
    yield "the last event is missing", usual[1 : -2 if api == "chat" else -1]
    yield "backwards", usual[::-1]
    yield "each event twice, without the last two", [raw for raw in usual[:-2] for _ in (0, 1)]
    yield "another API's words", other
    yield "only starts", usual[:1] * 50
    yield "without its first half", usual[len(usual) // 2 : -2]


def faults(api):
    """Each fault's name and its steps; only those of `HEADS` have no head."""
    yield from HEADS.items()
    yield from WIRE.items()
    for name, data in TOLD.items():
        yield f"{name}, told", said(data, "error" if data.get("type") == "error" else "")
    for name, pieces in orders(api):
        yield name, [*map(chunk, pieces), END]

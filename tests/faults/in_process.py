"""A gateway without sockets on either side: tests call the application as its server does, and the
transport to upstreams answers from memory."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from plugway.upstream import upstream as _upstream
from plugway_http.client import Incomplete
from plugway_http.wire import joined


class Client:
    """One request and its outcome: the `Channel` of the exchange, and its `send`."""

    def __init__(self, body):
        self._body = body
        self.status = 0
        self.headers = {}
        self.body = b""
        self.end = ""
        """`whole`, `end` or `cut`; empty while more may come."""

    def whole_body(self):
        return self._body

    async def receive(self):
        body, self._body = self._body, b""
        return {"type": "http.request", "body": body, "more_body": False}

    def _head(self, status, lines):
        assert not self.status, "a second head"
        _ = STATUS_LINE[status] + joined("date: x", lines)
        self.status, self.headers = status, dict(lines)

    async def whole(self, status, headers, body):
        self._head(status, headers)
        assert int(self.headers["content-length"]) == len(body)
        self.body, self.end = body, "whole"

    async def send(self, message):
        assert not self.end, "more after the end"
        if message["type"] == "http.response.start":
            lines = [(name.decode(), value.decode("latin-1")) for name, value in message["headers"]]
            self._head(message["status"], lines)
            return
        assert self.status, "a body before the head"
        self.body += message.get("body", b"")
        if not message.get("more_body"):
            self.end = "end"
        await asyncio.sleep(0)

    def on_leave(self, leave):
        return lambda: None

    def cut(self):
        if not self.end:
            self.end = "cut"


async def ask(running, body, path="/v1/messages", token=None, headers=()):
    """The gateway's response to one request; `headers` are added, or replace others."""
    client = Client(body)
    told = {
        "host": "127.0.0.1",
        "authorization": f"Bearer {token or running.token}",
        "content-type": "application/json",
        "content-length": str(len(body)),
        **dict(headers),
    }
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in told.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", running.port),
        "extensions": {"plugway": client},
    }
    await running.app(scope, client.receive, client.send)
    return client


_ALONE, _TOGETHER = 40, 8
"""Number of chunks that come one by one; the others come in groups, because the loop has other
work."""


class Taken:
    """A response that is read from memory."""

    def __init__(self, answer, where):
        self.status, self.lines = answer.status, answer.lines
        self._pieces = [piece for piece in answer.pieces if piece][::-1]
        self._whole, self._where = answer.whole, where
        self._taken = 0

    @property
    def done(self):
        return self._whole and not self._pieces

    async def read(self, most=32 * 1024):
        self._taken += 1
        if self._taken < _ALONE or self._taken % _TOGETHER == 0:
            await asyncio.sleep(0)
        if not self._pieces and not self._whole:
            raise Incomplete(f"{self._where} sent an incomplete response")
        return self._pieces.pop() if self._pieces else b""

    def close(self):
        pass


def answered_by(monkeypatch, answers):
    """Make every upstream respond with the result of `answers` for method, target and body."""

    class Memory:
        def __init__(self, url, *_, **__):
            self._url = url

        async def send(self, method, target, lines, body):
            joined(f"{method} {target} HTTP/1.1", lines)
            return Taken(answers(method, target, body), self._url)

        async def aclose(self):
            pass

    monkeypatch.setattr(_upstream, "connect", Memory)

"""Whatever a client or an upstream nests, however deeply: it is passed on, or refused clearly.

Every plugin that reads conversations is in the stack. No request or reply is an internal error, is
logged as one, or blocks the event loop.
"""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_audit_log import AuditLog
from plugway_cache_watch import CacheWatch
from plugway_gemini_api import GeminiApi
from plugway_llama_cpp import LlamaCpp
from plugway_recorder import Recorder
from plugway_telemetry import Telemetry
from tests.faults.answers import APIS
from tests.faults.findings import errors_logged
from tests.faults.nested import REQUESTS, SHAPES, answers, nested, request_of
from tests.faults.test_loop_time import Bench, Upstream, usual
from tests.faults.whole_stack import BACKENDS, slowness, watched_gateway, whole_stack
from tests.slow import SLOW

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(1800 if SLOW else 120)]

MOST_SECONDS = 0.25
LEVELS = (100, 239, 500, 900, 1000, 5000, 100_000) if SLOW else (100, 239, 500, 100_000)
LISTED = tuple(SHAPES) if SLOW else ("lists", "properties")
SPOKEN = BACKENDS if SLOW else ("messages", "chat", "gemini")
SESSION = "\r\nx-claude-code-session-id: 5d6b0b04-0000-4000-8000-000000000000\r\nplugway-record: on"


class Server(Upstream):
    """Remembers the last request, or replies as the test says."""

    body = b""

    def __init__(self):
        ScriptedUpstream.__init__(self, otherwise=self._usual)

    def _usual(self, request):
        self.body = request.body or self.body
        return self.says or usual(request)


@asynccontextmanager
async def stack(folder, *more):
    """A gateway with these plugins, and what it logs as an error."""
    folder.chmod(0o700)
    async with Server() as server:
        plugins = [
            build_plugin(Telemetry, "telemetry", scrape=True),
            build_plugin(CacheWatch, "cache-watch"),
            build_plugin(AuditLog, "audit-log", folder=str(folder / "audit"), bodies=True),
            build_plugin(GeminiApi, "gemini-api"),
            build_plugin(Recorder, "recorder", key="a-key-for-recordings-0123456789"),
            *whole_stack(server.url),
            *more,
        ]
        with errors_logged() as log:
            async with watched_gateway(plugins) as (running, spent):
                bench = Bench(running, spent, server)
                bench.most = MOST_SECONDS * slowness()
                yield bench, server, log
        assert not log.found
        assert not bench.late


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


def requests(backend, model, levels=LEVELS, shapes=LISTED):
    for dialect, places in REQUESTS.items():
        name = f"anthropic/{backend}/{model}" if dialect == "messages" else f"{backend}/{model}"
        for place, body in places:
            for shape in shapes:
                for depth in levels:
                    value = nested(shape, depth)
                    path, raw = request_of(dialect, name, body, value, stream=False)
                    yield (dialect, place, shape, depth), value, path, raw


@pytest.mark.parametrize("backend", SPOKEN)
async def test_no_request_is_an_error_of_the_gateway(backend, tmp_path):
    async with stack(tmp_path) as (bench, server, log):
        for what, value, path, raw in requests(backend, "m"):
            response = await bench.ask(what, raw, path, SESSION)
            assert response.status < 500, (what, response.body[:300])
            assert not log.found, (what, log.found)
            if what[1] == "argument" and what[3] == LEVELS[0]:
                assert response.status == 200, what
                assert value.encode() in server.body.replace(b"\\", b""), what


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("backend", SPOKEN)
async def test_no_reply_is_an_error_of_the_gateway(backend, stream, tmp_path):
    async with stack(tmp_path) as (bench, server, log):
        for shape in LISTED:
            for depth in LEVELS:
                for place, status, raw in answers(APIS[backend], nested(shape, depth), stream):
                    streamed = stream and status == 200
                    kind = "text/event-stream" if streamed else "application/json"
                    server.says = respond(status, raw, {"content-type": kind})
                    for dialect, places in REQUESTS.items():
                        what = (dialect, place, shape, depth, status)
                        body = dict(places)["unknown field"]
                        model = (
                            f"anthropic/{backend}/m" if dialect == "messages" else f"{backend}/m"
                        )
                        path, asked = request_of(dialect, model, body, "1", stream)
                        response = await bench.ask(what, asked, path, SESSION)
                        own = 500 if not place.startswith("error ") else 0  # 500 is the server's
                        assert response.status not in (0, own), (what, response.body[:300])
                        assert not log.found, (what, log.found)


@pytest.mark.slow
async def test_no_request_ends_the_worker_of_a_local_model(tmp_path):
    local = build_plugin(LlamaCpp, "local", model="demo", temperature=0)
    async with stack(tmp_path, local) as (bench, _, log):
        for what, _, path, raw in requests("local", "demo", (100, 100_000), ("lists", "objects")):
            response = await bench.ask(what, raw, path)
            assert response.status < 500, (what, response.body[:300])
            assert not log.found, (what, log.found)

"""Scripted servers of a pool: each answers with its own name, and as a test says.

Their lists and metrics have the shapes of vLLM's `/v1/models` and `/metrics`
(`vllm/v1/metrics/loggers.py`), of SGLang's `/metrics` (`srt/metrics/collector.py`) and of
llama-server's `/slots` (`tools/server/README.md`).
"""

from contextlib import AsyncExitStack, asynccontextmanager

from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_pool import Pool

QUIET = {"check_seconds": 0, "load_seconds": 0}
"""Options without requests in the background."""


class Engine(ScriptedUpstream):
    """A server of the Messages API."""

    def __init__(self, name, *, models=("m",)):
        super().__init__(otherwise=self.answered)
        self.name = name
        self.models = models
        self.pages = {}
        """Scripts for other paths."""
        self.fails = None
        """The script for every message, instead of a reply."""

    @property
    def turns(self):
        """The requests for messages."""
        return [r for r in self.requests if r.path.startswith("/v1/messages")]

    def answered(self, request):
        if request.path in self.pages:
            return self.pages[request.path]
        if request.path == "/v1/models":
            return respond(200, {"data": [{"id": name} for name in self.models]})
        if request.method != "POST":
            return respond(404, {"error": {"message": "not found"}})
        if self.fails is not None:
            return self.fails
        body = request.json
        if body.get("stream"):
            return sse(anthropic_stream(self.name, model=body["model"]))
        return respond(200, anthropic_message(self.name, model=body["model"]))


@asynccontextmanager
async def engines(*names):
    """Running servers."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Engine(name)) for name in names]


def pool_of(found, **options):
    """A pool over servers; without requests in the background unless options say so."""
    given = {**QUIET, **options}
    if not {"file", "dns"} & given.keys():
        given["servers"] = [one.url for one in found]
    return build_plugin(Pool, "fleet", **given)


@asynccontextmanager
async def running(found, *others, **options):
    """A gateway with a pool as its only backend, and the pool."""
    pool = pool_of(found, **options)
    async with gateway([*others, pool]) as served:
        yield served, pool


async def turn(served, session, text="hello", **fields):
    """The response to one turn of a conversation."""
    lines = {"content-type": "application/json"}
    if session is not None:
        lines["x-test-session-id"] = session
    body = request_body(text, **{"model": "m", **fields})
    return await served.client.post("/v1/messages", json=body, headers=lines)


async def server_of(served, session, **fields):
    """The name of the server that answers a conversation."""
    response = await turn(served, session, **fields)
    assert response.status_code == 200, response.text
    return response.json()["content"][0]["text"]

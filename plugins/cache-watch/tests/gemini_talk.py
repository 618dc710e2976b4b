"""A conversation in Gemini's API with an upstream that counts as it is asked to."""

from contextlib import asynccontextmanager

from gemini_answers import answered, piece, text
from simulated_cache import Clock
from test_causes import explained

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_cache_watch import CacheWatch
from plugway_gemini import Gemini
from plugway_gemini_api import GeminiApi

_PATH = "/v1beta/models/up/gemini-2.5-pro:generateContent"


@asynccontextmanager
async def gemini_talk():
    """Yields `ask(body, total, **cached)`: the explanation of a turn, ten seconds after the last."""
    watch = build_plugin(CacheWatch, "cache-watch")
    watch.clock = Clock()
    counts = {}

    def serve(request):
        usage = {"candidatesTokenCount": 2, "totalTokenCount": counts["promptTokenCount"] + 2}
        return answered(request, piece(text("hi"), finish="STOP", usage=usage | counts))

    async with ScriptedUpstream(otherwise=serve) as upstream:
        up = build_plugin(Gemini, "up", base_url=upstream.url, api_key="k")
        async with gateway([watch, build_plugin(GeminiApi, "api"), up]) as running:

            async def ask(body, total, **cached):
                counts.clear()
                counts.update(promptTokenCount=total, **cached)
                lines = {"x-claude-code-session-id": "s"}
                reply = await running.client.post(_PATH, json=body, headers=lines)
                assert reply.status_code == 200, reply.text
                watch.clock.now += 10
                return await explained(watch, reply.headers["plugway-request-id"])

            yield ask

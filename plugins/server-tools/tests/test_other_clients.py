"""Clients of OpenAI's and Gemini's APIs that ask their vendor's servers to search."""

import json
from contextlib import asynccontextmanager

import pytest
from google import genai
from google.genai import types
from openai import AsyncOpenAI, BadRequestError

from plugway.testing import ScriptedUpstream, build_plugin, gateway
from plugway_gemini_api import GeminiApi
from plugway_openai_api import OpenAIApi

from .servers import BACKENDS, Model, stack
from .web import PAGES, Brave, SearXNG

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

LOOK = ("", [("web_search", {"query": "weather in oslo"})])
SAID = f'The page says "{PAGES[0]["content"]}"'
URLS = [page["url"] for page in PAGES]

both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
backends = pytest.mark.parametrize("backend", ["chat", "gemini", "ollama"])


class Running:
    def __init__(self, model, web, found):
        self.model, self.web, self._gateway = model, web, found

    def openai(self):
        return AsyncOpenAI(
            base_url=f"{self._gateway.url}/v1", api_key=self._gateway.token, max_retries=0
        )

    def gemini(self):
        options = types.HttpOptions(base_url=self._gateway.url)
        return genai.Client(api_key=self._gateway.token, http_options=options).aio


@asynccontextmanager
async def running(*turns, backend="chat", web=None, search=None):
    model, web = Model(*turns), web or SearXNG()
    async with (
        ScriptedUpstream(otherwise=model) as upstream,
        ScriptedUpstream(otherwise=web) as other,
    ):
        options = {"provider": "searxng", "url": other.url, **(search or {})}
        more = {} if search is False else {"web_search": options}
        dialects = [build_plugin(OpenAIApi, "openai-api"), build_plugin(GeminiApi, "gemini-api")]
        plugins = [*dialects, *stack(BACKENDS[backend](upstream.url), **more)]
        async with gateway(plugins) as found:
            yield Running(model, web, found)


async def responded(found, stream, **fields):
    """The response; of a stream, the last event's, and the kinds of all events."""
    tools = fields.pop("tools", [{"type": "web_search"}])
    asked = {"model": "m", "input": "hi", "tools": tools, **fields}
    async with found.openai() as client:
        if not stream:
            return await client.responses.create(**asked), []
        async with await client.responses.create(**asked, stream=True) as source:
            events = [event async for event in source]
    return events[-1].response, [event.type for event in events]


@both
@backends
async def test_a_responses_client_gets_the_search_and_what_is_cited(backend, stream):
    async with running(LOOK, (SAID, []), backend=backend) as found:
        response, events = await responded(found, stream)
    search, message = response.output
    assert (search.type, search.status) == ("web_search_call", "completed")
    assert (search.action.type, search.action.query) == ("search", "weather in oslo")
    assert [source.url for source in search.action.sources] == URLS
    assert response.output_text == SAID
    (citation,) = message.content[0].annotations
    assert (citation.type, citation.url, citation.title) == (
        "url_citation",
        URLS[0],
        "Weather in Oslo",
    )
    assert found.web.asked == ["weather in oslo"]
    assert "Sunny, 21 degrees" in json.dumps(found.model.asked[1])
    if stream:
        steps = [kind for kind in events if "web_search_call" in kind]
        assert steps == [
            f"response.web_search_call.{s}" for s in ("in_progress", "searching", "completed")
        ]


@both
async def test_a_failed_search_is_a_failed_item(stream):
    async with running(LOOK, ("No.", []), web=SearXNG(formats=())) as found:
        response, _ = await responded(found, stream)
    assert [(item.type, item.status) for item in response.output] == [
        ("web_search_call", "failed"),
        ("message", "completed"),
    ]


async def test_the_clients_own_functions_stay_beside_the_search():
    function = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}
    both_calls = ("", [LOOK[1][0], ("f", {})])
    async with running(both_calls) as found:
        response, _ = await responded(found, False, tools=[{"type": "web_search"}, function])
    assert [item.type for item in response.output] == ["web_search_call", "function_call"]


async def test_domains_of_the_filters_are_kept_to():
    tools = [{"type": "web_search", "filters": {"allowed_domains": ["met.example"]}}]
    async with running(LOOK, ("x", [])) as found:
        response, _ = await responded(found, False, tools=tools)
    assert [source.url for source in response.output[0].action.sources] == [URLS[1]]


@pytest.mark.parametrize(
    "why", ["nothing is configured", "no consent", "only cached pages are wanted"]
)
async def test_otherwise_no_search_is_offered_as_before(why):
    tools, search = [{"type": "web_search"}], {}
    if why == "nothing is configured":
        search = False
    elif why == "no consent":
        search = {"provider": "brave", "api_key": "secret-key", "zone": "brave"}
    else:
        tools[0]["external_web_access"] = False
    async with running(("Hello.", []), web=Brave(), search=search) as found:
        response, _ = await responded(found, False, tools=tools)
    assert response.output_text == "Hello."
    assert "tools" not in found.model.asked[0]


@both
@backends
async def test_a_gemini_client_gets_its_grounding(backend, stream):
    config = types.GenerateContentConfig(tools=[types.Tool(google_search=types.GoogleSearch())])
    async with running(LOOK, (SAID, []), backend=backend) as found:
        asked = {"model": "m", "contents": "hi", "config": config}
        async with found.gemini() as client:
            if stream:
                parts = [p async for p in await client.models.generate_content_stream(**asked)]
            else:
                parts = [await client.models.generate_content(**asked)]
    assert "".join(part.text or "" for part in parts) == SAID
    grounding = parts[-1].candidates[0].grounding_metadata
    assert grounding.web_search_queries == ["weather in oslo"]
    assert [chunk.web.uri for chunk in grounding.grounding_chunks] == URLS
    (support,) = grounding.grounding_supports
    assert support.grounding_chunk_indices == [0]
    assert found.web.asked == ["weather in oslo"]


async def test_a_chat_client_has_no_such_tool_and_is_told_so():
    async with running(("x", []), backend="ollama") as found:
        asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        async with found.openai() as client:
            with pytest.raises(BadRequestError, match="web_search_options"):
                await client.chat.completions.create(**asked, web_search_options={})

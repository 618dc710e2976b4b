"""The real Claude Code searches the web, and fetches, through models that cannot."""

import asyncio
import json
import ssl
from contextlib import asynccontextmanager
from itertools import count

import pytest
import trustme

from plugway.testing import ScriptedUpstream, anthropic_stream, gateway, respond, sse
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

from .servers import BACKENDS, Model, stack
from .web import PAGES, SearXNG

pytestmark = [pytest.mark.anyio, pytest.mark.real]

QUERY = "weather in Oslo today"


class Searching:
    """A model that loads WebSearch where it is deferred, searches once, and is done."""

    def __init__(self):
        self.asked = []
        self._numbers = count(1)

    def __call__(self, request):
        if request.method == "GET" or not request.json.get("tools"):
            return respond(404, {"error": "not here"})
        self.asked.append(request.json)
        told = json.dumps(request.json["messages"])
        if "Web search results for query" in told:
            return self._said("FINISHED.")
        if "`WebSearch` was found" not in told and "ToolSearch" in json.dumps(
            [tool["name"] for tool in request.json["tools"]]
        ):
            return self._said("", ("ToolSearch", {"query": "select:WebSearch", "max_results": 3}))
        return self._said("", ("WebSearch", {"query": QUERY}))

    def _said(self, text, *calls):
        """Ids of their own: the client takes calls of one id for one."""
        events = json.dumps(anthropic_stream(text, tool_calls=calls))
        events = events.replace("toolu_0001", f"toolu_{next(self._numbers)}")
        return sse([(name, data) for name, data in json.loads(events)])


async def test_a_search_comes_back_as_unavailable_and_nothing_is_invented(tmp_path):
    model = Searching()
    async with (
        ScriptedUpstream(otherwise=model) as upstream,
        gateway(shipped(upstream.url)) as running,
    ):
        claude = Claude(tmp_path, running.url, running.token, "anthropic/up0/m")
        answer = await claude.run("-p", "search the web", "--allowedTools", "WebSearch")
    assert "FINISHED." in answer.out
    asked = [json.dumps(body["messages"]) for body in model.asked]
    assert not any("Perform a web search" in messages for messages in asked)
    last = asked[-1]
    assert QUERY in last
    assert "Web search error: unavailable" in last
    assert "Web search is not available through this gateway" in last
    assert "Nothing was searched" in last


# ── run by the gateway ───────────────────────────────────────────────────────────────────────────


class Agent(Model):
    """A model that calls one tool of the client's, and is done when it has the result. What it is
    asked beside the conversation, it answers in words."""

    def __init__(self, name, arguments, result):
        super().__init__()
        self._name, self.arguments, self._result = name, arguments, result

    def __call__(self, request):
        body = request.json if request.method == "POST" and request.body else {}
        told = json.dumps(body)
        offered = f'"{self._name}"' in json.dumps(body.get("tools") or "")
        if self._result in told:
            self.script(("FINISHED.", []))
        elif "ToolSearch" in told and f"`{self._name}` was found" not in told and not offered:
            arguments = {"query": f"select:{self._name}", "max_results": 3}
            self.script(("", [("ToolSearch", arguments)]))
        elif offered and len(self.asked) > 8:
            self.script(("No result came.", []))
        elif offered:
            self.script(("", [(self._name, self.arguments)]))
        else:
            self.script(("Sunny in Oslo, says the page.", []))
        return super().__call__(request)


@asynccontextmanager
async def agent(tmp_path, backend, model, web, **fetch):
    """The client, in front of a gateway with a search server on loopback."""
    async with (
        ScriptedUpstream(otherwise=model) as upstream,
        ScriptedUpstream(otherwise=web) as search,
    ):
        options = {"web_search": {"provider": "searxng", "url": search.url}}
        plugins = stack(BACKENDS[backend](upstream.url), **options)
        async with gateway(plugins) as running:
            yield Claude(tmp_path, running.url, running.token, "up/m")


@pytest.mark.parametrize("backend", ["chat", "gemini", "ollama", "anthropic-compatible"])
async def test_a_search_shows_real_links_whatever_model_is_behind(tmp_path, backend):
    web = SearXNG()
    model = Agent("WebSearch", {"query": QUERY}, "Web search results for query")
    async with agent(tmp_path, backend, model, web) as claude:
        answer = await claude.run("-p", "search the web", "--allowedTools", "WebSearch")
    assert "FINISHED." in answer.out
    assert web.asked == [QUERY]
    last = json.dumps(model.asked[-1])
    for page in PAGES:
        assert page["url"] in last
        assert page["title"] in last
    assert "Sunny in Oslo, says the page." in last


@asynccontextmanager
async def secure_site(folder, body):
    """A page over TLS on loopback: the client fetches nothing else. Its address and the CA."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(folder / "ca.pem")

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n"
        writer.write(b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/oslo", folder / "ca.pem"


async def test_a_fetch_by_the_client_itself_reaches_the_model_as_text(tmp_path):
    """It asks `claude.ai` about the domain first, unless a setting says otherwise."""
    model = Agent("WebFetch", {}, "Sunny in Oslo, says the page.")
    body = b"<html><title>Oslo</title><h1>Weather</h1><p>Sunny &amp; warm.</p></html>"
    async with (
        secure_site(tmp_path, body) as (url, ca),
        agent(tmp_path, "chat", model, SearXNG()) as claude,
    ):
        model.arguments = {"url": url, "prompt": "What is the weather?"}
        claude.trust(ca)
        claude.settings({"skipWebFetchPreflight": True})
        answer = await claude.run("-p", f"fetch {url}", "--allowedTools", "WebFetch")
    assert "FINISHED." in answer.out
    side = [body for body in model.asked if not body.get("tools")]
    assert any("Sunny & warm." in json.dumps(body) for body in side)

"""The real Claude Code searches the web through a model that cannot."""

import json
from itertools import count

import pytest

from plugway.testing import ScriptedUpstream, anthropic_stream, gateway, respond, sse
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

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

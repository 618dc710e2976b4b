"""Tools that a client of Chat Completions writes as in the Responses API, as Cursor does.

BerriAI/litellm#34029, icebear0828/codex-proxy#707.
"""

from __future__ import annotations

import pytest

from plugway.testing import ScriptedUpstream, respond
from plugway_openai_wire.testing import chat_message
from tests.receipts.servers import answer
from tests.wire.ways import BACKENDS, PATHS, SCHEMA, between, calls_in

pytestmark = pytest.mark.anyio

READ = {"type": "function", "name": "Read", "description": "Reads.", "parameters": SCHEMA}
PATCH = {"type": "custom", "name": "ApplyPatch", "format": {"type": "text"}}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_flat_tools_are_offered_to_every_server(backend):
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": [READ, PATCH]}
    async with (
        ScriptedUpstream(otherwise=answer) as server,
        between(backend, server) as gateway,
    ):
        answered = await gateway.post(body, PATHS["chat"])
    assert answered.status_code == 200, answered.text
    assert b"ApplyPatch" in server.requests[-1].body


async def test_calls_of_flat_tools_come_back():
    calls = [("c1", "Read", '{"path": "a"}'), ("c2", "ApplyPatch", '{"input": "*** Begin"}')]
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": [READ, PATCH]}
    async with (
        ScriptedUpstream(otherwise=respond(200, chat_message(None, tool_calls=calls))) as server,
        between("chat", server) as gateway,
    ):
        answered = await gateway.post(body, PATHS["chat"])
    read, patch = answered.json()["choices"][0]["message"]["tool_calls"]
    assert (read["function"]["name"], patch["custom"]["input"]) == ("Read", "*** Begin")


@pytest.mark.lenient("chat")  # of other vendors than OpenAI
@pytest.mark.parametrize(
    "tool",
    [
        {"type": "function", "function": {"name": "Read", "parameters": SCHEMA}},
        {"type": "web_search_20250305", "name": "web_search"},
    ],
    ids=["nested", "of a vendor"],
)
async def test_other_tools_are_relayed_as_they_came(tool):
    body = {"model": "m", "messages": [{"role": "user", "content": "go"}], "tools": [tool]}
    calls = [("c1", "Read", '{"path": "a"}')]
    async with (
        ScriptedUpstream(otherwise=respond(200, chat_message(None, tool_calls=calls))) as server,
        between("chat", server) as gateway,
    ):
        answered = await gateway.post(body, PATHS["chat"])
    assert server.requests[-1].json == body
    assert calls_in("chat", answered.text, stream=False) == [("c1", "Read", {"path": "a"})]

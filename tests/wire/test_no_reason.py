"""Servers of the Messages API that end a reply without a `stop_reason`: their clients get one."""

from __future__ import annotations

import json

import pytest

from plugway.testing import ScriptedUpstream, anthropic_stream, parse_sse, sse
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(("calls", "reason"), [([], "stop"), ([("Read", {})], "tool_calls")])
async def test_a_stream_of_chat_ends_with_a_reason(calls, reason):
    events = anthropic_stream("Hi", tool_calls=calls)
    ended = [(kind, _without_reason(event)) for kind, event in events]
    async with (
        ScriptedUpstream(otherwise=sse(ended)) as server,
        between("anthropic-compatible", server) as running,
    ):
        answered = await running.post(asked("chat", stream=True), PATHS["chat"])
    chunks = [event for _, event in parse_sse(answered.content) if event.get("choices")]
    assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == reason
    assert answered.text.endswith("data: [DONE]\n\n")


def _without_reason(event):
    event = json.loads(json.dumps(event))
    if event["type"] == "message_delta":
        event["delta"]["stop_reason"] = None
    return event

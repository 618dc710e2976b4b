"""`make newest` lists what a client sends that nothing here knows."""

import httpx2
import pytest

from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, gateway, sse
from plugway_anthropic import Anthropic
from plugway_echo import Echo
from tools import newest

pytestmark = pytest.mark.anyio

KNOWN = {
    "model": "m",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "thinking": {"type": "adaptive", "display": "updates"},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "output_config": {"effort": "high"},
    "metadata": {"user_id": "u"},
    "tools": [{"name": "t", "input_schema": {"type": "object"}, "defer_loading": True}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
}
BETAS = "claude-code-20250219,dangerous-tool-use-2026-09-03,afk-mode-2026-01-31"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PLUGWAY_RECORD", str(tmp_path))
    return tmp_path


async def sent(running, body, path="/v1/messages?beta=true", **headers):
    """A client that asks through the relay, on one connection for each request."""
    lines = {"anthropic-beta": BETAS, "authorization": f"Bearer {running.token}", **headers}
    async with httpx2.AsyncClient(base_url=newest.recorded(running.url), trust_env=False) as client:
        return await client.post(path, json=body, headers=lines)


async def test_what_the_tables_have_is_no_news(folder):
    async with gateway([build_plugin(Echo, "echo")]) as running:
        answer = await sent(running, KNOWN)
        assert "You said: hi" in answer.text
        await sent(running, KNOWN | {"stream": True})
    assert newest.news(folder) == []


async def test_everything_that_nobody_knows_is_listed_by_name(folder):
    block = {"type": "hologram", "content": [{"type": "text", "text": "x", "mood": "calm"}]}
    new = {
        "brand_new": 1,
        "thinking": {"type": "adaptive", "colour": "red"},
        "tools": [{"name": "t", "input_schema": {}, "haste": 1}, {"type": "oracle_20270101"}],
        "context_management": {"edits": [{"type": "forget_20270101"}]},
        "safeguards": [{"type": "odd_words"}],
        "messages": [{"role": "user", "content": [block], "mark": 1}],
    }
    async with gateway([build_plugin(Echo, "echo")]) as running:
        await sent(
            running, KNOWN | new, **{"anthropic-beta": "unheard-of-2027-01-01", "x-new": "1"}
        )
        await sent(running, {}, path="/v1/teleport")
    assert newest.news(folder) == [
        "beta unheard-of-2027-01-01",
        "block hologram",
        "endpoint POST /v1/teleport",
        "field brand_new",
        "field messages.mark",
        "field text.mood",
        "field thinking.colour",
        "field tools.haste",
        "header x-new",
        "type forget_20270101 in context_management",
        "type odd_words in safeguards",
        "type oracle_20270101 in tools",
    ]


async def test_events_and_blocks_of_an_answer_are_listed_too(folder):
    events = anthropic_stream("Hello.")
    start = {"type": "content_block_start", "index": 1, "content_block": {"type": "sound"}}
    delta = {"type": "content_block_delta", "index": 1, "delta": {"type": "wave_delta"}}
    stop = {"type": "content_block_stop", "index": 1}
    added = [(e["type"], e) for e in ({"type": "weather"}, start, delta, stop)]
    async with ScriptedUpstream() as upstream:
        upstream.script(sse([*events[:-2], *added, *events[-2:]]))
        plugin = build_plugin(Anthropic, "up", api_key="k", base_url=upstream.url)
        async with gateway([plugin]) as running:
            await sent(running, KNOWN | {"stream": True})
    assert newest.news(folder) == ["block sound", "delta wave_delta", "event weather"]


def test_without_a_folder_to_record_to_nothing_stands_between(monkeypatch):
    monkeypatch.delenv("PLUGWAY_RECORD", raising=False)
    assert newest.recorded("http://127.0.0.1:8484") == "http://127.0.0.1:8484"

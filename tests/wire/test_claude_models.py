"""What goes to Claude models whose name says no version, and marks for caching.

Sources: platform.claude.com/docs, "Extended thinking", "Prompt caching", "Context editing".
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from plugway import MessagesRequest
from plugway_anthropic_wire._claude import Claude, fitted
from tests.wire.adapted import PLUGINS, told
from tests.wire.ways import asked

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "model",
    [
        *("claude-opus-latest", "claude-sonnet", "claude-haiku-latest", "vendor.claude-sonnet"),
        *("claude", "us.anthropic.claude-opus", "my-claude-fable"),
    ],
)
async def test_a_name_without_version_gets_no_sampling_beside_thinking(model):
    body = {**asked("chat"), "model": model, "reasoning_effort": "high"}
    found = await told(
        PLUGINS["anthropic"], [{**body, "temperature": 0.5, "top_p": 0.5}], dialect="chat"
    )
    sent = found.sent[0]
    assert not {"temperature", "top_p", "top_k"} & sent.keys()
    assert "thinking" in sent or "output_config" in sent


@pytest.mark.parametrize("model", ["claude-2.1", "claude-instant-1.2", "claude-3-haiku-20240307"])
async def test_models_from_before_thinking_keep_their_sampling(model):
    body = {**asked("chat"), "model": model, "reasoning_effort": "high", "temperature": 0.5}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    assert found.sent[0]["temperature"] == 0.5
    assert "thinking" not in found.sent[0]


CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
TOOL_USES = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(
    ("model", "thinking", "edits", "left"),
    [
        ("claude-3-5-haiku-20241022", {"type": "adaptive"}, [CLEAR], None),
        ("claude-3-5-haiku-20241022", {"type": "adaptive"}, [CLEAR, TOOL_USES], [TOOL_USES]),
        ("claude-3-opus-20240229", {"type": "enabled", "budget_tokens": 2000}, [CLEAR], None),
        ("claude-haiku-4-5", {"type": "adaptive"}, [CLEAR], None),
        ("claude-sonnet-4-6", {"type": "adaptive"}, [CLEAR], [CLEAR]),
        ("claude-sonnet-4-6", {"type": "disabled"}, [CLEAR, TOOL_USES], [TOOL_USES]),
    ],
)
def test_edits_of_thinking_go_where_there_is_none(model, thinking, edits, left):
    body = {
        "model": model,
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "hi"}],
        "thinking": thinking,
        "context_management": {"edits": edits},
    }
    claude = Claude.named(model)
    assert claude is not None
    sent = fitted(MessagesRequest(orjson.dumps(body)), claude).body
    assert sent.get("context_management", {}).get("edits") == left


def marks(value: Any) -> int:
    """How many marks stand in a body."""
    if isinstance(value, list):
        return sum(map(marks, value))
    if not isinstance(value, dict):
        return 0
    own = value.get("cache_control") == {"type": "ephemeral"}
    return own + sum(map(marks, value.values()))


SCHEMAS = [
    {"type": "object", "properties": {"cache_control": {"type": "string"}}},
    {"type": "object", "properties": {"a": {"type": "string", "enum": ["cache_control"]}}},
    {"type": "object", "properties": {"a": {"properties": {"cache_control": {}}}}},
    {"type": "object", "properties": {"a": {}}, "required": ["cache_control"]},
    {"type": "object", "properties": {"a": {"description": '"cache_control"'}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
async def test_a_property_that_is_called_like_a_mark_is_none(schema):
    body = {**asked("chat", schema=schema), "model": "claude-sonnet-4-5"}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    assert found.sent[0]["tools"][-1]["cache_control"] == {"type": "ephemeral"}
    assert marks(found.sent[0]) == 2


@pytest.mark.parametrize("blank", ["\n", " ", "\t\n", "  \r\n", "\n\n\n"], ids=repr)
async def test_a_blank_text_gets_no_mark(blank):
    said = [{"type": "text", "text": "look"}, {"type": "text", "text": blank}]
    body = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": said}]}
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    blocks = found.sent[0]["messages"][0]["content"]
    assert "cache_control" in blocks[0]
    assert all("cache_control" not in block for block in blocks[1:])

"""The order of turns, blank texts and begun answers, as each API wants them.

Sources: `mistral-common` ("Unexpected role 'user' after role 'tool'"), the chat templates of
Mistral and Gemma ("roles must alternate"), the Messages API ("text content blocks must contain
non-whitespace text"), the migration guide for Claude Opus 4.6 (no begun answers).
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.receipts.rich import IMAGE
from tests.wire.adapted import PLUGINS, preset, told

pytestmark = pytest.mark.anyio

TOOL = {"name": "Read", "description": "d", "input_schema": {"type": "object", "properties": {}}}
ASK = {"role": "user", "content": "go"}
CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "abcdefghi", "name": "Read", "input": {}}]}  # fmt: skip
RESULT = {"type": "tool_result", "tool_use_id": "abcdefghi", "content": "all fine"}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def body(*messages: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 99, "messages": list(messages), "tools": [TOOL], **more}


BESIDE = {
    "a text": (ASK, CALL, user(RESULT, text("go on"))),
    "a reminder": (ASK, CALL, user(RESULT, text("<system-reminder>x</system-reminder>"))),
    "two texts": (ASK, CALL, user(RESULT, text("go on"), text("now"))),
    "a turn of its own": (ASK, CALL, user(RESULT), user(text("go on"))),
    "a system turn": (ASK, CALL, user(RESULT), {"role": "system", "content": "go on"}),
    "an image": (ASK, CALL, user(RESULT, IMAGE)),
    "an image in the result": (ASK, CALL, user({**RESULT, "content": [text("all fine"), IMAGE]})),
    "two turns of the user": (ASK, user(text("and this"))),
    "two answers": (ASK, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}, ASK),
}  # fmt: skip


def in_order(sent: dict[str, Any]) -> bool:
    """Whether the roles are as Mistral and its template want them."""
    roles = [message["role"] for message in sent["messages"] if message["role"] != "system"]
    pairs = list(itertools.pairwise(roles))
    return all(a == b == "tool" or (a != b and (a, b) != ("tool", "user")) for a, b in pairs)


@pytest.mark.lenient("chat.enums")  # its tool messages may hold images
@pytest.mark.parametrize("messages", BESIDE.values(), ids=BESIDE)
async def test_mistral_gets_what_stands_beside_a_result_in_the_result(messages):
    found = await told(preset("mistral"), [body(*messages)])
    assert found.answers[0].status_code == 200
    assert in_order(found.sent[0])
    whole = str(found.sent[0])
    for words in ("go on", "all fine", "and this", "now"):
        assert (words in whole) is (words in str(messages)), words
    assert ("image_url" in whole) is ("image" in str(messages))


@pytest.mark.lenient("chat.enums")
@pytest.mark.parametrize(
    "words",
    [
        "Unexpected role 'user' after role 'tool'",
        "After the optional system message, conversation roles must alternate user/assistant/...",
        "Conversation roles must alternate user/assistant/user/assistant/...",
    ],
)
@pytest.mark.parametrize("messages", BESIDE.values(), ids=BESIDE)
async def test_a_server_with_such_a_template_is_asked_again_once(messages, words):
    found = await told(
        PLUGINS["chat"],
        [body(*messages), body(*messages)],
        refuses=lambda got: None if in_order(got) else {"error": {"message": words}},
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    assert len(found.sent) == 3
    assert any("into the result" in line or "merged" in line for line in found.lines)


def rendered(sent: dict[str, Any]) -> dict[str, Any]:
    """The turns that a server of the Messages API makes of a request: first the results of a turn,
    each as one of the tool, and what stands beside them as one of the user (`convert_anthropic_to_oai`
    of llama-server, `convertMessage` of Ollama)."""
    turns: list[dict[str, Any]] = []
    for message in sent["messages"]:
        content = message["content"]
        blocks = content if isinstance(content, list) else [text(content)]
        results = [block for block in blocks if block["type"] == "tool_result"]
        turns += [{"role": "tool"} for _ in results]
        if len(results) < len(blocks):
            turns.append({"role": message["role"]})
    return {"messages": turns}


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "server", ["llama-server", "lmstudio", "ollama", "vllm", "anthropic-compatible"]
)
@pytest.mark.parametrize("messages", BESIDE.values(), ids=BESIDE)
async def test_a_server_of_the_messages_api_with_such_a_template_is_asked_again_once(
    messages, server, status
):
    words = "conversation roles must alternate user and assistant roles except for tool calls"
    found = await told(
        PLUGINS[server],
        [body(*messages), body(*messages)],
        refuses=lambda got: None if in_order(rendered(got)) else {"error": {"message": words}},
        status=status,
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    first, *others = found.sent
    assert len(others) == 2 - in_order(rendered(first))
    assert others[-1] == others[0]
    for said in ("go on", "all fine", "and this", "now", "image"):
        assert (said in str(others[0])) is (said in str(messages)), said


NO_THINKING = (
    "2 validation errors:\n {'type': 'literal_error', 'loc': ('body', 'messages', 1, 'content', 0, "
    "'type'), 'msg': \"Input should be 'text', 'image', 'tool_use' or 'tool_result'\", 'input': "
    "'thinking'}"
)


@pytest.mark.parametrize("server", ["vllm", "llama-server", "anthropic-compatible"])
async def test_thinking_that_a_server_does_not_take_back_is_left_out_from_then_on(server):
    """intel/llm-scaler#341: it sends thinking, and refuses the conversation with it."""
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "c2lnbmF0dXJl"}
    request = body(ASK, {**CALL, "content": [thought, *CALL["content"]]}, user(RESULT))
    found = await told(
        PLUGINS[server],
        [request, request],
        refuses=lambda got: (
            {"message": NO_THINKING, "object": "error"} if "'thinking'" in str(got) else None
        ),
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    assert [got["messages"][1] == CALL for got in found.sent] == [False, True, True]


SERVERS = ["chat", "responses", "gemini", "anthropic-compatible", "llama-server", "ollama", "vllm"]


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("blank", ["\n", " ", "\n\n\t", "  \r\n"], ids=repr)
async def test_a_blank_text_of_the_assistant_is_sent_to_nobody(server, blank):
    said = [text(blank), *CALL["content"]]
    found = await told(
        PLUGINS[server],
        [body(ASK, {"role": "assistant", "content": said}, user(RESULT))],
    )
    sent = found.sent[0]
    turns = sent.get("messages") or sent.get("input") or sent["contents"]
    assert not any(holds(turn, blank) for turn in turns)
    assert any("blank" in line for line in found.lines)


def holds(turn: Any, words: str) -> bool:
    """Whether a turn has exactly these words as a text."""
    if isinstance(turn, dict):
        said = [turn.get("text"), turn.get("content")]
        return words in said or any(holds(item, words) for item in turn.values())
    return isinstance(turn, list) and any(holds(item, words) for item in turn)


REFUSES = "This model does not support assistant message prefill. The conversation must end with a user message."  # fmt: skip


@pytest.mark.parametrize("server", ["anthropic-compatible", "vllm", "llama-server"])
async def test_a_begun_answer_that_is_refused_is_left_out_from_then_on(server):
    request = body(ASK, {"role": "assistant", "content": "{"})
    found = await told(
        PLUGINS[server],
        [request, request],
        refuses=lambda got: (
            {"error": {"message": REFUSES}} if got["messages"][-1]["role"] == "assistant" else None
        ),
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    assert [got["messages"][-1]["role"] for got in found.sent] == ["assistant", "user", "user"]


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("claude-opus-4-6", False),
        ("claude-sonnet-4-6", False),
        ("claude-opus-4-7", False),
        ("claude-sonnet-5", False),
        ("claude-sonnet-4-5", True),
        ("claude-3-5-haiku-20241022", True),
    ],
)
async def test_newer_claude_models_get_no_begun_answer_from_clients_of_other_apis(model, kept):
    request = {"model": model, "messages": [ASK, {"role": "assistant", "content": "{"}]}
    found = await told(PLUGINS["anthropic"], [request], dialect="chat")
    last = found.sent[0]["messages"][-1]["role"]
    assert (last == "assistant") is kept


@pytest.mark.parametrize("server", ["chat", "gemini", "responses"])
async def test_a_late_system_turn_keeps_its_place(server):
    late = {"role": "system", "content": "be brief"}
    found = await told(
        PLUGINS[server], [body(ASK, {"role": "assistant", "content": "a"}, late, ASK)]
    )
    sent = found.sent[0]
    turns = sent.get("messages") or sent.get("input") or sent["contents"]
    assert "be brief" in str(turns[2])
    role = turns[2]["role"]
    assert role == ("developer" if server == "responses" else "user")


async def test_openrouter_whose_models_have_all_kinds_of_templates_gets_reminders():
    late = {"role": "system", "content": "be brief"}
    found = await told(preset("openrouter"), [body(ASK, late, ASK)])
    assert [turn["role"] for turn in found.sent[0]["messages"]] == ["user", "user", "user"]

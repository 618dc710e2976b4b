"""A server that rejects the thinking of a conversation gets the conversation without it.

The words are Anthropic's. Seen after a change of model, account or cloud (vybestack/llxprt-code#2335,
nguyenphutrong/quotio#218): every further request fails, because the client sends the block again.
"""

import pytest

from plugway.testing import (
    ScriptedUpstream,
    anthropic_error,
    anthropic_message,
    build_plugin,
    gateway,
    respond,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_signature import signature
from plugway_thinking import Thinking
from plugway_thinking._refused import MOST_REMEMBERED, Rejected

pytestmark = pytest.mark.anyio

REJECTIONS = [
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    "messages.1.content.0: `thinking` or `redacted_thinking` blocks in the latest assistant message "
    "cannot be modified. These blocks must remain as they were in the original response.",
]
NO_BLOCK = (
    "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. "
    "When `thinking` is enabled, a final `assistant` message must start with a thinking block."
)
CALL = {"type": "tool_use", "id": "t1", "name": "Read", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "x"}]}


def refused(words):
    return anthropic_error(400, "invalid_request_error", words)


def conversation(mark, *, more=()):
    thought = {"type": "thinking", "thinking": "hm", "signature": mark}
    turn = {"role": "assistant", "content": [thought, CALL]}
    return {
        "model": "up/m",
        "max_tokens": 9000,
        "thinking": {"type": "enabled", "budget_tokens": 2000},
        "tools": [{"name": "Read", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": "go"}, turn, RESULT, *more],
    }


async def sent(*requests, answers, native):
    """What arrived, and the statuses of the replies."""
    async with ScriptedUpstream(*answers) as upstream:
        plugins = [
            build_plugin(Thinking, "thinking"),
            build_plugin(ErrorNormalizer, "error-normalizer"),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url, native_errors=native),
        ]
        async with gateway(plugins) as running:
            statuses = [(await running.post(body)).status_code for body in requests]
        return [request.json for request in upstream.requests], statuses


def thoughts(body):
    return [
        block
        for message in body["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if "thinking" in block["type"]
    ]


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("words", REJECTIONS)
async def test_blocks_that_a_server_rejects_are_left_out_from_then_on(words, native):
    mark = "Zm9v" if native else signature("up", "m", {"sig": "Zm9v"}, "")
    fresh = "bmV3" if native else signature("up", "m", {"sig": "bmV3"}, "")
    first = conversation(mark)
    later = conversation(mark, more=conversation(fresh)["messages"][1:])
    ok = respond(200, anthropic_message("ok"))
    bodies, statuses = await sent(first, later, answers=[refused(words), ok, ok], native=native)
    assert statuses == [200, 200]
    assert [len(thoughts(body)) for body in bodies] == [1, 0, 1]
    assert thoughts(bodies[2])[0]["signature"] == "bmV3"


@pytest.mark.parametrize("native", [True, False])
async def test_thinking_is_off_where_the_server_requires_blocks_that_it_does_not_get(native):
    ok = respond(200, anthropic_message("ok"))
    answers = [refused(REJECTIONS[0]), refused(NO_BLOCK), ok]
    mark = "Zm9v" if native else signature("up", "m", {"sig": "Zm9v"}, "")
    edits = {"edits": [{"type": "clear_thinking_20251015"}]}
    body = {**conversation(mark), "context_management": edits}
    bodies, statuses = await sent(body, answers=answers, native=native)
    assert statuses == [200]
    for field in ("thinking", "context_management"):  # edits of thinking require thinking
        assert [field in body for body in bodies] == [True, True, False]


@pytest.mark.parametrize("words", [*REJECTIONS, NO_BLOCK])
async def test_a_server_that_rejects_what_is_not_there_is_asked_once(words):
    body = conversation("Zm9v")
    del body["thinking"]
    body["messages"][1]["content"] = [CALL]
    bodies, statuses = await sent(body, answers=[refused(words)], native=True)
    assert (len(bodies), statuses) == (1, [400])


async def test_other_refusals_change_nothing():
    words = "messages.0.content: a thinking block is not allowed here"
    bodies, statuses = await sent(conversation("Zm9v"), answers=[refused(words)], native=True)
    assert (len(bodies), statuses) == (1, [400])


async def test_an_error_that_only_quotes_such_words_takes_the_thinking_from_one_retry():
    quoted = f"invalid input in messages.2: {REJECTIONS[0]}"
    ok = respond(200, anthropic_message("ok"))
    body = conversation("Zm9v")
    bodies, statuses = await sent(
        body, body, answers=[refused(quoted), refused(quoted), ok], native=True
    )
    assert statuses == [400, 200]
    assert [len(thoughts(body)) for body in bodies] == [1, 0, 1]


def test_the_oldest_signatures_are_forgotten():
    rejected = Rejected()
    blocks = [{"type": "thinking", "signature": str(n)} for n in range(MOST_REMEMBERED + 1)]
    rejected.add([{"role": "assistant", "content": blocks}])
    assert ("0" in rejected, "1" in rejected, str(MOST_REMEMBERED) in rejected) == (
        False,
        True,
        True,
    )

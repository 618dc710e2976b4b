"""Refusals that teach: learnt, asked again once, and on the receipt.

Sources: the words of Groq ("'tools' : maximum number of items is 128"), pydantic (vLLM, Mistral),
OpenAI's error codes, `At most N image(s)` of vLLM.
"""

from __future__ import annotations

from typing import Any

import pytest

from plugway.testing import ReceivedRequest, ScriptedUpstream, respond
from tests.receipts.rich import IMAGE
from tests.receipts.servers import answer
from tests.wire.adapted import PLUGINS, told
from tests.wire.ways import PATHS, asked, between

pytestmark = pytest.mark.anyio

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
USED = [
    {"role": "user", "content": "go"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "t8", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "ok"}]},
]
TOOLS = [
    {"name": f"t{n}", "description": "d", "input_schema": SCHEMA, "defer_loading": n in (1, 2)}
    for n in range(10)
]


def openai(words: str) -> dict[str, Any]:
    return {"error": {"message": words, "type": "invalid_request_error"}}


def names(body: dict[str, Any]) -> list[str]:
    """The names of the tools in a body."""
    if body["tools"] and "functionDeclarations" in body["tools"][0]:
        return [tool["name"] for tool in body["tools"][0]["functionDeclarations"]]
    return [tool.get("function", tool)["name"] for tool in body["tools"]]


@pytest.mark.parametrize(
    "words",
    [
        "'tools' : maximum number of items is 4",
        "Invalid 'tools': array too long. Expected an array with maximum length 4, but got 10.",
        "tools: List should have at most 4 items after validation, not 10",
        "This model supports at most 4 tools",
        "Too many tools (10). Maximum is 4.",
        "Maximum number of tools exceeded: 4",
    ],
)
@pytest.mark.parametrize("server", ["chat", "responses", "anthropic-compatible", "vllm"])
async def test_tools_beyond_a_limit_are_left_out_the_deferred_and_unused_ones_first(server, words):
    body = {
        "model": "m",
        "max_tokens": 99,
        "messages": USED,
        "tools": TOOLS,
        "tool_choice": {"type": "tool", "name": "t9"},
    }
    found = await told(
        PLUGINS[server],
        [body, body],
        refuses=lambda got: openai(words) if len(got["tools"]) > 4 else None,
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    assert [names(got) for got in found.sent[1:]] == [["t0", "t3", "t8", "t9"]] * 2
    lines = "\n".join(found.lines)
    assert "the server accepts 4: 6 unused so far are left out" in lines


@pytest.mark.parametrize("server", ["chat", "anthropic-compatible"])
async def test_the_receipt_says_what_was_learnt(server):
    body = {"model": "m", "max_tokens": 99, "messages": USED, "tools": TOOLS}
    found = await told(
        PLUGINS[server],
        [body],
        refuses=lambda got: (
            openai("'tools' : maximum number of items is 4") if len(got["tools"]) > 4 else None
        ),
    )
    assert "retried after a refusal: tools limit: 4" in found.lines


@pytest.mark.parametrize(
    "words",
    [
        "'stop' : maximum number of items is 2",
        "Only up to 2 stop sequences are supported.",
        "stop: List should have at most 2 items",
    ],
)
@pytest.mark.parametrize(("server", "field"), [("chat", "stop"), ("vllm", "stop_sequences")])
async def test_stop_sequences_beyond_a_limit_are_not_sent(server, field, words):
    body = {
        "model": "m",
        "max_tokens": 99,
        "messages": USED[:1],
        "stop_sequences": ["a", "b", "c"],
    }
    found = await told(
        PLUGINS[server],
        [body],
        refuses=lambda got: openai(words) if len(got.get(field, ())) > 2 else None,
    )
    assert [got[field] for got in found.sent] == [["a", "b", "c"], ["a", "b"]]
    assert found.answers[0].status_code == 200


@pytest.mark.parametrize(
    "words",
    [
        "At most 1 image(s) may be provided in one prompt.",
        "Too many images provided. This model supports up to 1 images",
        "messages: too many images: 3 > 1",
    ],
)
@pytest.mark.parametrize("server", ["chat", "responses", "anthropic-compatible"])
async def test_the_last_images_stay_where_a_server_takes_few(server, words):
    turns = [
        {"role": "user", "content": [{"type": "text", "text": f"look {n}"}, IMAGE]}
        for n in range(3)
    ]
    data = IMAGE["source"]["data"]  # type: ignore[index]
    found = await told(
        PLUGINS[server],
        [{"model": "m", "max_tokens": 99, "messages": turns}],
        refuses=lambda got: openai(words) if str(got).count(data) > 1 else None,
    )
    assert found.answers[0].status_code == 200
    assert [str(got).count(data) for got in found.sent] == [3, 1]
    last = str(found.sent[1])
    assert last.index("look 2") < last.index(data)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        ("temperature: Extra inputs are not permitted", "temperature"),
        ("Unsupported parameter: 'top_p' is not supported with this model.", "top_p"),
        ("property 'temperature' is unsupported", "temperature"),
        ("Unrecognized request argument supplied: top_p", "top_p"),
        ("Argument not supported on this model: temperature", "temperature"),
    ],
)
@pytest.mark.parametrize("server", ["chat", "responses", "anthropic-compatible", "lmstudio"])
async def test_a_field_that_is_refused_is_left_out(server, words, field):
    body = {
        "model": "m",
        "max_tokens": 99,
        "messages": USED[:1],
        "temperature": 0.5,
        "top_p": 0.9,
    }
    found = await told(
        PLUGINS[server], [body], refuses=lambda got: openai(words) if field in got else None
    )
    assert found.answers[0].status_code == 200
    assert [field in got for got in found.sent] == [True, False]


@pytest.mark.parametrize("server", ["chat", "responses", "anthropic-compatible"])
async def test_a_refusal_that_teaches_nothing_new_is_told_after_one_more_request(server):
    body = {"model": "m", "max_tokens": 99, "messages": USED, "tools": TOOLS}
    words = "'tools' : maximum number of items is 4"
    found = await told(PLUGINS[server], [body, body], refuses=lambda got: openai(words))
    assert [answer.status_code for answer in found.answers] == [400, 400]
    assert words in found.answers[1].text
    assert len(found.sent) == 3


@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("server", ["chat", "anthropic-compatible"])
async def test_a_length_that_allows_nothing_is_not_learnt(server, most):
    words = (
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum "
        f"length {most}, but got a string with length 9 instead."
    )
    body = {"model": "m", "max_tokens": 99, "messages": USED, "tools": TOOLS}
    found = await told(PLUGINS[server], [body], refuses=lambda got: openai(words))
    assert found.answers[0].status_code == 400
    assert len(found.sent) == 1


BETAS = "interleaved-thinking-2025-05-14,other-2026-01-01"


@pytest.mark.parametrize(
    ("words", "left"),
    [
        ("invalid beta flag", None),
        (
            "Unexpected value(s) `other-2026-01-01` for the `anthropic-beta` header.",
            "interleaved-thinking-2025-05-14",
        ),
    ],
)
async def test_beta_features_that_a_server_rejects_are_not_sent_to_it_again(words, left):
    """Bedrock behind a gateway names none of them (router-for-me/CLIProxyAPI#4750)."""

    def answers(request: ReceivedRequest) -> Any:
        sent = request.header("anthropic-beta")
        return answer(request) if sent == left else respond(400, refused)

    refused = {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    async with (
        ScriptedUpstream(otherwise=answers) as server,
        between("anthropic-compatible", server) as gateway,
    ):
        for _ in range(2):
            lines = {"anthropic-beta": BETAS}
            answered = await gateway.client.post(
                PATHS["messages"], json=asked("messages"), headers=lines
            )
            assert answered.status_code == 200
    assert len(server.requests) == 3

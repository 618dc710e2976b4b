"""A field that is too long is no prompt that is too long: no client should compact for it.

Sources: OpenAI's "Error codes" guide (`string_above_max_length`, with `param`), the errors of
pydantic (`string_too_long`), which vLLM, Mistral and Anthropic tell, and those of AWS's SDKs.
"""

from __future__ import annotations

from typing import Any

import pytest

from plugway.testing import ScriptedUpstream, respond
from plugway_openai_wire.testing import chat_server
from tests.wire.ways import BACKENDS, PATHS, asked, between

pytestmark = pytest.mark.anyio


def openai(param: str | None, field: str, most: int, came: int) -> dict[str, Any]:
    """OpenAI's refusal of a text."""
    text = (
        f"Invalid '{field}': string too long. Expected a string with maximum length {most}, "
        f"but got a string with length {came} instead."
    )
    code = "string_above_max_length"
    error = {"message": text, "type": "invalid_request_error", "param": param, "code": code}
    return {"error": error}


def pydantic(*place: str | int) -> dict[str, Any]:
    text = "String should have at most 64 characters"
    return {"detail": [{"type": "string_too_long", "loc": ["body", *place], "msg": text}]}


def plain(text: str) -> dict[str, Any]:
    return {"error": {"message": text, "type": "invalid_request_error"}}


BEDROCK = (
    "1 validation error detected: Value at 'toolConfig.tools.1.member.toolSpec.description' failed "
    "to satisfy constraint: Member must have length less than or equal to 1024"
)
FIELDS = {
    "metadata": openai("metadata.user_id", "metadata.user_id", 18, 19),
    "a tool's description": openai(None, "tools[0].function.description", 1024, 3000),
    "a description, Responses": openai("tools[0].description", "tools[0].description", 1024, 3000),
    "the id of an item": openai("input[2].id", "input[2].id", 64, 70),
    "the id of a call": openai(
        "messages[2].tool_calls[0].id", "messages[2].tool_calls[0].id", 40, 83
    ),
    "a turn's name": openai("messages[0].name", "messages[0].name", 64, 65),
    "safety_identifier": openai("safety_identifier", "safety_identifier", 128, 150),
    "prompt_cache_key": openai("prompt_cache_key", "prompt_cache_key", 64, 90),
    "a format's name": openai(
        "response_format.json_schema.name", "response_format.json_schema.name", 64, 90
    ),
    "an image's address": openai(
        "messages[0].content[1].image_url.url", "messages[0].content[1].image_url.url", 20971520, 2
    ),
    "metadata, by pydantic": pydantic("metadata", "user_id"),
    "a name, by pydantic": pydantic("tools", 0, "function", "name"),
    "a name, in Anthropic's words": plain(
        "tools.0.custom.name: String should have at most 128 characters"
    ),
    "a description, Bedrock": plain(BEDROCK),
    "a description, in other words": plain("tools[3].function.description is too long"),
    "metadata, in other words": plain("metadata.user_id: input is too long"),
}
PROMPTS = {
    "a turn": openai("messages[1].content", "messages[1].content", 1048576, 1048999),
    "a part": openai(None, "messages[1].content[0].text", 1048576, 1048999),
    "an input": openai("input", "input", 10485760, 10485999),
    "a part of an input": openai("input[3].content[0].text", "input[3].content[0].text", 9, 10),
    "an output of a tool": openai("input[3].output", "input[3].output", 10485760, 10485999),
    "instructions": openai("instructions", "instructions", 1048576, 1048999),
    "a turn, by pydantic": pydantic("messages", 0, "content"),
}


async def refused(backend: str, dialect: str, body: dict[str, Any]) -> tuple[int, str, Any]:
    """The status, text and code that a client gets for a refusal."""
    async with (
        ScriptedUpstream(otherwise=respond(400, body)) as server,
        between(backend, server) as running,
    ):
        answer = await running.post(asked(dialect), PATHS[dialect])
        error = answer.json().get("error") or {"message": answer.text}
        return answer.status_code, error["message"], error.get("code")


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("body", FIELDS.values(), ids=FIELDS)
async def test_a_field_that_is_too_long_is_no_overflow(
    body: dict[str, Any], backend: str, dialect: str
):
    status, text, code = await refused(backend, dialect, body)
    said = body["error"]["message"] if "error" in body else body["detail"][0]["msg"]
    assert (status, code == "context_length_exceeded") == (400, False)
    assert said.rstrip(".") in text
    assert "prompt is too long" not in text


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("body", PROMPTS.values(), ids=PROMPTS)
async def test_a_text_of_the_prompt_that_is_too_long_is_an_overflow(
    body: dict[str, Any], backend: str, dialect: str
):
    if backend == dialect:
        pytest.skip("the server's own words are what its own client knows")
    status, text, _ = await refused(backend, dialect, body)
    assert status == 400
    assert "prompt is too long" in text


LEARNT = {
    "chat": {
        "a description": (openai(None, "tools[0].function.description", 20, 50), "description"),
    },
    "responses": {
        "a description": (openai(None, "tools[0].description", 20, 50), "description"),
        "who asks": (openai("safety_identifier", "safety_identifier", 20, 64), "safety_identifier"),
        "a key": (openai("prompt_cache_key", "prompt_cache_key", 20, 32), "prompt_cache_key"),
        "who asks, by pydantic": (
            {
                "detail": [
                    {
                        "type": "string_too_long",
                        "loc": ["body", "safety_identifier"],
                        "msg": "String should have at most 20 characters",
                    }
                ]
            },
            "safety_identifier",
        ),
    },
}


def text_of(body: dict[str, Any], field: str) -> str:
    """The text that was sent in a field."""
    if field != "description":
        return body[field]
    tool = body["tools"][0]
    return tool.get("function", tool)["description"]


@pytest.mark.parametrize(
    ("backend", "body", "field"),
    [(backend, *row) for backend, rows in LEARNT.items() for row in rows.values()],
    ids=[f"{backend}: {name}" for backend, rows in LEARNT.items() for name in rows],
)
async def test_a_text_that_can_be_shorter_is_asked_with_again(
    backend: str, body: dict[str, Any], field: str
):
    """And the lesson holds for the next request, which is not refused any more."""
    whole = chat_server("Yes.")
    refusal = respond(400, body)
    asking = asked(
        "messages",
        description="Reads a file of the disk, and says what is in it.",
        metadata={"user_id": "u" * 150},
    )
    async with (
        ScriptedUpstream(refusal, otherwise=whole) as server,
        between(backend, server) as running,
    ):
        for _ in range(2):
            await running.post(asking)
        first, *later = [text_of(r.json, field) for r in server.requests if r.method == "POST"]
        assert len(later) == 2
        assert len(first) > 20
        assert [len(text) for text in later] == [20, 20]

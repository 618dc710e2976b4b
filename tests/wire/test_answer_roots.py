"""Answers by a schema whose root is no object: lists, enums, numbers, unions.

Google's clients send them (ai.google.dev/gemini-api/docs/structured-output: `list[Recipe]`, an
`enum.Enum`), and Anthropic's SDK for any type. OpenAI requires an object: "Root objects must not
be anyOf and must be an object" in its guide to structured outputs; "schema must be a JSON Schema
of 'type: \\"object\\"', got 'type: \\"array\\"'" in podly-pure-podcasts/podly_pure_podcasts#89.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from gemini_answers import answered, piece
from gemini_answers import text as gemini_text
from openai_answers import answer_of, message, streamed

from plugway.testing import (
    ReceivedRequest,
    StrictUpstream,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    parse_sse,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_gemini import Gemini
from plugway_gemini_api import GeminiApi
from plugway_openai import OpenAI
from plugway_openai_wire._answer import AnswerText
from plugway_openai_wire.testing import chat_message, chunk, data
from plugway_translation import ANY_SCHEMA, clean_schema, is_object

pytestmark = pytest.mark.anyio

ITEM = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "size": {"type": "integer"}},
    "required": ["name", "size"],
    "additionalProperties": False,
}
ITEMS = [{"name": "a }", "size": 1}, {"name": '{"answer": "b"}', "size": 2}]
SCHEMAS: Mapping[str, tuple[dict[str, Any], Any]] = {
    "list": ({"type": "array", "items": ITEM}, ITEMS),
    "reference": (
        {"type": "array", "items": {"$ref": "#/$defs/Item"}, "$defs": {"Item": ITEM}},
        ITEMS,
    ),
    "enum": ({"type": "string", "enum": ["red", "}"]}, "}"),
    "number": ({"type": "integer"}, 7),
    "list or null": ({"anyOf": [{"type": "array", "items": ITEM}, {"type": "null"}]}, ITEMS),
    "object or list": ({"anyOf": [ITEM, {"type": "array", "items": ITEM}]}, ITEMS[0]),
    "object": (ITEM, ITEMS[0]),
}
"""Schemas by name, each with a value of it."""
BACKENDS: Mapping[str, Any] = {
    "anthropic": (Anthropic, "claude-sonnet-4-5", {}),
    "chat": (OpenAI, "gpt-5", {"api": "chat"}),
    "responses": (OpenAI, "gpt-5", {}),
    "gemini": (Gemini, "gemini-3-pro", {}),
}
"""By API: the vendor's backend with one of its models."""


def schema_in(body: Mapping[str, Any]) -> Any:
    """The schema of the answer in a request of any of the four APIs."""
    chat = body.get("response_format", {}).get("json_schema", {}).get("schema")
    responses = body.get("text", {}).get("format", {}).get("schema")
    claude = body.get("output_config", {}).get("format", {}).get("schema")
    config = body.get("generationConfig", {})
    gemini = config.get("responseSchema") or config.get("responseJsonSchema")
    return chat or responses or claude or gemini


def obeys(value: Any, indent: int | None = None, spoken: str = "") -> Any:
    """A server whose model writes `value` by the schema that it gets; or `spoken`, whatever the
    schema says."""

    def answer(request: ReceivedRequest) -> Any:
        if request.method == "GET":
            return respond(404, {"error": {"message": "no list"}})
        body = request.json
        wrapped = "answer" in schema_in(body).get("properties", {})
        text = spoken or json.dumps({"answer": value} if wrapped else value, indent=indent)
        pieces = [text[at : at + 3] for at in range(0, len(text), 3)]
        if "contents" in body:
            return answered(request, piece(*map(gemini_text, pieces), finish="STOP"))
        if "input" in body:
            made = answer_of(message(text))
            return streamed(made) if body.get("stream") else respond(200, made)
        if "/chat/" in request.path:
            if not body.get("stream"):
                return respond(200, chat_message(text))
            chunks = [chunk({"content": part}) for part in pieces]
            return sse([*map(data, chunks), data(chunk({}, "stop")), b"data: [DONE]\n\n"])
        if body.get("stream"):
            return sse(anthropic_stream(pieces))
        return respond(200, anthropic_message(text))

    return answer


async def asked(api: str, answer: Any, schema: Any, *, stream: bool, client: str = "messages"):
    """The text that a client reads, and what reached the server."""
    backend, model, options = BACKENDS[api]
    async with StrictUpstream(api, otherwise=answer) as upstream:
        plugins = [
            build_plugin(GeminiApi, "gemini-api"),
            build_plugin(backend, "up", base_url=upstream.url, api_key="k", **options),
        ]
        async with gateway(plugins) as running:
            name = f"anthropic/up/{model}"
            if client == "gemini":
                turn = {"role": "user", "parts": [{"text": "hi"}]}
                form = {"responseMimeType": "application/json", "responseJsonSchema": schema}
                body = {"contents": [turn], "generationConfig": form}
                verb = "streamGenerateContent?alt=sse" if stream else "generateContent"
                path = f"/v1beta/models/{name}:{verb}"
            else:
                form = {"type": "json_schema", "schema": schema}
                body = {"model": name, "max_tokens": 999, "output_config": {"format": form}}
                body |= {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
                path = "/v1/messages"
            found = await running.client.post(path, json=body)
    assert upstream.refused == []
    [sent] = [request for request in upstream.requests if request.method == "POST"]
    assert found.status_code == 200, found.text
    return read(client, found, stream=stream), sent.json


def read(client: str, found: httpx2.Response, *, stream: bool) -> str:
    """The text of an answer."""
    events = [told for _, told in parse_sse(found.content)] if stream else [found.json()]
    if client == "gemini":
        parts = [p for told in events for p in told["candidates"][0]["content"]["parts"]]
        return "".join(part["text"] for part in parts)
    if not stream:
        return "".join(block["text"] for block in events[0]["content"])
    deltas = [told["delta"] for told in events if told["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas if delta["type"] == "text_delta")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("client", ["messages", "gemini"])
@pytest.mark.parametrize("api", BACKENDS)
@pytest.mark.parametrize("name", SCHEMAS)
async def test_an_answer_has_the_root_that_its_schema_says(name, api, client, stream):
    schema, value = SCHEMAS[name]
    told, sent = await asked(api, obeys(value), schema, stream=stream, client=client)
    assert json.loads(told) == value
    wrapped = list(schema_in(sent).get("properties", {})) == ["answer"]
    assert wrapped is (api in ("chat", "responses") and name != "object")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_an_answer_with_spaces_and_lines_is_taken_out_of_its_object(api, stream):
    schema, value = SCHEMAS["list"]
    told, _ = await asked(api, obeys(value, indent=2), schema, stream=stream)
    assert json.loads(told) == value


@pytest.mark.parametrize(
    "spoken",
    ["[]", "I cannot.", '{"answers": 1}', '{"name": "x", "size": 1}', "{", '  {"ans', " \n ", '{"answer" '],
    ids=range(8),
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_what_ignores_the_schema_stays_as_it_is(api, stream, spoken):
    told, _ = await asked(api, obeys(0, spoken=spoken), SCHEMAS["list"][0], stream=stream)
    assert told == spoken


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_that_was_cut_off_is_not_completed(stream):
    spoken = '{"answer": [{"name": "a'
    told, _ = await asked("chat", obeys(0, spoken=spoken), SCHEMAS["list"][0], stream=stream)
    assert told == '[{"name": "a'


async def test_references_to_a_root_that_was_moved_are_moved_with_it():
    tree = {"type": "array", "items": {"$ref": "#"}}
    _, sent = await asked("chat", obeys([[], []]), tree, stream=False)
    assert schema_in(sent)["properties"]["answer"]["items"] == {"$ref": "#/properties/answer"}


@pytest.mark.timeout(20)  # without end, if each reference is followed every time
@pytest.mark.parametrize("last", [{"type": "object"}, {"type": "array"}, {"$ref": "#/$defs/0"}])
def test_many_references_cost_no_time(last):
    names = [str(number) for number in range(40)]
    defs = {name: {"anyOf": [{"$ref": f"#/$defs/{int(name) + 1}"}] * 10} for name in names}
    schema = {"anyOf": [{"$ref": "#/$defs/0"}] * 10, "$defs": {**defs, "40": last}}
    assert is_object(schema) is (last.get("type") != "array")
    assert clean_schema(schema, ANY_SCHEMA)[0]["type"] == "object"


@pytest.mark.parametrize("size", [1, 3, 1000])
async def test_spaces_without_end_are_not_held_back(size):
    text = AnswerText()
    told = "".join(text.feed('{"answer": [1]}' if not at else " " * size) for at in range(9000))
    assert told.startswith("[1]")
    assert len(told) > 9000 * size - 8192

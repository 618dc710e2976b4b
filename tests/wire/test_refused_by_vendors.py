"""What every turn of a session would be refused for: put right or left out, and on the receipt.

The upstreams refuse what their vendors do (`plugway.testing.StrictUpstream`, with the sources).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from plugway import Plugin
from plugway.testing import StrictUpstream, build_plugin, gateway, respond
from plugway_anthropic import Anthropic
from plugway_gemini_api import GeminiApi
from plugway_openai_api import OpenAIApi
from tests.wire.test_vendors import ANSWERS
from tests.wire.ways import BACKENDS, PATHS, asked

pytestmark = pytest.mark.anyio

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
GIF, WEBP = "R0lGODlhAQABAIAAAP8=", "UklGRiQAAABXRUJQVlA4IBgAAAA="
HEIC, BMP = "AAAAGGZ0eXBoZWljAAAAAA==", "Qk1GAAAAAAAAADYAAAA="
SVG = "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="
TARGETS: Mapping[str, tuple[Any, Any, str]] = {
    "anthropic": (
        lambda url: build_plugin(Anthropic, "up", base_url=url, api_key="k"),
        "anthropic",
        "claude-haiku-4-5",
    ),
    "anthropic-compatible": (BACKENDS["anthropic-compatible"], "anthropic", "m"),
    "chat": (BACKENDS["chat"], "chat", "m"),
    "responses": (BACKENDS["responses"], "responses", "m"),
    "gemini": (BACKENDS["gemini"], "gemini", "m"),
}
ANTHROPIC = ("anthropic", "anthropic-compatible")


async def told(
    target: str,
    dialect: str,
    body: Mapping[str, Any],
) -> tuple[dict[str, Any], int]:
    """What a vendor got, and how many changes the receipt has; it has refused nothing."""
    make, api, model = TARGETS[target]
    front: list[Plugin[Any]] = [
        build_plugin(OpenAIApi, "openai-api"),
        build_plugin(GeminiApi, "gemini-api"),
    ]
    async with (
        StrictUpstream(api, otherwise=respond(200, ANSWERS[api]), without=["key_header"]) as server,
        gateway([*front, make(server.url)]) as running,
    ):
        path = PATHS.get(dialect, f"/v1beta/models/{model}:generateContent")
        reply = await running.client.post(path, json={**body, "model": model})
        assert (server.refused, reply.status_code) == ([], 200), reply.text
        arrived = next(r for r in reversed(server.requests) if r.method == "POST")
        changes = reply.headers["plugway-receipt"].partition("changes=")[2]
        return arrived.json, int(changes.split(";")[0])


def showing(dialect: str, mime: str, data: str) -> dict[str, Any]:
    """A turn with an image in the API `dialect`."""
    url = f"data:{mime};base64,{data}"
    parts: Sequence[Any]
    match dialect:
        case "gemini":
            parts = [{"text": "look"}, {"inlineData": {"mimeType": mime, "data": data}}]
            return {"contents": [{"role": "user", "parts": parts}]}
        case "chat":
            parts = [{"type": "text", "text": "look"}]
            parts = [*parts, {"type": "image_url", "image_url": {"url": url}}]
            return asked("chat", messages=[{"role": "user", "content": parts}])
        case "responses":
            parts = [{"type": "input_text", "text": "look"}]
            parts = [*parts, {"type": "input_image", "image_url": url}]
            return asked("responses", input=[{"role": "user", "content": parts}])
        case _:
            source = {"type": "base64", "media_type": mime, "data": data}
            parts = [{"type": "text", "text": "look"}, {"type": "image", "source": source}]
            return asked("messages", messages=[{"role": "user", "content": parts}])


MENDED = {
    "upper case": ("image/PNG", PNG, "image/png", PNG),
    "another name of the type": ("image/jpg", "/9j/4AAQSkZJRg==", "image/jpeg", "/9j/4AAQSkZJRg=="),
    "line breaks": ("image/png", f"{PNG[:40]}\r\n{PNG[40:]}\n", "image/png", PNG),
    "alphabet of URLs": (
        "image/png",
        PNG.replace("+", "-").replace("/", "_").rstrip("="),
        "image/png",
        PNG,
    ),
    "no padding": ("image/png", PNG.rstrip("="), "image/png", PNG),
    "another type than its bytes": ("image/jpeg", PNG, "image/png", PNG),
    "no type of an image": ("application/octet-stream", WEBP, "image/webp", WEBP),
}
UNREADABLE = {
    "HEIC": ("image/heic", HEIC),
    "HEIC under another name": ("image/jpeg", HEIC),
    "BMP": ("image/bmp", BMP),
    "SVG": ("image/svg+xml", SVG),
    "of no type": ("application/octet-stream", "AAAA"),
    "empty": ("image/png", ""),
    "no base64": ("image/png", "a*b"),
}
SHOWN = [
    (target, dialect)
    for target in TARGETS
    for dialect in (*PATHS, "gemini")
    if dialect not in (target, "messages" if target in ANTHROPIC else "")
]


@pytest.mark.parametrize(("target", "dialect"), SHOWN)
@pytest.mark.parametrize("case", MENDED)
async def test_an_image_that_can_be_put_right_arrives_as_the_vendor_takes_it(
    target: str, dialect: str, case: str
):
    mime, data, true_mime, true_data = MENDED[case]
    arrived, _ = await told(target, dialect, showing(dialect, mime, data))
    assert true_mime in str(arrived)
    assert true_data in str(arrived)


@pytest.mark.parametrize(("target", "dialect"), SHOWN)
@pytest.mark.parametrize("case", UNREADABLE)
async def test_words_stand_for_an_image_that_no_vendor_reads(target: str, dialect: str, case: str):
    mime, data = UNREADABLE[case]
    if dialect == "gemini" and case in ("empty", "no base64"):
        return  # such a client is told so by itself
    if target == "gemini" and case.startswith("HEIC"):
        return  # Gemini reads it
    arrived, changes = await told(target, dialect, showing(dialect, mime, data))
    assert "left out" in str(arrived)
    assert not data or data not in str(arrived)
    assert changes


async def test_a_gif_goes_to_openai_and_not_to_gemini():
    arrived, _ = await told("chat", "messages", showing("messages", "image/gif", GIF))
    assert GIF in str(arrived)
    arrived, _ = await told("gemini", "messages", showing("messages", "image/gif", GIF))
    assert GIF not in str(arrived)


BLANK: Mapping[str, list[Any]] = {
    "chat": [
        {"role": "user", "content": " "},
        {"role": "user", "content": "  \n"},
        {"role": "user", "content": [{"type": "text", "text": "\t"}]},
        {"role": "user", "content": [{"type": "text", "text": " "}, {"type": "text", "text": "a"}]},
    ],
    "responses": [
        {"role": "user", "content": " "},
        {"role": "user", "content": [{"type": "input_text", "text": "\n"}]},
    ],
    "gemini": [
        {"role": "user", "parts": [{"text": " "}]},
        {"role": "user", "parts": [{"text": "\n"}, {"text": "a"}]},
    ],
}
TURNS = {"chat": "messages", "responses": "input", "gemini": "contents"}


def saying(dialect: str, turns: list[Any]) -> dict[str, Any]:
    if dialect == "gemini":
        return {"contents": turns}
    return asked(dialect, **{TURNS[dialect]: turns})


def by_assistant(dialect: str, text: str) -> dict[str, Any]:
    if dialect == "gemini":
        return {"role": "model", "parts": [{"text": text}]}
    return {"role": "assistant", "content": text}


def by_user(dialect: str, text: str) -> dict[str, Any]:
    if dialect == "gemini":
        return {"role": "user", "parts": [{"text": text}]}
    return {"role": "user", "content": text}


@pytest.mark.parametrize("dialect", BLANK)
@pytest.mark.parametrize("target", ANTHROPIC)
async def test_blank_texts_of_the_user_are_left_out_and_a_turn_of_them_says_so(
    target: str, dialect: str
):
    for turn in BLANK[dialect]:
        before = [by_user(dialect, "hello"), by_assistant(dialect, "yes")]
        arrived, changes = await told(target, dialect, saying(dialect, [*before, turn]))
        said = [block["text"] for block in arrived["messages"][-1]["content"]]
        assert said == (["a"] if "'a'" in str(turn) else ["[no text]"])
        assert changes


@pytest.mark.parametrize("begun", ["Sure: ", "```json\n", "a\n \t", "x\u00a0", "a\n\n"])
@pytest.mark.parametrize("dialect", BLANK)
@pytest.mark.parametrize("target", ANTHROPIC)
async def test_an_answer_that_is_begun_ends_without_a_blank(target: str, dialect: str, begun: str):
    turns = [by_user(dialect, "hello"), by_assistant(dialect, begun)]
    arrived, changes = await told(target, dialect, saying(dialect, turns))
    assert arrived["messages"][-1]["content"][-1]["text"] == begun.rstrip()
    assert changes


SCHEMAS: Mapping[str, Any] = {
    "an exclusive bound of draft 4": {"type": "integer", "minimum": 0, "exclusiveMinimum": True},
    "`required` in a property": {"type": "string", "required": True},
    "a list of items": {"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
    "a type that is none": {"type": "any"},
    "a type of Gemini": {"type": "STRING"},
    "a format of numbers": {"type": "string", "format": "int32"},
}


@pytest.mark.parametrize("case", SCHEMAS)
@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        ("anthropic", "chat"),
        ("anthropic-compatible", "responses"),
        ("chat", "messages"),
        ("responses", "chat"),
        ("gemini", "chat"),
    ],
)
async def test_a_schema_of_an_older_draft_or_another_notation_is_taken(
    target: str, dialect: str, case: str
):
    schema = {"type": "object", "properties": {"p": SCHEMAS[case]}}
    _, changes = await told(target, dialect, asked(dialect, schema=schema))
    assert changes or "format" in SCHEMAS[case]


@pytest.mark.parametrize("dialect", ["chat", "responses"])
@pytest.mark.parametrize("name", ["$filter", "filter[status]", "a b", "", "x" * 65])
async def test_a_property_whose_name_anthropic_refuses_is_left_out_and_told(
    dialect: str, name: str
):
    properties = {name: {"type": "string"}, "top": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": [name, "top"]}
    arrived, changes = await told("anthropic", dialect, asked(dialect, schema=schema))
    given = arrived["tools"][0]["input_schema"]
    assert (list(given["properties"]), given["required"]) == (["top"], ["top"])
    assert name in given["description"]
    assert changes


@pytest.mark.parametrize("target", ANTHROPIC)
async def test_of_more_than_four_marks_for_caching_the_last_stay(target: str):
    mark = {"cache_control": {"type": "ephemeral"}}
    parts = [{"type": "text", "text": f"x{at}", **mark} for at in range(6)]
    system = [{"type": "text", "text": "rules", **mark}]
    messages = [{"role": "system", "content": system}, {"role": "user", "content": parts}]
    arrived, changes = await told(target, "chat", asked("chat", messages=messages))
    assert [block["text"] for block in arrived["system"] if "cache_control" in block] == ["rules"]
    said = arrived["messages"][0]["content"]
    assert [block["text"] for block in said] == [f"x{at}" for at in range(6)]
    assert [b["text"] for b in said if "cache_control" in b] == ["x3", "x4", "x5"]
    assert changes


@pytest.mark.parametrize(
    ("target", "dialect"), [("chat", "responses"), ("responses", "chat"), ("gemini", "chat")]
)
async def test_an_answer_without_a_question_is_followed_by_a_user_who_says_go_on(
    target: str, dialect: str
):
    arrived, changes = await told(target, dialect, saying(dialect, [by_assistant(dialect, "well")]))
    assert str(arrived).index("well") < str(arrived).index("Go on.")
    assert changes

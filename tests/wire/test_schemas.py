"""Schemas of tools that any server takes: adapted where the server is known, learnt elsewhere.

Sources of the refusals: OpenAI's "Function calling" and "Structured outputs" guides and the words
of `jsonschema` ("is not a 'regex'"); `common/json-schema-to-grammar.cpp` and
`src/llama-grammar.cpp` of llama.cpp, which LM Studio and Ollama embed; `backend_xgrammar.py` of
vLLM; the schemas that Moonshot's `walle` documents; platform.claude.com/docs, "Structured outputs".
"""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from tests.wire.adapted import PLUGINS, preset, told
from tests.wire.ways import asked

pytestmark = pytest.mark.anyio

CLASSES = r"^(?!__.*__$)[^\p{Cc}\p{Cf}\"]{1,200}$"


def props(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def text(**bounds: Any) -> dict[str, Any]:
    return {"type": "string", **bounds}


def saying(**bounds: Any) -> str:
    """A description that tells bounds."""
    words = [
        f"{k}: {v if isinstance(v, str) else orjson.dumps(v).decode()}" for k, v in bounds.items()
    ]
    return f"({'; '.join(words)})"


def lost(**bounds: Any) -> dict[str, Any]:
    return props(a=text(description=saying(**bounds)))


OPENAI = ("chat", "responses")
LLAMA = ("llama-server", "lmstudio")
AT_ONCE = [
    *((server, props(a=text(pattern=CLASSES)), lost(pattern=CLASSES)) for server in (*OPENAI, *LLAMA, "gemini")),
    *((server, props(a=text(pattern=p)), lost(pattern=p)) for server in OPENAI for p in (r"(?<year>\d{4})", r"^\p{L}+$", "[a-", r"\u{1F600}")),
    *((server, props(a=text(pattern=p)), lost(pattern=p)) for server in LLAMA for p in ("^[a-z]", "[a-z]+$", "^(?=.*@).+$", r"^\d+$", r"^[\w-]+$", "^(a)b(?:c)$", "^[a-z]{1,4000}$")),
    *((server, props(a=text(pattern=p)), props(a=text(pattern=p))) for server in LLAMA for p in ("^[a-z0-9_-]{1,64}$", "^(on|off)$", r"^[0-9]+\.[0-9]+$")),
    *((server, props(a=text(**bound)), lost(**bound)) for server in LLAMA for bound in ({"maxLength": 65536}, {"minLength": 3000}, {"maxLength": 2000})),
    *((server, props(a=text(maxLength=100)), props(a=text(maxLength=100))) for server in LLAMA),
    *((server, {"anyOf": [{**props(a=text()), "required": ["a"]}, {**props(b=text()), "required": ["b"]}]}, {**props(a=text(), b=text()), "description": "(Give `a`; or `b`.)"}) for server in OPENAI),
    *((server, {"oneOf": [props(a=text()), props(a={"type": "number"})]}, props(a={"anyOf": [text(), {"type": "number"}]})) for server in (*OPENAI, "gemini")),
    *((server, {"allOf": [{**props(a=text()), "required": ["a"]}, props(b=text())]}, {**props(a=text(), b=text()), "required": ["a"]}) for server in OPENAI),
    *((server, {"$ref": "#/$defs/R", "$defs": {"R": props(a=text())}}, {**props(a=text()), "$defs": {"R": props(a=text())}}) for server in OPENAI),
    *((server, props(a=True), props(a={})) for server in OPENAI),
    *((server, props(a={"type": "array"}), props(a={"type": "array", "items": {}})) for server in OPENAI),
    ("gemini", props(a=text(enum=["", "b"])), props(a=text(enum=["b"], description=saying(enum=["", "b"])))),
    ("gemini", props(a={"const": "b"}), props(a=text(enum=["b"]))),
    ("gemini", props(a=text(format="uri")), lost(format="uri")),
]  # fmt: skip


@pytest.mark.parametrize(("server", "given", "sent"), AT_ONCE, ids=lambda v: str(v)[:60])
async def test_a_schema_is_adapted_before_it_is_sent_where_the_server_is_known(server, given, sent):
    found = await told(PLUGINS[server], [asked("messages", schema=given)])
    assert found.answers[0].status_code == 200
    assert found.schemas == [{**sent, "type": "object"}]
    if given != sent:
        assert any("tools.input_schema" in line for line in found.lines), found.lines


async def test_a_bound_that_is_lost_is_on_the_receipt_with_its_tool():
    found = await told(PLUGINS["chat"], [asked("messages", schema=props(a=text(pattern=CLASSES)))])
    line = "drop tools.input_schema.pattern: `Read`: the target does not compile it"
    assert line in found.lines


def openai(words: str) -> dict[str, Any]:
    return {"error": {"message": words, "type": "invalid_request_error"}}


def has(*keys: str):
    """Refuses a body with one of these members anywhere."""
    mark = re.compile("|".join(f'"{re.escape(key)}":' for key in keys).encode())
    return lambda body: bool(mark.search(orjson.dumps(body)))


GRAMMAR = "Failed to initialize samplers: failed to parse grammar"
LOOKAHEAD = props(a=text(pattern="^(?=a).*$"))
REFUSED = [
    (LOOKAHEAD, has("pattern"), "Invalid schema for function 'Read': '^(?=a).*$' is not a 'regex'.", lost(pattern="^(?=a).*$")),
    (LOOKAHEAD, has("pattern"), "Invalid JSON schema: regex lookaround is not supported.", lost(pattern="^(?=a).*$")),
    (props(a=text(pattern="[a-z]")), has("pattern"), "JSON schema conversion failed:\nPattern must start with '^' and end with '$'", lost(pattern="[a-z]")),
    (props(a=text(maxLength=65536)), has("maxLength"), GRAMMAR, lost(maxLength=65536)),
    (props(a=text(maxLength=2000)), has("maxLength"), "parse: error parsing grammar: number of repetitions exceeds sane defaults, please reduce the number of repetitions", lost(maxLength=2000)),
    (props(a=text(format="uri")), has("format"), "Invalid schema for function 'Read': In context=('properties', 'a'), 'uri' is not a valid format.", lost(format="uri")),
    (props(a={"type": "object", "propertyNames": {"maxLength": 3}}), has("propertyNames"), 'Grammar error: Unimplemented keys: ["propertyNames"]', props(a={"type": "object", "description": saying(propertyNames={"maxLength": 3})})),
    (props(a={"type": "array", "items": text(), "uniqueItems": True}), has("uniqueItems"), "The provided JSON schema contains features not supported by xgrammar.", props(a={"type": "array", "items": text(), "description": saying(uniqueItems=True)})),
    (props(a={"oneOf": [text(), {"type": "number"}]}), has("oneOf"), "Invalid schema for function 'Read': In context=('properties', 'a'), 'oneOf' is not permitted.", props(a={"anyOf": [text(), {"type": "number"}]})),
    (props(a={"const": "x"}), has("const"), "Unsupported JSON schema fields: {'const'}", props(a={"enum": ["x"]})),
]  # fmt: skip


@pytest.mark.parametrize("server", ["chat", "responses", "anthropic-compatible", "vllm", "ollama"])
@pytest.mark.parametrize(
    ("given", "refuses", "words", "sent"), REFUSED, ids=[words[:40] for _, _, words, _ in REFUSED]
)
async def test_a_refusal_of_a_schema_is_learnt_and_the_request_sent_once_more(
    server, given, refuses, words, sent
):
    body = asked("messages", schema=given)
    found = await told(
        PLUGINS[server],
        [body, body],
        refuses=lambda got: openai(words) if refuses(got) else None,
    )
    assert [answer.status_code for answer in found.answers] == [200, 200]
    first, *others = found.schemas
    assert first == given
    assert others == [sent, sent]


@pytest.mark.parametrize("server", ["chat", "anthropic-compatible"])
async def test_what_was_learnt_and_done_is_on_the_receipt_with_tool_and_keyword(server):
    found = await told(
        PLUGINS[server],
        [asked("messages", schema=props(a=text(maxLength=65536)))],
        refuses=lambda got: openai(GRAMMAR) if has("maxLength")(got) else None,
    )
    lines = "\n".join(found.lines)
    assert "asked again after a refusal that taught: rejected keywords: " in lines
    assert "tools.input_schema.maxLength: `Read`: the target does not take it" in lines


@pytest.mark.parametrize("server", ["chat", "responses", "llama-server", "lmstudio", "ollama"])
@pytest.mark.parametrize(
    "words",
    [
        GRAMMAR,
        "Error compiling grammar: unexpected end of input",
        "failed to create grammar from schema",
        "Unable to generate parser for this template.",
    ],
)
async def test_a_grammar_that_cannot_be_made_at_all_is_told_with_the_tools(server, words):
    schema = props(a={"anyOf": [text(), props(b=text())]})
    found = await told(
        PLUGINS[server], [asked("messages", schema=schema)], refuses=lambda got: openai(words)
    )
    error = found.answers[0].json()["error"]["message"]
    assert found.answers[0].status_code == 400
    assert words in error
    assert "`Read` (`anyOf`)" in error
    assert len(found.sent) <= 2


async def test_moonshot_gets_a_type_in_every_part():
    given = {
        **props(a={"type": "object", "anyOf": [props(b=text()), props(c=text())]}, d=True),
        "$defs": {"K": text()},
    }
    words = (
        "Invalid request: tools.function.parameters is not a valid moonshot flavored json schema, "
        "details: <At path 'properties.a': when using anyOf, type should be defined in anyOf items "
        "instead of the parent schema>"
    )
    body = asked("messages", schema=given)
    found = await told(
        PLUGINS["chat"],
        [body],
        refuses=lambda got: openai(words) if "$defs" in str(got) else None,
    )
    assert found.schemas[1]["properties"] == {
        "a": {"anyOf": [props(b=text()), props(c=text())]},
        "d": {"anyOf": [{"type": t} for t in ("string", "number", "boolean", "object")]},
    }


FORMATS = [
    props(a=text()),
    {**props(a=text()), "required": ["a"]},
    props(a=props(b={"type": "array", "items": props(c=text())})),
    props(a={"anyOf": [props(b=text()), {"type": "null"}]}),
    {**props(a={"$ref": "#/$defs/N"}), "$defs": {"N": props(n={"$ref": "#/$defs/N"})}},
    {**props(a={"oneOf": [text(), props(b=text())]}), "additionalProperties": True},
]


def objects(schema: Any) -> list[dict[str, Any]]:
    """The schemas of objects in a schema."""
    if isinstance(schema, list):
        return [found for item in schema for found in objects(item)]
    if not isinstance(schema, dict):
        return []
    here = [schema] if schema.get("type") == "object" else []
    return here + [found for item in schema.values() for found in objects(item)]


@pytest.mark.parametrize("schema", FORMATS, ids=str)
async def test_claude_gets_closed_objects_for_an_answer_by_a_schema(schema):
    json_schema = {"name": "a", "schema": schema}
    body = {
        **asked("chat"),
        "model": "claude-sonnet-4-5",
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    got = found.sent[0]["output_config"]["format"]["schema"]
    assert objects(got)
    assert all(part["additionalProperties"] is False for part in objects(got))
    assert not has("$ref", "oneOf")(got)


@pytest.mark.parametrize(
    "bound",
    [
        {"minimum": 1},
        {"maximum": 5},
        {"multipleOf": 2},
        {"minLength": 1},
        {"maxLength": 9},
        {"pattern": r"(?<=a)b"},
        {"format": "iri"},
        {"minItems": 2},
        {"uniqueItems": True},
    ],
    ids=str,
)
async def test_claude_is_told_bounds_that_it_does_not_take_in_words(bound):
    json_schema = {"name": "a", "schema": props(a={"type": "string", **bound})}
    body = {
        **asked("chat"),
        "model": "claude-opus-4-6",
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }
    found = await told(PLUGINS["anthropic"], [body], dialect="chat")
    got = found.sent[0]["output_config"]["format"]["schema"]["properties"]["a"]
    assert got == {"type": "string", "description": saying(**bound)}


@pytest.mark.parametrize("server", ["chat", "responses"])
@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({**props(a=text()), "required": ["a"]}, True),
        ({**props(a={**props(b=text()), "required": ["b"]}), "required": ["a"]}, True),
        (props(a=text()), False),
        ({**props(a=text()), "required": ["a"], "additionalProperties": True}, False),
        ({**props(a={"oneOf": [text()]}), "required": ["a"], "additionalProperties": False}, False),
        ({**props(a=text(pattern="(?=a)")), "required": ["a"]}, False),
    ],
    ids=str,
)
async def test_openai_gets_strict_only_where_the_schema_allows_it(server, schema, strict):
    body = {
        **asked("messages"),
        "output_config": {"format": {"type": "json_schema", "schema": schema}},
    }
    found = await told(PLUGINS[server], [body])
    sent = found.sent[0]
    made = (
        sent["text"]["format"] if server == "responses" else sent["response_format"]["json_schema"]
    )
    assert made["strict"] is strict
    if strict:
        assert all(part["additionalProperties"] is False for part in objects(made["schema"]))


async def test_what_one_address_refused_is_not_held_against_another():
    given = props(a=text(maxLength=65536))
    body = asked("messages", schema=given)
    refuses = has("maxLength")
    await told(PLUGINS["chat"], [body], refuses=lambda b: openai(GRAMMAR) if refuses(b) else None)
    other = await told(PLUGINS["chat"], [body])
    assert other.schemas == [given]


async def test_a_preset_of_llama_cpp_is_known_over_chat_completions_too():
    found = await told(
        preset("lmstudio"), [asked("messages", schema=props(a=text(maxLength=65536)))]
    )
    assert found.schemas == [lost(maxLength=65536)]

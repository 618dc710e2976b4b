"""Ids, names, schemas, turns, media, thinking, usage: what translators share."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway import InvalidRequest
from plugway_translation import (
    ERROR_MARK,
    NO_RESULT,
    IdCodec,
    Media,
    Notes,
    Reasoning,
    Rule,
    SchemaRules,
    ToolNames,
    Totals,
    block_text,
    clamp_effort,
    clean_schema,
    decode_id,
    drop_by,
    effort_of,
    encode_id,
    media_of,
    media_placeholder,
    parse_arguments,
    result_media,
    result_text,
    strict_fits,
    system_text,
    totals_of,
    turns_of,
    usage_of,
)
from plugway_translation._schema import _cleaned

ANTHROPIC_ID = re.compile(r"[a-zA-Z0-9_-]+")
ids = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["call_1", "functions.Bash:0", "call_a|fc_b", "pw_", "pw_x", "pw_a_2eb", "a.b", "pw__5f", "é"]
)
tool_use_ids = st.text(string.ascii_letters + string.digits + "_-", min_size=1, max_size=90)


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────


@given(ids)
def test_any_id_becomes_one_that_the_api_takes_and_comes_back(call_id):
    coded = encode_id(call_id)
    assert ANTHROPIC_ID.fullmatch(coded)
    assert decode_id(coded) == call_id
    assert encode_id(call_id) == coded


@given(tool_use_ids, tool_use_ids)
def test_two_ids_never_become_one_on_the_way_out(one, other):
    codec = IdCodec(limit=64)
    assert len(codec.out(one)) <= 64
    assert (codec.out(one) == codec.out(other)) == (one == other)


@given(ids)
def test_a_target_gets_its_own_id_again(call_id):
    codec = IdCodec(limit=64)
    assert codec.out(codec.back(call_id)) == call_id


def test_a_target_that_wants_nine_letters_gets_nine():
    codec = IdCodec(limit=9, exact=True)
    assert codec.out("abcDEF123") == "abcDEF123"
    found = codec.out("toolu_01A")
    assert re.fullmatch(r"[0-9a-zA-Z]{9}", found)
    assert found == codec.out("toolu_01A") != codec.out("toolu_01B")


def test_an_id_over_the_limit_becomes_a_hash():
    coded = encode_id("x" * 100, limit=64)
    assert len(coded) <= 64
    assert coded != encode_id("x" * 101, limit=64)


# ── names ────────────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.text(min_size=1, max_size=90), unique=True, max_size=12))
def test_every_tool_has_its_own_legal_name_and_gets_its_own_back(names):
    tools = ToolNames(names)
    out = [tools.out(name) for name in names]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in out)
    assert len(set(out)) == len(names)
    assert [tools.back(name) for name in out] == names
    assert out == [ToolNames(names).out(name) for name in names]


def test_a_name_that_fits_stays_and_a_short_one_never_takes_it():
    long = "mcp__" + "server" * 12
    short = ToolNames([long]).out(long)
    tools = ToolNames([long, short])
    assert tools.out(short) == short
    assert tools.out(long) != short
    assert tools.changed == {long: tools.out(long)}
    assert tools.back("never_heard_of") == "never_heard_of"


# ── schemas ──────────────────────────────────────────────────────────────────────────────────────

SCHEMA = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "path": {"type": ["string", "null"], "format": "uri", "minLength": 1},
        "kind": {"const": "a"},
        "mode": {"enum": ["a", 1]},
        "node": {"$ref": "#/$defs/node"},
        "any": {},
    },
    "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
    "required": ["path"],
}


def test_a_schema_that_a_target_takes_is_the_same_object():
    found, notes = clean_schema(SCHEMA, SchemaRules())
    assert found is SCHEMA
    assert notes == ()


@pytest.mark.parametrize("odd", [None, True, [], {}, {"type": "string"}, {"properties": None}])
def test_the_root_is_always_an_object(odd):
    found, _ = clean_schema(odd, SchemaRules())
    assert (found["type"], found["properties"]) == ("object", {})


def test_what_a_target_does_not_take_goes_and_is_noted():
    rules = SchemaRules(
        drop=frozenset({"$schema", "minLength"}),
        formats=frozenset({"date-time"}),
        inline_refs=True,
        unions="nullable",
        const_as_enum=True,
        string_enums=True,
    )
    found, notes = clean_schema(SCHEMA, rules, "tools.Read")
    assert found["properties"] == {
        "path": {
            "type": "string",
            "nullable": True,
            "description": "(format: uri; minLength: 1)",
        },
        "kind": {"enum": ["a"]},
        "mode": {"type": "string", "description": '(enum: ["a",1])'},
        "node": {"type": "object", "properties": {"next": {}}},
        "any": {},
    }
    assert found.keys() == {"type", "properties", "required"}
    assert {note.field for note in notes} == {
        "tools.Read.$schema",
        "tools.Read.format uri",
        "tools.Read.const",
        "tools.Read.minLength",
        "tools.Read.$ref",
        "tools.Read.enum",
    }
    assert SCHEMA["properties"]["kind"] == {"const": "a"}


@pytest.mark.parametrize("odd", [{"type": "uri"}, ["uri"], 5, None])
def test_a_format_that_is_no_text_is_one_that_nobody_takes(odd):
    schema = {"properties": {"a": {"type": "string", "format": odd}}}
    found, notes = clean_schema(schema, SchemaRules(formats=frozenset({"date-time"})), "t")
    assert found["properties"] == {"a": {"type": "string"}}
    assert [note.field for note in notes] == ["t.format"]


def test_a_large_schema_is_not_kept():
    rules = SchemaRules(formats=frozenset())
    _cleaned.cache_clear()
    before = _cleaned.cache_info().currsize
    for size, kept in ((10, 1), (100_000, 1)):
        schema = {"properties": {"a": {"type": "string", "description": "x" * size}}}
        found, _ = clean_schema(schema, rules, "a large one")
        assert found["properties"] == schema["properties"]
        assert _cleaned.cache_info().currsize == before + kept


def test_unions_become_any_of_and_depth_is_cut():
    deep = {"type": ["string", "integer"]}
    for _ in range(6):
        deep = {"type": "object", "properties": {"in": deep}}
    found, notes = clean_schema(deep, SchemaRules(max_depth=3, unions="any_of"))
    assert found["properties"]["in"]["properties"]["in"]["properties"]["in"] == {}
    assert [note.field for note in notes] == ["tools.input_schema.nesting"]
    union, _ = clean_schema(
        {"properties": {"a": {"type": ["string", "integer"]}}}, SchemaRules(unions="any_of")
    )
    assert union["properties"]["a"] == {"anyOf": [{"type": "string"}, {"type": "integer"}]}


def test_strict_is_kept_only_where_it_changes_nothing():
    one = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert not strict_fits(one)
    assert strict_fits({**one, "additionalProperties": False})
    assert not strict_fits({**one, "additionalProperties": False, "required": []})
    made, _ = clean_schema(one, SchemaRules(strict=True))
    assert strict_fits(made)


# ── turns ────────────────────────────────────────────────────────────────────────────────────────


def use(*ids):
    calls = [{"type": "tool_use", "id": i, "name": "t", "input": {}} for i in ids]
    return {"role": "assistant", "content": calls}


def result(id_, content="ok", **more):
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def text(said):
    return {"type": "text", "text": said}


def shape(turns):
    return [
        (t.role, [r["tool_use_id"] for r in t.results], [b.get("text") for b in t.blocks])
        for t in turns
    ]


def test_results_come_first_in_the_order_of_their_calls():
    notes = Notes()
    turns = turns_of([use("a", "b"), user(text("x"), result("b"), result("a"))], notes)
    assert shape(turns)[1] == ("user", ["a", "b"], ["x"])
    assert notes.lines() == ["translate tool_result: moved next to its call"]


def test_results_in_two_user_turns_in_a_row_belong_together():
    notes = Notes()
    turns = turns_of([use("a", "b"), user(result("a")), user(result("b"), text("x"))], notes)
    assert shape(turns)[1:] == [("user", ["a", "b"], []), ("user", [], ["x"])]
    assert notes.lines() == ["translate tool_result: moved next to its call"]


def test_a_call_without_result_gets_one_and_it_is_noted():
    notes = Notes()
    messages = [use("a", "b"), user(result("b")), use("c"), user(text("x")), use("d")]
    turns = turns_of(messages, notes)
    assert [t.role for t in turns] == ["assistant", "user"] * 3
    assert [r["content"] for t in turns for r in t.results] == [
        NO_RESULT,
        "ok",
        NO_RESULT,
        NO_RESULT,
    ]
    assert notes.lines() == [
        "emulate tool_result: a call had none, a placeholder was added (3 times)"
    ]


def test_orphans_are_told_as_text_and_doubles_left_out():
    notes = Notes()
    turns = turns_of([use("a"), user(result("a"), result("a"), result("z", "lost"))], notes)
    assert shape(turns)[1] == ("user", ["a"], ["[tool result]\nlost"])
    assert [note.action for note in notes] == ["drop", "translate"]


def test_a_system_turn_does_not_part_a_call_from_its_result():
    system = {"role": "system", "content": "be brief"}
    turns = turns_of([use("a"), system, user(result("a"))], Notes())
    assert [t.role for t in turns] == ["assistant", "user", "system"]
    assert [t.role for t in turns_of([use("a"), system], Notes())] == [
        "assistant",
        "user",
        "system",
    ]


def test_a_result_is_told_in_words_with_its_failure_marked():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}}
    block = result("a", [text("one"), image, {"type": "tool_reference", "tool_name": "Read"}])
    assert result_text(block) == "one\nThe tool `Read` was found; it can be called now."
    assert result_media(block) == [image]
    assert result_text(result("a", "no such file", is_error=True)) == ERROR_MARK + "no such file"
    assert result_text({"type": "tool_result", "tool_use_id": "a"}) == ""


def test_system_is_one_text_without_the_entry_that_changes():
    notes = Notes()
    system = [text("x-anthropic-billing-header: cc=1"), text("one"), text("two")]
    assert system_text(system, notes) == "one\n\ntwo"
    assert notes.fields() == {"system"}
    assert system_text("plain", notes) == "plain"
    assert system_text(None, notes) == ""


# ── media, words, thinking, usage, arguments, notes ──────────────────────────────────────────────


def test_media_are_read_from_every_kind_of_source():
    def found(kind, **source):
        return media_of({"type": kind, "source": source, "title": "t"})

    image = found("image", type="base64", media_type="image/png", data="QQ==")
    assert image.data_url == "data:image/png;base64,QQ=="
    assert found("image", type="url", url="https://x/a.png").url == "https://x/a.png"
    assert found("document", type="file", file_id="file_1").file_id == "file_1"
    plain = found("document", type="text", media_type="text/plain", data="hello")
    assert plain.as_text == "[document: t]\nhello"
    parts = found("document", type="content", content=[text("a"), {"type": "image"}])
    assert parts.text == "a"
    assert "left out" in parts.as_text
    assert media_of(text("x")) is None


def test_unseen_media_are_words_or_a_clear_refusal():
    notes = Notes()
    media = Media("document", "application/pdf", data="QQ==", title="a.pdf")
    words = media_placeholder(media, "placeholder", notes, "the model reads text only")
    assert "application/pdf" in words
    assert notes.fields() == {"document"}
    with pytest.raises(InvalidRequest, match=r"application/pdf.*the model reads text only"):
        media_placeholder(media, "reject", notes, "the model reads text only")


def test_every_block_has_words():
    assert block_text({"type": "server_tool_use", "name": "web_search", "input": {"q": 1}}) == (
        '[The tool `web_search` was called with {"q":1}]'
    )
    called = {"type": "mcp_tool_use", "name": "find", "server_name": "s", "input": {"q": 1}}
    assert block_text(called) == '[The tool `find` was called with {"q":1}]'
    found = {"type": "mcp_tool_result", "content": [text("Here.")]}
    assert block_text(found) == "[mcp_tool_result]\nHere."
    assert block_text({**found, "is_error": True}) == "[mcp_tool_result]\n[tool error] Here."
    assert "page" in block_text(
        {"type": "web_search_tool_result", "content": [{"title": "page", "encrypted_content": "x"}]}
    )
    assert block_text({"type": "search_result", "title": "t", "content": [text("found")]}) == (
        "t\nfound"
    )
    assert block_text({"type": "container_upload"}) == "[container_upload]"
    assert block_text({"type": "tool_addition", "tool": {"name": "x"}}) == "[tool_addition]"
    assert block_text({"type": "mid_conv_system", "content": [text("Now.")]}) == (
        "<system-reminder>\nNow.\n</system-reminder>"
    )


def test_thinking_goes_back_to_its_maker_only():
    mine = Reasoning.of("or", "m1", "session-1")
    block = mine.block("hm", {"details": [1]})
    assert mine.open(block).state == {"details": [1]}
    assert mine.open(block).text == "hm"
    assert mine.open(mine.block("", "secret")).state == "secret"
    assert Reasoning("or", "m2").open(block) is None
    assert Reasoning("or", "m2", any_model=True).open(block).model == "m1"
    assert Reasoning("other", "m1").open(block) is None
    assert mine.open({"type": "thinking", "thinking": "x", "signature": "EqQBCkYI"}) is None
    assert mine.open({"type": "thinking", "thinking": "x"}) is None


@pytest.mark.parametrize(
    ("body", "effort"),
    [
        ({}, None),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "high"}}, "none"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, "xhigh"),
        ({"output_config": {"effort": "absurd"}}, None),
    ],
)
def test_effort_is_what_is_said_first_and_else_the_budget(body, effort):
    assert effort_of(body) == effort


def test_effort_is_clamped_to_what_is_known():
    assert clamp_effort("max", ("low", "medium", "high")) == "high"
    assert clamp_effort("none", ("low", "medium", "high")) == "low"
    assert clamp_effort("low", ("low", "medium", "high")) == "low"


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_the_parts_of_a_prompt_add_up_to_its_sum(prompt, completion, cached, written):
    usage = usage_of(Totals(prompt, completion, cached, written))
    assert min(usage.values()) >= 0
    back = totals_of(usage)
    assert (back.prompt, back.completion) == (prompt, completion)
    if cached + written <= prompt:
        assert (back.cached, back.written) == (cached, written)


@pytest.mark.parametrize("odd", [None, "5", -1, float("nan"), float("inf"), True, [], 1e30])
def test_a_count_that_is_none_is_zero(odd):
    assert totals_of({"input_tokens": odd, "output_tokens": odd}) == Totals()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", {}),
        ("  ", {}),
        ("null", {}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('""', {}),
        ("[1]", None),
        ('{"a": ', None),
        ('"x"', None),
    ],
)
def test_arguments_are_an_object_or_nothing(written, meant):
    assert parse_arguments(written) == meant


def test_fields_that_go_are_noted_with_the_reason_of_the_table():
    notes = Notes()
    table = {"a": Rule("preserve"), "b": Rule("drop", "there is none")}
    drop_by(table, ["a", "b", "c"], notes, "tools.")
    assert notes.lines() == [
        "drop tools.b: there is none",
        "drop tools.c: unknown field",
    ]

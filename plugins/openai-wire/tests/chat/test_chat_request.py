"""Messages requests as requests of Chat Completions: what is said, what is noted, what is refused."""

import json

import pytest

from plugway import InvalidRequest
from plugway_capabilities import Facts
from plugway_openai_wire.chat import FIELDS, Quirks, Target, request_of
from plugway_translation import Reasoning

MINE = Reasoning("up", "m")
READ = {"name": "Read", "description": "Reads.", "input_schema": {"type": "object"}}
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "QQ=="},
}
OPEN = Quirks(text_parts=True, system_turns="keep", documents=True, parallel_flag=True, strict=True)


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(said):
    return {"type": "text", "text": said}


def use(id_="toolu_1", name="Read", **given):
    return {"type": "tool_use", "id": id_, "name": name, "input": given}


def result(id_="toolu_1", content="ok", **more):
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def translate(*messages, quirks=None, facts=None, media="placeholder", **fields):
    body = {"model": "m", "max_tokens": 99, "messages": [*messages] or [user(text("hi"))], **fields}
    target = Target(MINE, quirks or Quirks(), facts or Facts(), media, cache_key="c")
    return request_of(body, target)


def said(*messages, **more):
    return translate(*messages, **more).body["messages"]


# ── messages ─────────────────────────────────────────────────────────────────────────────────────


def test_a_plain_request_is_small_and_needs_no_notes():
    made = translate({"role": "user", "content": "hi"}, temperature=0.5, stop_sequences=["END"])
    assert made.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 99,
        "temperature": 0.5,
        "stop": ["END"],
    }
    assert not len(made.notes)


def test_a_tool_round_trip_becomes_calls_and_tool_messages():
    messages = said(
        user(text("read both")),
        assistant(text("On it."), use("toolu_1", path="a"), use("toolu_2", path="b")),
        user(result("toolu_2", [text("B"), text("b")]), result("toolu_1", "A"), text("and now?")),
        system="be brief",
        tools=[READ],
    )
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "tool", "user"]
    calls = messages[2]["tool_calls"]
    assert [json.loads(c["function"]["arguments"]) for c in calls] == [{"path": "a"}, {"path": "b"}]
    assert [m["tool_call_id"] for m in messages[3:5]] == [c["id"] for c in calls]
    assert [m["content"] for m in messages[3:]] == ["A", "B\nb", "and now?"]


def test_a_failed_tool_is_marked_in_its_text():
    made = translate(assistant(use()), user(result(content="no such file", is_error=True)))
    assert made.body["messages"][1]["content"] == "[tool error] no such file"
    assert made.notes.fields() == {"tool_result.is_error"}


def test_a_call_without_result_and_a_result_without_call_do_no_harm():
    messages = said(assistant(use()), user(text("never mind")), user(result("toolu_9", "lost")))
    assert [m["role"] for m in messages] == ["assistant", "tool", "user", "user"]
    assert messages[1]["tool_call_id"] == "toolu_1"
    assert messages[3]["content"] == "[tool result]\nlost"


def test_media_in_results_follow_as_the_users():
    messages = said(assistant(use()), user(result(content=[text("a picture"), PNG]), text("nice?")))
    assert messages[1]["content"].startswith("a picture\n[shown in the next message")
    parts = messages[2]["content"]
    assert [part["type"] for part in parts] == ["text", "image_url", "text"]
    assert "toolu_1" in parts[0]["text"]
    assert parts[1]["image_url"]["url"] == "data:image/png;base64,QQ=="


def test_media_of_every_source_are_sent_or_told():
    url = {"type": "image", "source": {"type": "url", "url": "https://x/a.png"}}
    file = {"type": "image", "source": {"type": "file", "file_id": "file_1"}}
    plain = {"type": "document", "title": "t", "source": {"type": "text", "data": "words"}}
    made = translate(user(url, file, plain, PDF), quirks=OPEN)
    first, second, third, fourth = made.body["messages"][0]["content"]
    assert first["image_url"]["url"] == "https://x/a.png"
    assert "left out" in second["text"]
    assert third["text"] == "[document: t]\nwords"
    assert fourth["file"] == {
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,QQ==",
    }
    assert made.notes.fields() == {"image"}


@pytest.mark.parametrize(
    ("block", "facts", "quirks"),
    [
        (PNG, Facts(rejected_inputs=frozenset({"image"})), OPEN),
        (PNG, Facts(), Quirks(images=False)),
        (PDF, Facts(), Quirks()),
        (PDF, Facts(rejected_inputs=frozenset({"document"})), OPEN),
    ],
)
def test_media_that_a_target_does_not_take_are_words_or_a_refusal(block, facts, quirks):
    made = translate(user(block), facts=facts, quirks=quirks)
    assert "left out" in made.body["messages"][0]["content"]
    assert made.notes.fields() == {block["type"]}
    with pytest.raises(InvalidRequest, match=block["type"]):
        translate(user(block), facts=facts, quirks=quirks, media="reject")


def test_turns_of_the_system_stay_in_place_or_are_reminders():
    turns = [assistant(use()), {"role": "system", "content": "be quick"}, user(result())]
    kept = said(*turns, quirks=OPEN)
    assert [m["role"] for m in kept] == ["assistant", "tool", "system"]
    made = translate(*turns)
    assert made.body["messages"][2] == {
        "role": "user",
        "content": "<system-reminder>\nbe quick\n</system-reminder>",
    }
    assert made.notes.fields() == {"messages.system", "tool_result"}


def test_system_loses_the_entry_that_spoils_caches():
    made = translate(system=[text("x-anthropic-billing-header: a=1"), text("one"), text("two")])
    assert made.body["messages"][0] == {"role": "system", "content": "one\n\ntwo"}
    assert made.notes.fields() == {"system"}


def test_several_texts_are_parts_where_a_server_takes_them_and_one_text_elsewhere():
    turn = user(text("one"), text(""), text("two"))
    assert said(turn)[0]["content"] == "one\n\ntwo"
    assert said(turn, quirks=OPEN)[0]["content"] == [text("one"), text("two")]


def test_blocks_that_only_anthropic_knows_are_told_in_words():
    made = translate(
        user({"type": "search_result", "title": "t", "content": [text("found")]}),
        assistant({"type": "server_tool_use", "name": "web_search", "input": {"q": "x"}}),
        user({"type": "container_upload", "file_id": "f"}),
    )
    assert made.body["messages"][0]["content"] == "t\nfound"
    assert "web_search" in made.body["messages"][1]["content"]
    assert made.notes.fields() == {
        "messages.search_result",
        "messages.server_tool_use",
        "messages.container_upload",
    }


@pytest.mark.parametrize(
    ("prefill", "last"),
    [
        ("drop", {"role": "user", "content": "hi"}),
        ("keep", {"role": "assistant", "content": "{"}),
        ("prefix", {"role": "assistant", "content": "{", "prefix": True}),
    ],
)
def test_an_answer_that_was_begun_goes_where_a_server_goes_on_with_it(prefill, last):
    made = translate(user(text("hi")), assistant(text("{")), quirks=Quirks(prefill=prefill))
    assert made.body["messages"][-1] == last
    assert bool(len(made.notes)) == (prefill == "drop")


# ── thinking in the conversation ─────────────────────────────────────────────────────────────────


def thought(text_, state, by=MINE):
    return by.block(text_, state)


def test_thinking_goes_back_where_it_stood():
    turn = assistant(thought("Hm.", {"in": "reasoning_content"}), text("Yes."), use())
    message = said(turn, user(result()))[0]
    assert message["reasoning_content"] == "Hm."
    detail = {"type": "reasoning.text", "index": 0, "text": None, "signature": "s"}
    turn = assistant(thought("Hm.", {"in": "reasoning", "details": [detail]}), text("Yes."))
    message = said(turn, user(text("x")))[0]
    assert message["reasoning"] == "Hm."
    assert message["reasoning_details"] == [{**detail, "text": "Hm."}]
    turn = assistant(thought("Hm.", {"in": "content"}), text("Yes."))
    assert said(turn, user(text("x")))[0]["content"] == [
        {"type": "thinking", "thinking": [text("Hm.")]},
        text("Yes."),
    ]


@pytest.mark.parametrize(
    "block",
    [
        thought("Hm.", {"in": "reasoning"}, Reasoning("other", "m")),
        thought("Hm.", {"in": "reasoning"}, Reasoning("up", "another")),
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCkYI"},
        {"type": "redacted_thinking", "data": "EqQBCkYI"},
        {"type": "thinking", "thinking": "Hm."},
    ],
    ids=["of another backend", "of another model", "Anthropic's", "redacted", "unsigned"],
)
def test_thinking_of_others_is_left_out_with_a_note(block):
    made = translate(assistant(block, text("Yes.")), user(text("x")))
    assert made.body["messages"][0] == {"role": "assistant", "content": "Yes."}
    assert made.notes.fields() == {"messages.thinking"}


def test_thinking_is_kept_from_a_server_that_refuses_it():
    turn = assistant(thought("Hm.", {"in": "reasoning"}), text("Yes."))
    for more in (
        {"facts": Facts(reasoning_back="rejected")},
        {"quirks": Quirks(reasoning_back=False)},
        {"facts": Facts(rejected_fields=frozenset({"messages.assistant.reasoning"}))},
    ):
        made = translate(turn, user(text("x")), **more)
        assert made.body["messages"][0] == {"role": "assistant", "content": "Yes."}
        assert made.notes.fields() & {"messages.thinking", "messages.reasoning"}


def test_a_server_that_wants_thinking_before_calls_gets_an_empty_one():
    facts = Facts(reasoning_back="required", reasoning_field="reasoning_content")
    messages = said(assistant(use()), user(result()), assistant(text("Done.")), facts=facts)
    assert messages[0]["reasoning_content"] == ""
    assert all("reasoning_content" not in message for message in messages[1:])


# ── tools ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "Read"}, {"type": "function", "function": {"name": "Read"}}),
        (None, None),
        ({"type": "tool", "name": "gone"}, None),
    ],
)
def test_the_choice_of_a_tool_is_kept(choice, wanted):
    made = translate(tools=[READ], **({"tool_choice": choice} if choice else {}))
    assert made.body.get("tool_choice") == wanted
    assert "tool_choice" not in translate(tool_choice={"type": "any"}).body


def test_a_choice_that_a_model_refuses_is_left_out_with_a_note():
    facts = Facts(allowed_values={"tool_choice": ("auto", "none")})
    made = translate(tools=[READ], tool_choice={"type": "any"}, facts=facts)
    assert "tool_choice" not in made.body
    assert made.notes.fields() == {"tool_choice"}


def test_one_call_at_a_time_is_asked_for_or_seen_to():
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    asked = translate(tools=[READ], tool_choice=choice, quirks=OPEN)
    assert asked.body["parallel_tool_calls"] is False
    assert not asked.single
    for more in (
        {},
        {"quirks": OPEN, "facts": Facts(rejected_fields=frozenset({"parallel_tool_calls"}))},
    ):
        seen_to = translate(tools=[READ], tool_choice=choice, **more)
        assert "parallel_tool_calls" not in seen_to.body
        assert seen_to.single
        assert "tool_choice.disable_parallel_tool_use" in seen_to.notes.fields()


def test_tools_are_functions_and_say_what_was_lost():
    tool = {**READ, "type": "custom", "cache_control": {"type": "ephemeral"}, "defer_loading": True}
    search = {"type": "web_search_20250305", "name": "web_search"}
    made = translate(tools=[tool, search])
    assert made.body["tools"] == [
        {
            "type": "function",
            "function": {
                "name": "Read",
                "description": "Reads.",
                "parameters": {"type": "object", "properties": {}},
            },
        }
    ]
    assert made.notes.fields() == {"tools", "tools.cache_control", "tools.defer_loading"}


def test_a_tool_of_the_client_may_be_called_web_search():
    made = translate(tools=[{**READ, "name": "web_search"}])
    assert made.body["tools"][0]["function"]["name"] == "web_search"


def test_long_names_are_shortened_everywhere_alike():
    long = "mcp__" + "x" * 80
    made = translate(
        assistant(use(name=long)),
        user(result()),
        tools=[{**READ, "name": long}],
        tool_choice={"type": "tool", "name": long},
    )
    short = made.body["tools"][0]["function"]["name"]
    assert len(short) == 64
    assert made.body["messages"][0]["tool_calls"][0]["function"]["name"] == short
    assert made.body["tool_choice"]["function"]["name"] == short
    assert made.notes.fields() == {"tools.name"}


def test_mistral_gets_ids_of_nine_letters_on_both_sides():
    facts = Facts(tool_id_limit=9, tool_id_pattern="[a-zA-Z0-9]{9}")
    call, answer = said(assistant(use("toolu_01ABC")), user(result("toolu_01ABC")), facts=facts)
    assert call["tool_calls"][0]["id"] == answer["tool_call_id"]
    assert len(answer["tool_call_id"]) == 9
    assert answer["tool_call_id"].isalnum()


def test_what_a_schema_may_not_have_is_cut():
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "x"}}}
    made = translate(
        tools=[{**READ, "input_schema": schema}],
        facts=Facts(rejected_keywords=frozenset({"pattern"})),
    )
    parameters = made.body["tools"][0]["function"]["parameters"]
    assert parameters["properties"]["a"] == {"type": "string", "description": "(pattern: x)"}
    assert made.notes.fields() == {"tools.input_schema.pattern"}


def test_strict_is_sent_only_where_it_changes_nothing():
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    strict = translate(tools=[{**READ, "strict": True, "input_schema": schema}], quirks=OPEN)
    assert strict.body["tools"][0]["function"]["strict"] is True
    loose = translate(tools=[{**READ, "strict": True}], quirks=OPEN)
    assert "strict" not in loose.body["tools"][0]["function"]
    assert loose.notes.fields() == {"tools.strict"}


def test_a_hundred_tools_with_deep_schemas_are_translated():
    deep = {"type": "string"}
    for _ in range(60):
        deep = {"type": "object", "properties": {"in": deep}}
    tools = [{**READ, "name": f"t{n}", "input_schema": deep} for n in range(100)]
    made = translate(tools=tools, facts=Facts(tools_limit=64))
    assert len(made.body["tools"]) == 64
    assert made.notes.fields() == {"tools"}


# ── everything else ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "style", "wanted"),
    [
        ({"output_config": {"effort": "max"}}, "effort", {"reasoning_effort": "high"}),
        ({"thinking": {"type": "adaptive"}}, "effort", {}),
        ({"thinking": {"type": "disabled"}}, "effort", {}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            "object",
            {"reasoning": {"max_tokens": 2000}},
        ),
        ({"output_config": {"effort": "low"}}, "object", {"reasoning": {"effort": "low"}}),
        (
            {
                "thinking": {"type": "enabled", "budget_tokens": 2000},
                "output_config": {"effort": "low"},
            },
            "object",
            {"reasoning": {"effort": "low"}},
        ),
        ({"thinking": {"type": "adaptive"}}, "object", {"reasoning": {"enabled": True}}),
        ({"thinking": {"type": "disabled"}}, "switch", {"thinking": {"type": "disabled"}}),
        ({"thinking": {"type": "adaptive"}}, "switch", {"thinking": {"type": "enabled"}}),
        (
            {"thinking": {"type": "disabled"}},
            "template",
            {"chat_template_kwargs": {"enable_thinking": False}},
        ),
        ({"thinking": {"type": "adaptive"}}, "none", {}),
    ],
)
def test_thinking_is_asked_for_in_the_servers_words(fields, style, wanted):
    made = translate(quirks=Quirks(reasoning=style), **fields)
    rest = {k: v for k, v in made.body.items() if k not in {"model", "messages", "max_tokens"}}
    assert rest == wanted
    if style == "none":
        assert made.notes.fields() == {"thinking"}


def test_an_effort_that_the_model_is_known_to_refuse_becomes_the_nearest():
    facts = Facts(allowed_values={"reasoning_effort": ("minimal", "high")})
    made = translate(
        quirks=Quirks(reasoning="effort"), facts=facts, output_config={"effort": "max"}
    )
    assert made.body["reasoning_effort"] == "high"
    assert made.notes.fields() == {"output_config.effort"}


def test_a_model_that_can_only_be_told_not_to_think_is_told_nothing_else():
    facts = Facts(allowed_values={"reasoning_effort": ("none", "default")})
    quirks = Quirks(reasoning="effort")
    made = translate(quirks=quirks, facts=facts, output_config={"effort": "high"})
    assert "reasoning_effort" not in made.body
    assert made.notes.fields() == {"thinking"}
    off = translate(quirks=quirks, facts=facts, thinking={"type": "disabled"})
    assert off.body["reasoning_effort"] == "none"


def test_a_schema_for_the_answer_is_kept():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "schema": schema}
    made = translate(output_config={"format": form})
    wanted = {"name": "answer", "schema": schema, "strict": True}
    assert made.body["response_format"] == {"type": "json_schema", "json_schema": wanted}
    assert translate(output_format=form).body["response_format"] == made.body["response_format"]
    other = translate(output_config={"format": form}, quirks=Quirks(formats="object"))
    assert other.body["response_format"] == {"type": "json_object"}
    assert other.notes.fields() == {"output_config.format"}


@pytest.mark.parametrize(
    ("asked", "facts", "sent", "noted"),
    [
        (32_000, Facts(), {"max_tokens": 32_000}, False),
        (32_000, Facts(max_output_tokens=8192), {"max_tokens": 8192}, True),
        (
            10,
            Facts(output_limit_field="max_completion_tokens"),
            {"max_completion_tokens": 10},
            False,
        ),
        (0, Facts(), {"max_tokens": 1}, True),
    ],
)
def test_the_limit_of_the_answer_fits_the_model(asked, facts, sent, noted):
    made = translate(max_tokens=asked, facts=facts)
    assert {k: v for k, v in made.body.items() if k.startswith("max_")} == sent
    assert bool(len(made.notes)) == noted
    assert made.warm_only == (asked == 0)


def test_sequences_beyond_what_the_server_takes_are_seen_to():
    made = translate(stop_sequences=["1", "2", "3", "4", "5", ""])
    assert (made.body["stop"], made.cut) == (["1", "2", "3", "4"], ("5",))
    refused = translate(stop_sequences=["1"], facts=Facts(rejected_fields=frozenset({"stop"})))
    assert ("stop" in refused.body, refused.cut) == (False, ("1",))


def test_usage_is_asked_for_with_a_stream():
    assert translate(stream=True).body["stream_options"] == {"include_usage": True}
    assert "stream_options" not in translate().body


def test_what_a_server_refuses_is_not_sent():
    refused = frozenset(
        {
            "temperature",
            "stream_options.include_usage",
            "no_such",
            "messages.name",
            "max_tokens.x",
            "model",
        }
    )
    made = translate(temperature=1, stream=True, facts=Facts(rejected_fields=refused))
    assert made.body.keys() == {"model", "messages", "max_tokens", "stream"}
    assert "stream_options" not in made.body
    assert made.notes.fields() == {"temperature", "stream_options.include_usage"}


def test_who_asks_is_told_only_where_it_is_meant_to():
    quirks = Quirks(user_field="user", cache_key_field="prompt_cache_key")
    metadata = {"user_id": "u" * 600}
    told = translate(metadata=metadata, quirks=quirks)
    assert told.body["prompt_cache_key"] == "c"
    assert len(told.body["user"]) == 64
    assert "uuu" not in told.body["user"]
    assert told.notes.fields() >= {"metadata.user_id"}
    quiet = translate(metadata=metadata)
    assert "u" * 512 not in json.dumps(quiet.body)
    assert quiet.notes.fields() == {"metadata"}


def test_every_field_that_goes_is_noted():
    dropped = {name: rule for name, rule in FIELDS.items() if rule.action == "drop"}
    made = translate(**dict.fromkeys([*dropped, "invented_yesterday", "top_k"], 1))
    assert made.notes.fields() == {*dropped, "invented_yesterday", "top_k"}
    assert made.body.keys() == {"model", "messages", "max_tokens"}
    assert translate(top_k=5, quirks=Quirks(top_k=True)).body["top_k"] == 5


def test_what_the_options_add_wins():
    quirks = Quirks(extra_body={"temperature": 0, "provider": {"sort": "price"}})
    body = translate(temperature=1, quirks=quirks).body
    assert (body["temperature"], body["provider"]) == (0, {"sort": "price"})


def test_the_same_request_gives_the_same_bytes():
    fields = {"tools": [READ], "system": "x"}
    turns = [assistant(use("a.b|c" * 30)), user(result("a.b|c" * 30))]
    assert json.dumps(translate(*turns, **fields).body) == json.dumps(
        translate(*turns, **fields).body
    )

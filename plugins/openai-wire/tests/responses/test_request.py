"""Messages requests as requests of the Responses API: every field has its place or its note."""

from dataclasses import replace

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_answers import REASONING, call, message, message_of, reader, reasoning, response
from responses_strategies import ANSWERS

from plugway import InvalidRequest
from plugway_capabilities import Facts
from plugway_openai_wire.responses import Reader, Target, request_of
from plugway_translation import ERROR_MARK, Reasoning

pytestmark = pytest.mark.timeout(60)
PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBO"}}
PDF = {
    "type": "document",
    "title": "a.pdf",
    "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
}


def made(*messages, facts=None, target=None, **fields):
    messages = messages or ({"role": "user", "content": "Hi"},)
    body = {"model": "gpt-5", "max_tokens": 1000, "messages": list(messages), **fields}
    return request_of(body, target or Target(REASONING, facts or Facts()))


def notes(translated):
    return "\n".join(translated.notes.lines())


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def model(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def text(words):
    return {"type": "text", "text": words}


def use(id="call_1", name="f", **input):
    return {"type": "tool_use", "id": id, "name": name, "input": input}


def result(content="ok", id="call_1", **more):
    return {"type": "tool_result", "tool_use_id": id, "content": content, **more}


def tool(name="f", **more):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    return {"name": name, "description": "does", "input_schema": schema, **more}


def test_a_small_request_is_stateless_and_asks_for_encrypted_reasoning():
    translated = made(system="Be brief.")
    assert translated.body == {
        "model": "gpt-5",
        "store": False,
        "instructions": "Be brief.",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Hi"}],
            }
        ],
        "max_output_tokens": 1000,
        "include": ["reasoning.encrypted_content"],
        "stream": False,
    }
    assert not translated.notes.lines()


def test_system_loses_the_entry_that_spoils_caches_and_marks():
    attribution = text("x-anthropic-billing-header: cc_version=1")
    marked = {**text("One."), "cache_control": {"type": "ephemeral"}}
    translated = made(system=[attribution, marked, text("Two.")])
    assert translated.body["instructions"] == "One.\n\nTwo."
    assert "drop system" in notes(translated)


def test_a_tool_round_trip_becomes_calls_and_outputs():
    translated = made(
        user(text("Weather?")),
        model(text("I look."), use("a", city="Paris"), use("b", name="g")),
        user(text("And then?"), result("sunny", "a"), result([text("1"), text("2")], "b")),
        tools=[tool(), tool("g")],
    )
    kinds = [item.get("role") or item["type"] for item in translated.body["input"]]
    assert kinds == [
        "user",
        "assistant",
        "function_call",
        "function_call",
        "function_call_output",
        "function_call_output",
        "user",
    ]
    first = translated.body["input"][2]
    assert (first["call_id"], first["name"], first["arguments"]) == ("a", "f", '{"city":"Paris"}')
    assert [i["output"] for i in translated.body["input"][4:6]] == ["sunny", "1\n2"]


def test_a_failed_tool_is_marked():
    translated = made(user(text("x")), model(use()), user(result("no file", is_error=True)))
    assert translated.body["input"][-1]["output"] == ERROR_MARK + "no file"


def test_pictures_in_results_stay_where_they_are_or_follow_as_the_users():
    turns = (user(text("x")), model(use()), user(result([text("see"), PNG])))
    output = made(*turns).body["input"][-1]["output"]
    assert [part["type"] for part in output] == ["input_text", "input_image"]
    plain = made(*turns, target=Target(REASONING, rich_results=False))
    assert plain.body["input"][-2]["output"] == "see"
    after = plain.body["input"][-1]["content"]
    assert "call_1" in after[0]["text"]
    assert after[1]["image_url"] == "data:image/png;base64,iVBO"
    assert "translate tool_result" in notes(plain)


def test_media_of_every_source_are_sent_or_told():
    translated = made(
        user(
            PNG,
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {**PDF, "context": "Read it."},
            {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
            {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}},
            {"type": "document", "source": {"type": "content", "content": [text("more")]}},
            {"type": "document", "source": {"type": "odd"}},
        )
    )
    parts = translated.body["input"][0]["content"]
    assert parts[:2] == [
        {"type": "input_image", "image_url": "data:image/png;base64,iVBO", "detail": "auto"},
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "auto"},
    ]
    assert parts[4] == {
        "type": "input_file",
        "filename": "a.pdf",
        "file_data": "data:application/pdf;base64,JVBE",
    }
    assert parts[5] == {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    told = [part["text"] for part in parts if part["type"] == "input_text"]
    assert told[0].startswith("[image left out")
    assert told[1] == "Read it."
    assert told[2] == "[document: T]\nwords"
    assert told[3] == "more"
    assert told[4].startswith("[document left out")
    assert "stored elsewhere" in notes(translated)


def test_the_title_of_a_file_at_an_address_stands_before_it():
    source = {"type": "url", "url": "https://example.com/a.pdf"}
    document = {"type": "document", "title": "a.pdf", "context": "Read it.", "source": source}
    told, file = made(user(document)).body["input"][0]["content"]
    assert told["text"] == "[document: a.pdf]\nRead it."
    assert file == {"type": "input_file", "file_url": "https://example.com/a.pdf"}


def test_media_that_a_model_does_not_take_are_words_or_a_refusal():
    blind = Facts(rejected_inputs=frozenset({"image"}))
    translated = made(user(PNG), facts=blind)
    assert "left out" in translated.body["input"][0]["content"][0]["text"]
    with pytest.raises(InvalidRequest, match="cannot be sent"):
        made(user(PNG), target=Target(REASONING, blind, media="reject"))


def test_turns_of_the_system_stay_in_place_but_never_split_a_call_from_its_result():
    system = {"role": "system", "content": "Mind the time."}
    translated = made(user(text("x")), system, model(use()), system, user(result(), text("go on")))
    kinds = [item.get("role") or item["type"] for item in translated.body["input"]]
    calls = ["function_call", "function_call_output"]
    assert kinds == ["user", "developer", *calls, "developer", "user"]
    inside = user({"type": "mid_conv_system", "content": [text("Now.")]}, text("x"))
    assert [i["role"] for i in made(inside).body["input"]] == ["developer", "user"]


def test_calls_without_results_and_results_without_calls_do_no_harm():
    translated = made(
        user(text("x")),
        model(use("a"), use("b")),
        user(result("ok", "b"), result("again", "b"), result("whose?", "c"), text("Go on.")),
        model(use("d")),
    )
    outputs = {
        item["call_id"]: item["output"]
        for item in translated.body["input"]
        if item["type"] == "function_call_output"
    }
    assert outputs["b"] == "ok"
    assert outputs["a"] == outputs["d"] == "[no result: the call was interrupted]"
    assert "whose?" in orjson.dumps(translated.body["input"]).decode()
    assert "emulate tool_result" in notes(translated)


def test_an_answer_that_was_begun_is_left_out_with_a_note():
    translated = made(user(text("Best?")), model(text("The best is (")))
    assert len(translated.body["input"]) == 1
    assert "drop messages" in notes(translated)


def test_long_names_are_shortened_everywhere_alike():
    long = "mcp__server__" + "x" * 70
    translated = made(
        user(text("x")),
        model(use(name=long)),
        user(result()),
        tools=[tool(long)],
        tool_choice={"type": "tool", "name": long},
    )
    short = translated.body["tools"][0]["name"]
    assert len(short) <= 64
    assert translated.names.back(short) == long
    assert translated.body["input"][1]["name"] == short
    assert translated.body["tool_choice"] == {"type": "function", "name": short}


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "any"}, {"tool_choice": "required"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "tool", "name": "f"}, {"tool_choice": {"type": "function", "name": "f"}}),
        (
            {"type": "auto", "disable_parallel_tool_use": True},
            {"tool_choice": "auto", "parallel_tool_calls": False},
        ),
        ({"type": "tool", "name": "gone"}, {}),
        (None, {}),
    ],
)
def test_the_choice_of_a_tool_is_kept(choice, wanted):
    body = made(tools=[tool()], tool_choice=choice).body
    assert {k: body[k] for k in ("tool_choice", "parallel_tool_calls") if k in body} == wanted


def test_a_choice_without_tools_is_not_sent():
    assert "tool_choice" not in made(tool_choice={"type": "auto"}).body


def test_tools_are_functions_and_say_what_was_lost():
    strict = {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    translated = made(
        tools=[
            tool(type="custom", cache_control={"type": "ephemeral"}, defer_loading=True),
            tool("g", strict=True, input_schema=strict),
            tool("h", strict=True),
            tool("i", input_schema={"type": "object"}),
            {"type": "web_search_20250305", "name": "web_search"},
            tool("web_search"),
        ]
    )
    tools = translated.body["tools"]
    assert [(t["name"], t["strict"]) for t in tools] == [
        ("f", False),
        ("g", True),
        ("h", False),
        ("i", False),
        ("web_search", False),
    ]
    assert set(tools[0]) == {"type", "name", "description", "parameters", "strict"}
    assert tools[3]["parameters"] == {"type": "object", "properties": {}}
    for dropped in ("tools.cache_control", "tools.defer_loading", "tools.web_search_20250305"):
        assert f"drop {dropped}" in notes(translated)


def test_a_search_of_the_web_is_left_to_openai_where_that_is_wanted():
    search = {
        "type": "web_search_20250305",
        "name": "web_search",
        "max_uses": 8,
        "allowed_domains": ["example.com"],
        "user_location": {"type": "approximate", "country": "DE"},
    }
    target = Target(REASONING, web_search=True)
    forced = {"type": "tool", "name": "web_search"}
    translated = made(tools=[search], tool_choice=forced, target=target)
    assert translated.body["tools"] == [
        {
            "type": "web_search",
            "filters": {"allowed_domains": ["example.com"]},
            "user_location": {"type": "approximate", "country": "DE"},
        }
    ]
    assert (translated.body["tool_choice"], translated.body["max_tool_calls"]) == ("required", 8)
    assert "web_search_call.action.sources" in translated.body["include"]
    assert "translate tools.web_search_20250305" in notes(translated)
    mine = made(tools=[tool("web_search")], tool_choice=forced, target=target)
    assert mine.body["tools"][0]["type"] == "function"


@pytest.mark.parametrize(
    ("fields", "reasoning"),
    [
        ({}, None),
        ({"thinking": {"type": "adaptive"}}, {"summary": "auto"}),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, None),
        ({"thinking": {"type": "disabled"}}, {"effort": "none"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 2000}},
            {"effort": "low", "summary": "auto"},
        ),
        ({"output_config": {"effort": "xhigh"}}, {"effort": "xhigh"}),
    ],
)
def test_thinking_is_asked_for_as_reasoning(fields, reasoning):
    assert made(**fields).body.get("reasoning") == reasoning


def test_an_effort_that_the_model_does_not_know_becomes_the_nearest():
    facts = Facts(allowed_values={"reasoning.effort": ("minimal", "low", "medium", "high")})
    translated = made(thinking={"type": "disabled"}, facts=facts)
    assert translated.body["reasoning"] == {"effort": "minimal"}
    assert "output_config.effort" in notes(translated)


def test_a_schema_for_the_answer_is_kept():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    made_of = made(output_config=wanted).body["text"]["format"]
    assert (made_of["type"], made_of["schema"], made_of["strict"]) == ("json_schema", schema, False)
    assert made(output_format=wanted["format"]).body["text"]["format"]["schema"] == schema


@pytest.mark.parametrize(("asked", "sent"), [(0, 16), (1, 16), (500, 500), (99_999, 1000)])
def test_the_limit_of_the_answer_fits_the_model(asked, sent):
    translated = made(max_tokens=asked, facts=Facts(max_output_tokens=1000))
    assert translated.body["max_output_tokens"] == sent
    assert ("max_tokens" in notes(translated)) is (asked != sent)


def test_a_request_that_only_warms_a_cache_is_told_no_answer():
    translated = made(max_tokens=0)
    assert translated.warm_only
    silent = Reader(replace(reader()._with, silent=translated.warm_only))
    told = message_of(silent.whole(response(reasoning("Hm."), message("Hi"), call("f", "{}"))))
    assert (told["content"], told["stop_reason"]) == ([], "max_tokens")
    assert told["usage"]["cache_read_input_tokens"] == 60


def test_fields_of_one_provider_are_dropped_with_a_note():
    fields = {
        "top_k": 5,
        "context_management": {"edits": []},
        "container": "c",
        "mcp_servers": [],
        "speed": "fast",
        "inference_geo": "us",
        "never_heard_of": 1,
        "service_tier": "standard_only",
        "metadata": {"user_id": "user_1_session_2"},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "output_config": {"task_budget": {}},
    }
    translated = made(**fields)
    assert not {"top_k", "container", "never_heard_of", "metadata"} & translated.body.keys()
    assert translated.body["service_tier"] == "default"
    assert translated.body["temperature"] == 0.5
    assert translated.stops == ("END",)
    assert "user_1" not in orjson.dumps(translated.body).decode()
    again = made(metadata={"user_id": "user_1_session_3"}).body
    assert again["safety_identifier"] == translated.body["safety_identifier"]
    told = notes(translated)
    for name in fields.keys() - {"temperature", "service_tier", "metadata", "output_config"}:
        assert name in told
    assert "output_config.task_budget" in told


def test_what_a_model_refuses_is_not_sent():
    facts = Facts(rejected_fields=frozenset({"temperature", "reasoning.summary", "include"}))
    fields = {
        "temperature": 1,
        "thinking": {"type": "adaptive"},
        "output_config": {"effort": "low"},
    }
    translated = made(**fields, facts=facts)
    assert "temperature" not in translated.body
    assert "include" not in translated.body
    assert translated.body["reasoning"] == {"effort": "low"}
    assert "drop temperature" in notes(translated)
    all_gone = made(thinking={"type": "adaptive"}, facts=facts)
    assert "reasoning" not in all_gone.body


# ── reasoning comes back to its maker ────────────────────────────────────────────────────────


def next_turn(answer, target=None):
    """The items of a conversation that goes on after `answer`."""
    told = message_of(reader().whole(answer))
    calls = [block for block in told["content"] if block["type"] == "tool_use"]
    after = user(*(result(id=c["id"]) for c in calls), text("Go on."))
    translated = made(user(text("Hi")), model(*told["content"]), after, target=target)
    return translated, [
        item
        for item in translated.body["input"][1:]
        if item.get("role") not in {"user", "developer"} and item["type"] != "function_call_output"
    ]


def test_reasoning_is_restored_as_it_was():
    items = (reasoning("One.", "Two."), call("f", "{}"))
    _, back = next_turn(response(*items))
    assert back[0] == items[0]


def test_reasoning_of_another_model_is_left_out_with_a_note():
    other = Target(Reasoning.of("openai", "o4-mini"))
    translated, back = next_turn(response(reasoning("One."), message("Hi")), other)
    assert [item["type"] for item in back] == ["message"]
    assert "drop thinking: it comes from another model" in notes(translated)


def test_thinking_of_others_is_left_out():
    theirs = {"type": "thinking", "thinking": "Hm.", "signature": "EqQBCkYI"}
    translated = made(user(text("x")), model(theirs, text("y")), user(text("z")))
    assert "reasoning" not in [item["type"] for item in translated.body["input"]]
    assert "drop thinking" in notes(translated)


def test_reasoning_that_nothing_follows_is_not_sent():
    translated, back = next_turn(response(message("Hi"), reasoning("One.")))
    assert [item["type"] for item in back] == ["message"]
    assert "what followed it was removed" in notes(translated)


def test_edited_thinking_comes_back_in_one_part():
    told = message_of(reader().whole(response(reasoning("One.", "Two."), message("x"))))
    told["content"][0]["thinking"] = "Something else"
    item = made(user(text("x")), model(*told["content"]), user(text("y"))).body["input"][1]
    assert item["summary"] == [{"type": "summary_text", "text": "Something else"}]


def said(items):
    """What items say, without what the Messages API has no place for: ids of messages, status, and
    texts without a word."""
    told = []
    for item in items:
        if item["type"] == "message":
            told += [part["text"] for part in item["content"] if part["text"].strip()]
        elif item["type"] == "function_call":
            arguments = orjson.loads(item["arguments"] or "{}")
            told.append((item["call_id"], item["name"], arguments))
        else:
            parts = [part["text"] for part in item["summary"] if part["text"]]
            told.append((item["id"], parts, item["encrypted_content"]))
    return told


@given(answer=ANSWERS)
@settings(max_examples=150, deadline=None)
def test_what_the_model_said_comes_back_to_it_as_it_was(answer):
    items = [
        {**item, "call_id": f"c{n}"} if item["type"] == "function_call" else item
        for n, item in enumerate([*answer["output"], message("end", id="last")])
    ]
    _, back = next_turn({**answer, "output": items})
    assert said(back) == said(items)


@given(st.text(min_size=1, max_size=90))
@settings(max_examples=100, deadline=None)
def test_ids_of_calls_are_the_same_on_both_sides(id):
    translated = made(user(text("x")), model(use(id)), user(result(id=id)))
    _, asked, answered = translated.body["input"]
    assert asked["call_id"] == answered["call_id"]
    assert 0 < len(asked["call_id"]) <= 64

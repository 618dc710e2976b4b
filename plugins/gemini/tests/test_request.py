"""A Messages request in Gemini's words; what Gemini cannot be told is noted."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import InvalidRequest
from plugway_capabilities import Facts, known_facts
from plugway_gemini._contents import BYPASS
from plugway_gemini._models import Target
from plugway_gemini._request import translate
from plugway_translation import Reasoning

PIXEL = "iVBORw0KGgo="
PAPER = "JVBERi0xLjQ="
TOOL = {
    "name": "Read",
    "description": "reads",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}},
}


def target(model="gemini-3-pro", **options):
    facts = options.pop("facts", None) or known_facts("gemini", model)
    return Target(model, Reasoning.of("g", model), facts, **options)


def made(model="gemini-3-pro", to=None, **body):
    body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **body}  # fmt: skip
    return translate(body, to or target(model))


def contents(*messages, **options):
    return made(messages=list(messages), **options).body["contents"]


def user(*content):
    return {"role": "user", "content": content[0] if isinstance(content[0], str) else list(content)}


def assistant(*content):
    return {
        "role": "assistant",
        "content": content[0] if isinstance(content[0], str) else list(content),
    }


def user_text(text):
    return {"type": "text", "text": text}


def use(id_, name="Read", **input_):
    return {"type": "tool_use", "id": id_, "name": name, "input": input_}


def result(id_, content: object = "done", **more):
    return {"type": "tool_result", "tool_use_id": id_, "content": content, **more}


def test_the_smallest_request():
    found = made(model="gemini-2.0-flash")
    assert found.body == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 100},
    }
    assert found.notes.lines() == []


def test_how_to_answer():
    found = made(
        model="gemini-2.0-flash",
        temperature=0.5,
        top_p=0.9,
        top_k=40,
        stop_sequences=["a", "b", "", "c", "d", "e", "f"],
        max_tokens=99_999,
    )
    assert found.body["generationConfig"] == {
        "maxOutputTokens": 8192,
        "temperature": 0.5,
        "topP": 0.9,
        "topK": 40,
        "stopSequences": ["a", "b", "c", "d", "e"],
    }
    assert found.notes.fields() == {"stop_sequences", "max_tokens"}


def test_a_second_tool_of_one_name_is_left_out():
    found = made(tools=[TOOL, {**TOOL, "description": "again"}, {**TOOL, "name": "Write"}])
    (tools,) = found.body["tools"]
    names = [function["name"] for function in tools["functionDeclarations"]]
    assert names == ["Read", "Write"]
    assert "an earlier tool is also named `Read`" in " ".join(found.notes.lines())


def test_system_is_one_text_without_the_entry_that_changes():
    system = [
        {"type": "text", "text": "x-anthropic-billing-header: cc=1"},
        {"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "two"},
    ]
    assert made(system=system).body["systemInstruction"] == {"parts": [{"text": "one\n\ntwo"}]}


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ({"type": "auto"}, None),
        ({"type": "any"}, {"mode": "ANY"}),
        ({"type": "none"}, {"mode": "NONE"}),
        ({"type": "tool", "name": "Read"}, {"mode": "ANY", "allowedFunctionNames": ["Read"]}),
        ({"type": "tool", "name": "Gone"}, None),
    ],
)
def test_the_choice_of_tools(choice, config):
    body = made(tools=[TOOL], tool_choice=choice).body
    assert body.get("toolConfig") == (config and {"functionCallingConfig": config})


def test_tools_are_declared_and_what_gemini_has_not_is_noted():
    tools = [
        {**TOOL, "cache_control": {"type": "ephemeral"}, "strict": True, "type": "custom"},
        {"name": "Now", "input_schema": {"type": "object", "properties": {}}},
        {"type": "web_search_20250305", "name": "web_search"},
    ]
    found = made(tools=tools)
    assert found.body["tools"] == [
        {
            "functionDeclarations": [
                {"name": "Read", "description": "reads", "parameters": TOOL["input_schema"]},
                {"name": "Now"},
            ]
        }
    ]
    assert {"tools", "tools.strict", "tools.cache_control"} <= found.notes.fields()


def test_a_tool_that_is_only_named_like_a_server_tool_stays():
    found = made(tools=[{**TOOL, "name": "web_search"}])
    assert found.body["tools"][0]["functionDeclarations"][0]["name"] == "web_search"


def test_names_that_gemini_does_not_take_come_back():
    long = "mcp__" + "server" * 20 + "__tool"
    found = made(tools=[{**TOOL, "name": long}, {**TOOL, "name": "7zip"}])
    first, second = (d["name"] for d in found.body["tools"][0]["functionDeclarations"])
    assert len(first) == 64
    assert second[0].isalpha() or second[0] == "_"
    assert (found.names.back(first), found.names.back(second)) == (long, "7zip")


def test_calls_and_results_are_paired_in_order():
    found = contents(
        user("go"),
        assistant({"type": "text", "text": "I read"}, use("toolu_1", path="a"), use("toolu_2", path="b")),
        user(result("toolu_2", "B"), {"type": "text", "text": "and?"}, result("toolu_1", "no", is_error=True)),
    )  # fmt: skip
    assert found[1]["parts"] == [
        {"text": "I read"},
        {
            "functionCall": {"id": "toolu_1", "name": "Read", "args": {"path": "a"}},
            "thoughtSignature": BYPASS,
        },
        {"functionCall": {"id": "toolu_2", "name": "Read", "args": {"path": "b"}}},
    ]
    assert found[2]["parts"] == [
        {"functionResponse": {"id": "toolu_1", "name": "Read", "response": {"error": "no"}}},
        {"functionResponse": {"id": "toolu_2", "name": "Read", "response": {"output": "B"}}},
    ]
    assert found[3] == {"role": "user", "parts": [{"text": "and?"}]}


def test_a_call_without_a_result_gets_one():
    found = contents(user("go"), assistant(use("a")), user("never mind"))
    assert "interrupted" in found[2]["parts"][0]["functionResponse"]["response"]["output"]


@pytest.mark.parametrize(
    ("model", "bypassed"),
    [("gemini-3-pro", True), ("gemini-flash-latest", True), ("gemini-2.5-pro", False)],
)
def test_calls_of_another_model_get_googles_bypass_where_a_signature_is_wanted(model, bypassed):
    found = made(model, messages=[user("go"), assistant(use("a")), user(result("a"))])
    part = found.body["contents"][1]["parts"][0]
    assert part.get("thoughtSignature") == (BYPASS if bypassed else None)
    assert ("messages.tool_use" in found.notes.fields()) is bypassed


def test_thinking_comes_back_to_its_maker_only():
    ours, theirs = Reasoning.of("g", "gemini-3-pro"), Reasoning.of("g", "gemini-3-flash")
    found = contents(
        user("go"),
        assistant(ours.block("hm", {"own": "OWN=", "next": "NEXT="}), use("a"), use("b")),
        user(result("a"), result("b")),
        assistant(theirs.block("other", {"next": "X"}), ours.block("", {"next": "Y="}), use("c")),
        user(result("c")),
    )
    assert found[1]["parts"][0] == {"text": "hm", "thought": True, "thoughtSignature": "OWN="}
    assert [p.get("thoughtSignature") for p in found[1]["parts"][1:]] == ["NEXT=", None]
    assert [p["thoughtSignature"] for p in found[3]["parts"]] == ["Y="]


def test_system_turns_become_reminders_in_their_place():
    found = contents(
        user("a"), {"role": "system", "content": "be brief"}, assistant("b"), user("c")
    )
    assert found[0]["parts"] == [
        {"text": "a"},
        {"text": "<system-reminder>\nbe brief\n</system-reminder>"},
    ]


def test_turns_alternate_and_begin_and_end_with_the_user():
    found = made(messages=[assistant("x"), user("a"), user("b"), assistant("{")])
    assert [c["role"] for c in found.body["contents"]] == ["user", "model", "user"]
    assert [p["text"] for p in found.body["contents"][2]["parts"]] == ["a", "b"]
    assert "messages" in found.notes.fields()


def test_an_answer_alone_is_followed_by_a_turn_of_the_user():
    found = made(messages=[assistant("x")])
    assert [c["role"] for c in found.body["contents"]][-1] == "user"
    assert "Go on." in str(found.body["contents"][-1])


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
PDF = {
    "type": "document",
    "title": "T",
    "source": {"type": "base64", "media_type": "application/pdf", "data": PAPER},
}


def test_images_and_documents_go_inline():
    text = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "words"},
    }
    assert contents(user(IMAGE, PDF, text))[0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"text": "[document: T]"},
        {"inlineData": {"mimeType": "application/pdf", "data": PAPER}},
        {"text": "words"},
    ]


def test_an_image_in_a_result_goes_beside_it():
    content = [{"type": "text", "text": "seen"}, IMAGE]
    found = contents(user("go"), assistant(use("a")), user(result("a", content), user_text("so?")))
    assert [p["functionResponse"]["response"] for p in found[2]["parts"]] == [{"output": "seen"}]
    assert found[3]["parts"] == [
        {"text": "[from the result of `Read`]"},
        {"inlineData": {"mimeType": "image/png", "data": PIXEL}},
        {"text": "so?"},
    ]


@pytest.mark.parametrize(
    "source",
    [
        {"type": "url", "url": "https://example.com/a.png"},
        {"type": "file", "file_id": "file_1"},
        {"type": "base64", "media_type": "image/gif", "data": "R0lGODlhAQABAA=="},
    ],
)
def test_what_gemini_cannot_see_is_said_or_refused(source):
    message = user({"type": "image", "source": source})
    found = made(messages=[message])
    assert "left out" in found.body["contents"][0]["parts"][0]["text"]
    assert "image" in found.notes.fields()
    with pytest.raises(InvalidRequest):
        made(messages=[message], to=target(media="reject"))


def test_a_file_of_googles_own_is_named():
    url = "https://generativelanguage.googleapis.com/v1beta/files/abc"
    image = {"type": "image", "source": {"type": "url", "url": url}}
    assert contents(user(image))[0]["parts"] == [{"fileData": {"fileUri": url}}]


@pytest.mark.parametrize(
    ("model", "body", "config", "limit"),
    [
        ("gemini-2.5-flash", {}, {"thinkingBudget": 0}, 100),
        ("gemini-2.5-pro", {}, {"thinkingBudget": 128}, 228),
        ("gemini-3-pro", {}, {"thinkingLevel": "low"}, 1124),
        ("gemini-3-flash", {"thinking": {"type": "disabled"}}, {"thinkingLevel": "minimal"}, 1124),
        ("gemini-2.0-flash", {"thinking": {"type": "adaptive"}}, None, 100),
        ("gemini-flash-latest", {}, None, 100),
        ("gemini-2.5-flash", {"thinking": {"type": "adaptive"}}, {"includeThoughts": True, "thinkingBudget": -1}, 100),
        ("gemini-2.5-flash", {"thinking": {"type": "enabled", "budget_tokens": 99_999}}, {"includeThoughts": True, "thinkingBudget": 24576}, 100),
        ("gemini-2.5-flash-lite", {"thinking": {"type": "enabled", "budget_tokens": 100}}, {"includeThoughts": True, "thinkingBudget": 512}, 100),
        ("gemini-3-pro", {"thinking": {"type": "adaptive", "display": "omitted"}}, {"includeThoughts": False}, 100),
        ("gemini-3-pro", {"output_config": {"effort": "medium"}}, {"includeThoughts": True, "thinkingLevel": "low"}, 100),
        ("gemini-3.1-pro", {"output_config": {"effort": "medium"}}, {"includeThoughts": True, "thinkingLevel": "medium"}, 100),
        ("gemini-3-flash", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, {"includeThoughts": True, "thinkingLevel": "high"}, 100),
    ],
)  # fmt: skip
def test_how_much_is_thought(model, body, config, limit):
    found = made(model, **body).body["generationConfig"]
    assert found.get("thinkingConfig") == config
    assert found["maxOutputTokens"] == limit


@pytest.mark.parametrize(
    ("model", "levels", "signed"),
    [("gemma-4-31b-it", ("minimal", "high"), False), ("gemma-3-27b-it", (), False)],
)
def test_gemma_is_no_gemini(model, levels, signed):
    found = target(model)
    assert (found.levels if found.thinks_by else ()) == levels
    assert found.wants_signatures is signed


def test_a_system_prompt_that_is_refused_goes_before_the_first_turn():
    facts = Facts(rejected_fields=frozenset({"systemInstruction"}))
    found = made(to=target(facts=facts), system="be brief")
    assert "systemInstruction" not in found.body
    assert [p["text"] for p in found.body["contents"][0]["parts"]] == [
        "<system-reminder>\nbe brief\n</system-reminder>",
        "hi",
    ]
    assert "system" in found.notes.fields()


def test_thinking_that_is_refused_is_left_out():
    path = "generationConfig.thinkingConfig.thinkingLevel"
    facts = Facts(rejected_fields=frozenset({path}))
    found = made(to=target(facts=facts), thinking={"type": "adaptive"}, output_config={"effort": "low"})  # fmt: skip
    assert found.body["generationConfig"]["thinkingConfig"] == {"includeThoughts": True}


def test_an_answer_in_a_shape():
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "additionalProperties": False,
    }
    config = {"format": {"type": "json_schema", "schema": schema}}
    found = made("gemini-2.0-flash", output_config=config).body["generationConfig"]
    assert found["responseMimeType"] == "application/json"
    assert found["responseSchema"] == {"type": "object", "properties": {"a": {"type": "string"}}}
    older = made("gemini-2.0-flash", output_format=config["format"])
    assert older.body["generationConfig"] == found
    beside = made("gemini-2.5-pro", output_config=config, tools=[TOOL])
    assert "responseSchema" not in beside.body["generationConfig"]
    assert "output_config.format" in beside.notes.fields()
    newer = made("gemini-3-pro", output_config=config, tools=[TOOL])
    assert "responseSchema" in newer.body["generationConfig"]


def test_what_gemini_has_not_is_noted():
    cached = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
    found = made(
        metadata={"user_id": "u"},
        service_tier="auto",
        context_management={},
        whatever=1,
        system=[cached],
        messages=[user(cached)],
    )
    assert {"system.cache_control", "messages.cache_control"} <= found.notes.fields()
    assert {"metadata", "service_tier", "context_management", "whatever"} <= found.notes.fields()


def test_no_parallel_calls_is_done_here():
    found = made(tools=[TOOL], tool_choice={"type": "auto", "disable_parallel_tool_use": True})
    assert found.one_call
    assert "tool_choice" in found.notes.fields()


def test_what_the_model_has_refused_is_left_out():
    facts = Facts(rejected_fields=frozenset({"generation_config.top_k", "contents", "x.y"}))
    found = made(to=target(facts=facts), top_k=3)
    assert "topK" not in found.body["generationConfig"]
    assert found.body["contents"]


def test_googles_blocking_can_be_set():
    settings_ = made(to=target(safety="BLOCK_NONE")).body["safetySettings"]
    assert {s["threshold"] for s in settings_} == {"BLOCK_NONE"}
    assert len(settings_) == 4


# ── whatever a conversation looks like ───────────────────────────────────────────────────────

words = st.text("ab ", min_size=1, max_size=4)
texts = st.builds(lambda t: {"type": "text", "text": t}, words)
ids = st.sampled_from(["a", "b", "c", "call.1:x", "toolu_9"])
uses = st.builds(lambda i, n: use(i, n, x=1), ids, st.sampled_from(["Read", "x" * 90]))
results = st.builds(lambda i, e: result(i, "r", is_error=e), ids, st.booleans())
turns = st.lists(
    st.one_of(
        st.builds(lambda c: {"role": "user", "content": c}, st.lists(texts | results, max_size=4)),
        st.builds(
            lambda c: {"role": "assistant", "content": c}, st.lists(texts | uses, max_size=4)
        ),
        st.builds(lambda c: {"role": "system", "content": c}, words),
    ),
    max_size=6,
)


@settings(max_examples=300, deadline=None)
@given(turns)
def test_any_conversation_is_one_that_gemini_takes(messages):
    messages = [*messages, user("end")]
    found = made(messages=messages).body["contents"]
    assert (found[0]["role"], found[-1]["role"]) == ("user", "user")
    for content, after in pairwise([*found, {"role": "", "parts": []}]):
        parts = content["parts"]
        assert parts
        answers = [p["functionResponse"] for p in after["parts"] if "functionResponse" in p]
        calls = [p["functionCall"] for p in parts if "functionCall" in p]
        assert [(c["id"], c["name"]) for c in calls] == [(a["id"], a["name"]) for a in answers]
        assert len(answers) in {0, len(after["parts"])}  # results have a turn of their own
        if content["role"] == after["role"]:
            assert "functionResponse" in parts[0]
        if calls:
            assert "thoughtSignature" in next(p for p in parts if "functionCall" in p)
    told = json.dumps(found)
    for message in messages:
        for block in message["content"] if isinstance(message["content"], list) else []:
            said = block["type"] == "text" and block["text"]
            if said and (said.strip() or message["role"] == "user"):
                assert json.dumps(said) in told
    assert found == made(messages=messages).body["contents"]

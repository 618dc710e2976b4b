"""From a Messages request to what a template takes: nothing lost unseen, the same bytes each time."""

from __future__ import annotations

import copy
import json

import pytest

from plugway_local_engine import ChatTemplate, TemplateTraits, build_conversation, render_prompt
from plugway_local_engine._blocks import ERROR_MARK
from plugway_signature import signature
from plugway_toolcalls import FAMILIES, detect_family
from plugway_translation import NO_RESULT

from .test_template import CHATML, HERMES, STRICT

BY_NAME = {family.name: family for family in FAMILIES}
FULL = TemplateTraits(
    system_inside=True,
    repeated_roles=True,
    tools=True,
    tool_calls=True,
    tool_role=True,
    parallel_calls=True,
    text_beside_calls=True,
    reasoning="reasoning_content",
)
READ_TOOL = {"name": "Read", "description": "Reads", "input_schema": {"type": "object"}}


def build(body, traits=FULL, family="hermes", **more):
    return build_conversation(body, family=BY_NAME[family], traits=traits, **more)


def messages(*turns, traits=FULL, **more):
    return build({"messages": list(turns)}, traits, **more).messages


def user(content):
    return {"role": "user", "content": content}


def assistant(*blocks):
    return {"role": "assistant", "content": list(blocks)}


def call(number, path="/a"):
    return {
        "type": "tool_use",
        "id": f"toolu_{number}",
        "name": "Read",
        "input": {"file_path": path},
    }


def result(number, content="done", **more):
    return {"type": "tool_result", "tool_use_id": f"toolu_{number}", "content": content, **more}


def text(words, **more):
    return {"type": "text", "text": words, **more}


def test_system_blocks_are_joined_and_the_attribution_dropped():
    head = text("x-anthropic-billing-header: cc_version=1; cch=abc")
    built = build({"system": [head, text("One."), text("Two.")], "messages": [user("hi")]})
    assert built.messages[0] == {"role": "system", "content": "One.\n\nTwo."}
    assert "drop system: the attribution entry" in built.notes


def test_an_attribution_that_changes_leaves_the_prompt_as_it_was():
    def prompt(value):
        head = text(f"x-anthropic-billing-header: cch={value}")
        body = {"system": [head, text("One.")], "messages": [user("hi")]}
        return render_prompt(ChatTemplate(HERMES), build(body)).text

    assert prompt("a") == prompt("b")


def test_a_system_turn_stays_in_its_place_where_the_template_allows_it():
    turns = messages(user("a"), {"role": "system", "content": "note"}, user("b"))
    assert [(m["role"], m["content"]) for m in turns] == [
        ("user", "a"),
        ("system", "note"),
        ("user", "b"),
    ]


def test_a_system_turn_becomes_a_marked_user_turn_elsewhere():
    traits = TemplateTraits(repeated_roles=True)
    turns = messages(user("a"), {"role": "system", "content": "note"}, traits=traits)
    assert turns[1] == {
        "role": "user",
        "content": "<system-reminder>\nnote\n</system-reminder>",
    }


def test_turns_of_one_role_are_joined_for_strict_templates():
    turns = messages(user("a"), user("b"), assistant(text("c")), user("d"), traits=TemplateTraits())
    assert [(m["role"], m["content"]) for m in turns] == [
        ("user", "a\n\nb"),
        ("assistant", "c"),
        ("user", "d"),
    ]


def test_words_after_a_result_join_the_result_for_strict_templates():
    traits = TemplateTraits(tool_calls=True, tool_role=True, parallel_calls=True)
    turns = messages(
        user("a"), assistant(call(1)), user([result(1, "R"), text("reminder")]), traits=traits
    )
    assert [m["role"] for m in turns] == ["user", "assistant", "tool"]
    assert turns[2]["content"] == "R\n\nreminder"


def test_calls_and_results_belong_together():
    turns = messages(
        user("a"),
        assistant(text("Look."), call(1, "/a"), call(2, "/b")),
        user([text("and?"), result(2, "two"), result(1, [text("one")])]),
    )
    assert [m["role"] for m in turns] == ["user", "assistant", "tool", "tool", "user"]
    ids = [item["id"] for item in turns[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in turns[2:4]] == ids
    assert turns[1]["tool_calls"][0]["function"] == {
        "name": "Read",
        "arguments": {"file_path": "/a"},
    }
    assert all(len(one) == 9 and one.isalnum() for one in ids)
    assert len(set(ids)) == 2


def test_kimi_counts_its_calls():
    turns = messages(
        user("a"), assistant(call(1), call(2)), user([result(1), result(2)]), family="kimi"
    )
    assert [item["id"] for item in turns[1]["tool_calls"]] == [
        "functions.Read:0",
        "functions.Read:1",
    ]


def test_parallel_calls_become_one_after_the_other_where_only_one_is_taken():
    traits = TemplateTraits(
        tool_calls=True, tool_role=True, repeated_roles=True, text_beside_calls=True
    )
    turns = messages(
        user("a"),
        assistant(text("Look."), call(1, "/a"), call(2, "/b")),
        user([result(2, "two"), result(1, "one")]),
        traits=traits,
    )
    assert [m["role"] for m in turns] == ["user", "assistant", "tool", "assistant", "tool"]
    assert [m["content"] for m in turns if m["role"] == "tool"] == ["one", "two"]


def test_what_was_said_beside_a_call_gets_a_turn_of_its_own_where_it_would_not_be_shown():
    traits = TemplateTraits(
        tool_calls=True, tool_role=True, parallel_calls=True, repeated_roles=True
    )
    turns = messages(user("a"), assistant(text("Look."), call(1)), user([result(1)]), traits=traits)
    assert [(m["role"], m["content"]) for m in turns] == [
        ("user", "a"),
        ("assistant", "Look."),
        ("assistant", ""),
        ("tool", "done"),
    ]


def test_a_failed_call_is_marked():
    turns = messages(user("a"), assistant(call(1)), user([result(1, "boom", is_error=True)]))
    assert turns[2]["content"] == ERROR_MARK + "boom"
    assert turns[2]["is_error"] is True


def test_a_call_without_a_result_gets_a_placeholder():
    built = build({"messages": [user("a"), assistant(call(1)), user("stop")]})
    assert built.messages[2]["content"] == NO_RESULT
    assert any("a call had none" in note for note in built.notes)


def test_a_result_without_a_call_is_shown_as_text():
    built = build({"messages": [user([result(9, "lost")])]})
    assert built.messages == ({"role": "user", "content": "[tool result]\nlost"},)
    assert any("it has no matching call" in note for note in built.notes)


def test_calls_are_written_out_where_the_template_has_no_place_for_them():
    body = {
        "tools": [READ_TOOL],
        "messages": [user("a"), assistant(call(1)), user([result(1, "R")]), user("b")],
    }
    built = build(body, ChatTemplate(STRICT).traits)
    roles = [m["role"] for m in built.messages]
    assert roles == ["user", "assistant", "user"]
    assert '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a"}}' in str(
        built.messages[1]["content"]
    )
    assert "<tool_response>\nR\n</tool_response>\n\nb" in str(built.messages[2]["content"])
    assert '"name": "Read"' in str(built.messages[0]["content"])
    assert built.tools == ()
    assert any(
        note.startswith("emulate tools: the template does not support them") for note in built.notes
    )


def test_our_own_thinking_is_handed_back_and_that_of_others_is_not():
    own = {"type": "thinking", "thinking": "mine", "signature": signature("local", "m")}
    foreign = {"type": "thinking", "thinking": "theirs", "signature": "EqQB"}
    redacted = {"type": "redacted_thinking", "data": "x"}
    built = build(
        {"messages": [user("a"), assistant(own, foreign, redacted, text("b")), user("c")]}
    )
    assert built.messages[1] == {
        "role": "assistant",
        "content": "b",
        "reasoning_content": "mine",
    }
    assert "drop thinking: it is from another model" in built.notes


def test_thinking_is_dropped_where_the_template_takes_none():
    own = {"type": "thinking", "thinking": "mine", "signature": signature("local", "m")}
    body = {"messages": [user("a"), assistant(own, text("b")), user("c")]}
    built = build(body, TemplateTraits())
    assert "reasoning_content" not in built.messages[1]
    assert any("does not accept it" in note for note in built.notes)


def test_an_image_is_a_marker_or_a_visible_placeholder():
    source = {"type": "base64", "media_type": "image/png", "data": "aGk="}
    body = {"messages": [user([text("see"), {"type": "image", "source": source}])]}
    blind, seeing = build(body), build(body, image_marker="<__media__>")
    assert blind.messages[0]["content"] == "see\n[an image that this model cannot see]"
    assert seeing.messages[0]["content"] == "see\n<__media__>"
    assert seeing.images == (source,)
    assert not seeing.notes


def test_images_are_numbered_and_those_by_address_are_not_fetched():
    sources = [{"type": "base64", "data": "aGk="}, {"type": "url", "url": "http://x"}]
    images = [{"type": "image", "source": source} for source in (*sources, sources[0])]
    seeing = build({"messages": [user(images)]}, image_marker="<{}>")
    shown = "<0>\n[an image given by `url`, which is not fetched]\n<1>"
    assert seeing.messages[0]["content"] == shown
    assert seeing.images == (sources[0], sources[0])
    assert any("not fetched" in note for note in seeing.notes)


@pytest.mark.parametrize(
    ("block", "shown"),
    [
        (
            {"type": "document", "title": "T", "source": {"type": "text", "data": "words"}},
            '<document title="T">\nwords\n</document>',
        ),
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}},
            "[the document '' (application/pdf), which this model cannot read]",
        ),
        ({"type": "tool_reference", "tool_name": "Grep"}, "[the tool `Grep` is available]"),
        (
            {"type": "search_result", "title": "t", "source": "s", "content": [text("c")]},
            '<search_result title="t" source="s">\nc\n</search_result>',
        ),
        ({"type": "new_thing"}, "[a `new_thing` block that this model cannot read]"),
    ],
)
def test_other_blocks_are_shown_as_text(block, shown):
    assert messages(user([block]))[0]["content"] == shown


def test_tools_take_the_form_of_templates_and_what_is_left_out_is_noted():
    odd = {**READ_TOOL, "eager_input_streaming": True, "defer_loading": True}
    server = {"type": "web_search_20250305", "name": "web_search"}
    built = build({"tools": [odd, server], "messages": [user("a")]})
    function = {"name": "Read", "description": "Reads", "parameters": {"type": "object"}}
    assert built.tools == ({"type": "function", "function": function},)
    assert "drop tools.defer_loading: it has no meaning for a local model" in built.notes
    assert any("`web_search_20250305`" in note for note in built.notes)


def test_a_placeholder_of_tools_that_are_loaded_later_is_not_offered():
    placeholder = {"name": "DeferredToolPlaceholder", "input_schema": {}, "defer_loading": True}
    built = build({"tools": [READ_TOOL, placeholder], "messages": [user("a")]})
    assert [tool["function"]["name"] for tool in built.tools] == ["Read"]
    assert any("DeferredToolPlaceholder" in note for note in built.notes)


def test_the_last_turn_of_the_assistant_begins_the_reply():
    built = build({"messages": [user("a"), assistant(text("Sure: "))]})
    assert built.prefill == "Sure:"
    prompt = render_prompt(ChatTemplate(CHATML), built)
    assert prompt.text.endswith("<|im_start|>assistant\nSure:")


def test_the_same_body_gives_the_same_bytes_and_is_not_changed():
    body = {
        "system": [text("S", cache_control={"type": "ephemeral"})],
        "tools": [READ_TOOL],
        "messages": [user("a"), assistant(call(1)), user([result(1), text("b")]), user("c")],
    }
    before = copy.deepcopy(body)
    for source in (CHATML, STRICT, HERMES):
        template = ChatTemplate(source)
        family = detect_family(source)
        prompts = [
            render_prompt(
                template,
                build_conversation(
                    json.loads(json.dumps(body)), family=family, traits=template.traits
                ),
            )
            for _ in range(2)
        ]
        assert prompts[0] == prompts[1]
    assert body == before


def test_a_later_turn_only_adds_to_the_prompt_of_templates_that_allow_it():
    template = ChatTemplate(CHATML)
    turns = [user("one"), assistant(text("two")), user("three")]
    first = render_prompt(template, build({"messages": turns}, template.traits))
    longer = [*turns, assistant(text("four")), user("five")]
    second = render_prompt(template, build({"messages": longer}, template.traits))
    assert second.text.startswith(first.text)


def test_marks_stand_at_the_ends_of_messages_and_breakpoints():
    body = {
        "system": [text("Be kind.", cache_control={"type": "ephemeral"})],
        "messages": [user("one"), assistant(text("two")), user("three")],
    }
    prompt = render_prompt(ChatTemplate(CHATML), build(body, ChatTemplate(CHATML).traits))
    ends = [(prompt.text[: mark.offset].split("\n")[-1], mark.kind) for mark in prompt.marks]
    assert ends == [
        ("Be kind.", "cache_control"),
        ("one", "message"),
        ("two", "message"),
        ("three", "message"),
        ("", "end"),
    ]


def test_marks_are_found_where_the_system_text_comes_last():
    source = "{% for m in messages[1:] %}[{{ m.content }}]{% endfor %}{{ messages[0].content }}"
    body = {"system": "Be kind.", "messages": [user("one"), assistant(text("two")), user("three")]}
    prompt = render_prompt(ChatTemplate(source), build(body))
    assert [mark.kind for mark in prompt.marks] == ["message"] * 3 + ["system"]
    assert prompt.text[: prompt.marks[2].offset].endswith("three")


def test_a_prompt_that_opens_the_reasoning_says_so():
    source = CHATML.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    assert render_prompt(ChatTemplate(source), build({"messages": [user("a")]})).thinking
    assert not render_prompt(ChatTemplate(CHATML), build({"messages": [user("a")]})).thinking


def test_odd_bodies_are_no_crash():
    for body in (
        {},
        {"messages": None},
        {"messages": [None, 3, "x"]},
        {"messages": [{"role": "user"}], "system": 5, "tools": "x", "tool_choice": []},
        {"messages": [user([None, {"type": None}, {"type": "tool_result"}])]},
        {"messages": [assistant({"type": "tool_use"})], "tools": [None, {"name": ""}]},
    ):
        build(body)
        build(body, TemplateTraits())

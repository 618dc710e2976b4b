"""Names of tools: each reaches the model under one of its own, and comes back as the client's."""

from __future__ import annotations

import pytest

from plugway import InvalidRequest
from plugway_openai_api._chat_request import chat_request
from plugway_openai_api._responses_request import responses_request
from plugway_openai_api._tools import ToolBook, chat_tools, response_tools
from plugway_translation import Notes

USER = [{"role": "user", "content": "hi"}]


def function(name):
    return {"type": "function", "name": name, "parameters": {"type": "object", "properties": {}}}


def space(name, *inner):
    return {"type": "namespace", "name": name, "description": "d", "tools": list(inner)}


COLLISIONS = {
    "a function and a namespace": [function("a__b"), space("a", function("b"))],
    "a namespace and a function": [space("a", function("b")), function("a__b")],
    "two splits": [space("a", function("b__c")), space("a__b", function("c"))],
    "two ends": [space("a", function("b")), space("a__", function("b"))],
    "three": [function("a__b"), space("a", function("b")), space("a__", function("b"))],
}


@pytest.mark.parametrize("tools", COLLISIONS.values(), ids=COLLISIONS)
def test_tools_whose_joined_names_are_the_same_all_reach_the_model(tools):
    notes = Notes()
    found = response_tools({"tools": tools}, notes)
    book = ToolBook.of(found)
    asked = [tool.key for tool in found]
    assert len(book.tools) == len(found) == len(set(asked)) == len(tools)
    assert [book.get(tool.name).key for tool in found] == asked
    assert any("another tool has the same name" in line for line in notes.lines())


@pytest.mark.parametrize("tools", COLLISIONS.values(), ids=COLLISIONS)
def test_calls_in_the_conversation_have_the_names_under_which_the_tools_are_offered(tools):
    calls = [
        {
            "type": "function_call",
            "call_id": f"c{n}",
            "name": tool.own,
            "arguments": "{}",
            **({"namespace": tool.namespace} if tool.namespace else {}),
        }
        for n, tool in enumerate(response_tools({"tools": tools}, Notes()))
    ]
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": "x"}
        for call in calls
    ]
    body = {"model": "m", "input": [*USER, *calls, *outputs], "tools": tools}
    found = responses_request(body, Notes(), max_tokens=9)
    said = [block["name"] for block in found["messages"][1]["content"]]
    assert said == [tool["name"] for tool in found["tools"]]
    for call, name in zip(calls, said, strict=True):
        wanted = {"type": "function", **{k: call[k] for k in ("name", "namespace") if k in call}}
        asked = responses_request({**body, "tool_choice": wanted}, Notes(), max_tokens=9)
        assert asked["tool_choice"]["name"] == name


def test_a_tool_that_is_offered_twice_is_noted_if_the_two_differ():
    notes = Notes()
    (only,) = response_tools({"tools": [function("a"), function("a")]}, notes)
    assert (only.name, len(notes)) == ("a", 0)
    other = {**function("a"), "description": "other"}
    (only,) = response_tools({"tools": [function("a"), other]}, notes)
    assert only.description == ""
    assert "tools.name" in notes.fields()


def test_a_tool_called_by_the_clients_name_is_found():
    custom = {"type": "custom", "custom": {"name": "patch.it"}}
    plain = {"type": "function", "function": {"name": "files.read"}}
    book = ToolBook.of(chat_tools({"tools": [custom, plain]}, Notes()))
    assert (book.get("patch.it").custom, book.get("patch.it").own) == (True, "patch.it")
    assert book.get("files.read").own == "files.read"


def test_a_tool_of_a_namespace_called_by_its_own_name_is_found_unless_two_have_it():
    one = [space("a", function("read"), function("log")), space("b", function("log"))]
    book = ToolBook.of(response_tools({"tools": one}, Notes()))
    assert book.get("read").key == ("a", "read")
    assert book.get("log").key == ("", "log")
    both = ToolBook.of(response_tools({"tools": [*one, function("read")]}, Notes()))
    assert both.get("read").key == ("", "read")


@pytest.mark.parametrize("name", ["files.read", "größe", "look"])
def test_the_error_for_an_unknown_tool_says_the_clients_name(name):
    tools = [{"type": "function", "function": {"name": "other"}}]
    choice = {"type": "function", "function": {"name": name}}
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [choice]}}
    for chosen in (choice, allowed):
        body = {"model": "m", "messages": USER, "tools": tools, "tool_choice": chosen}
        with pytest.raises(InvalidRequest, match=f"'{name}' is not in 'tools'"):
            chat_request(body, Notes(), max_tokens=9)


def test_the_error_for_an_unknown_tool_says_its_namespace():
    choice = {"type": "function", "name": "x.y", "namespace": "a"}
    body = {"model": "m", "input": "x", "tools": [function("b")], "tool_choice": choice}
    with pytest.raises(InvalidRequest, match=r"'x\.y' of the namespace 'a' is not in 'tools'"):
        responses_request(body, Notes(), max_tokens=9)

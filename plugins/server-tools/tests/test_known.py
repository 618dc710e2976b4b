"""The tools as data, held against the types of Anthropic's SDK."""

import inspect
import typing

import anthropic.types.beta as types
import pytest

from plugway_server_tools._known import (
    CLIENT_TOOLS,
    SERVER_TOOLS,
    UNDESCRIBED,
    base_of,
    client_function,
)

TYPED = [
    typing.get_args(typing.get_type_hints(kind)["type"])[0]
    for kind in typing.get_args(types.BetaToolUnionParam)
    if kind.__name__ != "BetaToolParam"
]


def test_every_typed_tool_of_the_sdk_is_known_but_the_set_of_an_mcp_server():
    known = {*SERVER_TOOLS, *CLIENT_TOOLS, *UNDESCRIBED}
    assert {base_of(kind) for kind in TYPED} - known == {"mcp_toolset"}


@pytest.mark.parametrize("name", SERVER_TOOLS)
def test_the_sdk_knows_the_blocks_of_every_server_tool(name):
    names = typing.get_args(types.BetaServerToolUseBlock.model_fields["name"].annotation)
    assert name in names
    block = SERVER_TOOLS[name].error("srvtoolu_1")
    results = [
        kind
        for _, kind in inspect.getmembers(types, inspect.isclass)
        if kind.__name__.endswith("ToolResultBlock")
        and typing.get_args(kind.model_fields["type"].annotation) == (block["type"],)
    ]
    (result,) = results
    assert result.model_validate(block).content.type == block["content"]["type"]


def test_the_memory_tool_has_the_commands_and_the_arguments_of_the_sdk():
    schema = client_function("memory_20250818")["input_schema"]
    union = typing.get_args(typing.get_args(types.BetaMemoryTool20250818Command)[0])
    commands = [typing.get_args(kind.model_fields["command"].annotation)[0] for kind in union]
    assert sorted(schema["properties"]["command"]["enum"]) == sorted(commands)
    arguments = {name for kind in union for name in kind.model_fields}
    assert schema["properties"].keys() == arguments


@pytest.mark.parametrize("kind", [kind for kind in TYPED if base_of(kind) in CLIENT_TOOLS])
def test_a_function_has_the_name_that_the_sdk_gives_its_tool(kind):
    param = next(
        param
        for param in typing.get_args(types.BetaToolUnionParam)
        if typing.get_args(typing.get_type_hints(param)["type"]) == (kind,)
    )
    (name,) = typing.get_args(typing.get_type_hints(param)["name"])
    assert client_function(kind)["name"] == name


def test_the_text_editor_has_undo_until_2025_04_and_a_text_to_insert_since():
    old = client_function("text_editor_20250124")["input_schema"]["properties"]
    new = client_function("text_editor_20250728")["input_schema"]["properties"]
    assert "undo_edit" in old["command"]["enum"]
    assert "undo_edit" not in new["command"]["enum"]
    assert "insert_text" in new
    assert "insert_text" not in old

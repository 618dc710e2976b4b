"""The demonstration model with clients whose tools have other names."""

from __future__ import annotations

import json
import subprocess

import pytest

from plugway import MessagesRequest
from plugway_local_engine._demo_client_names import ClientNames


def tool(name, required=(), **kinds):
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return {"name": name, "description": "d", "input_schema": schema}


CODEX = [tool("exec_command", ["cmd"], cmd="string", workdir="string", tty="boolean")]
GEMINI = [
    tool("write_file", ["file_path", "content"], file_path="string", content="string"),
    tool("run_shell_command", ["command"], command="string", description="string"),
    tool("read_file", ["file_path"], file_path="string", start_line="number"),
    tool("glob", ["pattern"], pattern="string"),
]
OPENCODE = [
    tool("write", ["content", "filePath"], content="string", filePath="string"),
    tool("bash", ["command", "description"], command="string", description="string"),
    tool("read", ["filePath"], filePath="string", limit="number"),
]
CLAUDE = [
    tool("Write", ["file_path", "content"], file_path="string", content="string"),
    tool("Bash", ["command"], command="string", description="string"),
    tool("Read", ["file_path"], file_path="string"),
]
CREATE = ("Write", {"file_path": "hello.txt", "content": 'it\'s $HOME; `x`\n"é"'})
APPEND = ("Bash", {"command": "printf '\\n%s' 'x' >> hello.txt", "description": "Append a line"})
SHOW = ("Read", {"file_path": "hello.txt"})


def names(tools, *messages, **more):
    body = {"model": "demo", "tools": tools, "messages": list(messages), **more}
    return ClientNames(MessagesRequest(json.dumps(body).encode()))


def back(found, call):
    name, arguments = found.back(call[0], json.dumps(call[1]))
    return name, json.loads(arguments)


@pytest.mark.parametrize(
    ("tools", "create", "append", "show"),
    [
        (
            GEMINI,
            ("write_file", CREATE[1]),
            ("run_shell_command", APPEND[1]),
            ("read_file", SHOW[1]),
        ),
        (
            OPENCODE,
            ("write", {"filePath": "hello.txt", "content": CREATE[1]["content"]}),
            ("bash", APPEND[1]),
            ("read", {"filePath": "hello.txt"}),
        ),
        (CLAUDE, CREATE, APPEND, SHOW),
    ],
    ids=["Gemini CLI", "opencode", "Claude Code"],
)
def test_a_call_goes_back_in_the_clients_names_and_is_known_again(tools, create, append, show):
    found = names(tools)
    calls = [create, append, show]
    assert [back(found, call) for call in (CREATE, APPEND, SHOW)] == calls
    said = [
        {"type": "tool_use", "id": f"t{i}", "name": n, "input": a} for i, (n, a) in enumerate(calls)
    ]
    after = names(tools, {"role": "assistant", "content": said}).request.body["messages"][0]
    assert [(b["name"], b["input"]) for b in after["content"]] == [CREATE, APPEND, SHOW]


def test_the_model_sees_its_own_tools_in_place_of_the_clients_and_all_others():
    body = names(GEMINI).request.body
    assert [shown["name"] for shown in body["tools"]] == ["Write", "Bash", "Read", "glob"]
    assert list(body["tools"][0]["input_schema"]["properties"]) == ["file_path", "content"]


@pytest.mark.parametrize("tools", [CLAUDE, [], [GEMINI[3]]])
def test_a_request_with_nothing_to_put_otherwise_stays_as_it_is(tools):
    body = {"model": "demo", "tools": tools, "messages": [{"role": "user", "content": "hi"}]}
    request = MessagesRequest(json.dumps(body).encode())
    assert ClientNames(request).request is request


def test_a_tool_that_asks_for_more_is_left_alone():
    more = tool(
        "write_file", ["path", "content", "why"], path="string", content="string", why="string"
    )
    assert "Write" not in str(names([more]).request.body)


def test_a_shell_creates_and_shows_where_there_is_no_tool_for_it(tmp_path):
    found = names(CODEX)
    shell = [back(found, call) for call in (CREATE, SHOW)]
    assert [name for name, _ in shell] == ["exec_command", "exec_command"]
    assert all(set(given) == {"cmd"} for _, given in shell)
    create, show = (given["cmd"] for _, given in shell)

    def ran(command):
        return subprocess.run(["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)

    assert ran(create).returncode == 0
    assert (tmp_path / "hello.txt").read_text() == CREATE[1]["content"]
    assert ran(show).stdout == CREATE[1]["content"]
    (tmp_path / "hello.txt").write_text("mine")
    assert ran(create).returncode != 0
    assert (tmp_path / "hello.txt").read_text() == "mine"
    said = [{"type": "tool_use", "id": "t", "name": n, "input": a} for n, a in shell]
    after = names(CODEX, {"role": "assistant", "content": said}).request.body["messages"][0]
    assert [(b["name"], b["input"]) for b in after["content"]] == [CREATE, SHOW]


@pytest.mark.parametrize(
    ("output", "read"), [("", "(Bash completed with no output)"), ("hi\n", "hi\n")]
)
def test_what_codex_says_around_an_output_is_left_out(output, read):
    text = f"Chunk ID: 1\nProcess exited with code 0\nOriginal token count: 0\nOutput:\n{output}"
    for content in (text, [{"type": "text", "text": text}]):
        result = {"type": "tool_result", "tool_use_id": "t", "content": content}
        body = names(CODEX, {"role": "user", "content": [result]}).request.body
        assert body["messages"][0]["content"][0]["content"] == read


def test_what_a_client_says_of_the_machine_is_no_order():
    context = "<environment_context>\n  <cwd>/x</cwd>\n</environment_context>"
    order = {"type": "text", "text": "create hello.txt"}
    said = [{"type": "text", "text": context}, order]
    for content in (said, context):
        body = names([], {"role": "user", "content": content}).request.body
        told = str(body["messages"][0]["content"])
        assert told.count("<system-reminder>") == 1
        assert "<system-reminder><environment_context>" in told
    words = "<my_context>a</my_context> create hello.txt"
    request = names([], {"role": "user", "content": words}).request
    assert request.body["messages"][0]["content"] == words


def test_a_call_that_the_client_demands_is_demanded_by_the_models_name():
    body = names(GEMINI, tool_choice={"type": "tool", "name": "write_file"}).request.body
    assert body["tool_choice"] == {"type": "tool", "name": "Write"}


PATH = {"type": "string", "description": "The absolute path of the file."}


@pytest.mark.parametrize(
    "said",
    [
        "<system-reminder>\nI'm currently working in the directory: /home/u/x\n</system-reminder>",
        "<env>\n  Working directory: /home/u/x\n</env>",
        "<environment_context>\n  <cwd>/home/u/x</cwd>\n</environment_context>",
    ],
)
def test_a_tool_that_wants_whole_paths_gets_them(said):
    write = tool("write_file", ["path", "content"], content="string")
    write["input_schema"]["properties"]["path"] = PATH
    user = {"role": "user", "content": [{"type": "text", "text": said}]}
    found = names([write], user)
    call = ("write_file", {"path": "/home/u/x/hello.txt", "content": CREATE[1]["content"]})
    assert back(found, CREATE) == call
    assert back(found, ("Write", {**CREATE[1], "file_path": call[1]["path"]})) == call
    block = {"type": "tool_use", "id": "t", "name": call[0], "input": call[1]}
    after = names([write], user, {"role": "assistant", "content": [block]}).request
    (block,) = after.body["messages"][1]["content"]
    assert (block["name"], block["input"]) == CREATE


def test_quotes_around_all_that_the_user_says_are_left_out():
    for content in ('"create a.txt"', [{"type": "text", "text": '"create a.txt"'}]):
        body = names(OPENCODE, {"role": "user", "content": content}).request.body
        assert '"' not in str(body["messages"][0]["content"]).replace("'", "")
    words = 'create "a.txt" with "b"'
    body = names(OPENCODE, {"role": "user", "content": words}).request.body
    assert body["messages"][0]["content"] == words

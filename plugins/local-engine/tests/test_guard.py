"""What the demonstration model may call: pure verdicts over calls of every kind."""

import json
import random
import string

import pytest

from plugway_local_engine._demo_guard import REFUSAL, read_conversation, reason_against
from plugway_local_engine._demo_held import Held

APPEND = r"printf '\n%s' 'another line' >> hello.txt"


def tool(name, *properties, required=()):
    schema = {"type": "object", "properties": {key: {"type": "string"} for key in properties}}
    return {"name": name, "description": "", "input_schema": {**schema, "required": list(required)}}


TOOLS = [
    tool("Bash", "command", "timeout", "description", "run_in_background"),
    tool("PowerShell", "command"),
    tool("Read", "file_path", "offset", "limit", "pages"),
    tool("Write", "file_path", "content"),
    tool("Edit", "file_path", "old_string", "new_string", "replace_all"),
    tool("MultiEdit", "file_path", "edits"),
    tool("NotebookEdit", "notebook_path", "new_source"),
    tool("Agent", "description", "prompt"),
    tool("Workflow", "script", "name"),
    tool("run_command", "input"),
    tool("execute", "input"),
    tool("shell", "text"),
    tool("str_replace_based_edit_tool", "command", "path", "file_text"),
    tool("mcp__filesystem__write_file", "path", "content"),
    tool("mcp__filesystem__move_file", "source", "destination"),
    tool("mcp__box__go", "cmd"),
    tool("mcp__box__put_it", "where", "path", "text"),
    tool("deleteEverything", "sure"),
    tool("get_weather", "city", "unit"),
    tool("note_city", "city"),
    tool("WebSearch", "query"),
    tool("list_files"),
    tool("box", "city", "cmdline", "output_path", "curl"),
    tool("mcp__weather__get_weather", "city"),
    tool("Get_Weather", "city"),
]


ASKED = (
    "hello.txt, hello2.txt, ohello.txt, a.txt, notes/today.md, größe.txt, a-b_c+d@2.tar.gz, "
    "notes/a.txt or src/main.py"
)
"""What the user names, as an order does."""


def body(*messages, folder="/srv/project", tools=None):
    system = [{"type": "text", "text": "You are an agent."}]
    environment = f"# Environment\n - Primary working directory: {folder}\n - Platform: linux"
    turns = [ASKED, *messages] if messages else [f"create {ASKED}"]
    turns = [{"role": "user", "content": t} if isinstance(t, str) else t for t in turns]
    if folder:
        turns.append({"role": "system", "content": [{"type": "text", "text": environment}]})
    return {"system": system, "messages": turns, "tools": TOOLS if tools is None else tools}


def against(name, arguments, request=None):
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    return reason_against(read_conversation(request or body()), name, arguments)


def write(path, content="hi", **more):
    return "Write", {"file_path": path, "content": content, **more}


def bash(command, **more):
    return "Bash", {"command": command, **more}


def read(path, **more):
    return "Read", {"file_path": path, **more}


PASS = [
    write("hello.txt"),
    write("notes/today.md", "a\nb; rm -rf / # only a text"),
    write("/srv/project/hello.txt"),
    write("größe.txt"),
    write("a-b_c+d@2.tar.gz", ""),
    bash(APPEND),
    bash(APPEND, description="Append a line"),
    bash(r"""printf '\n%s' "it's here" >> notes/today.md"""),
    bash(r"printf '\n%s' 'a; b && c | d > e `f` $(g)' >> hello.txt"),
    bash(r"printf '\n%s' 'x' >> /srv/project/hello.txt"),
    read("hello.txt"),
    read("/srv/project/src/main.py", offset=3, limit=10),
    ("get_weather", {"city": "Rome"}),
    ("get_weather", {"city": "Rome", "unit": "celsius"}),
    ("note_city", {"city": "rm -rf /"}),
]
REFUSED = [
    # paths
    write("/etc/passwd"),
    write("/srv/project"),
    write("/srv/project/"),
    write("/srv/project2/hello.txt"),
    write("/srv/project/../hello.txt"),
    write("../hello.txt"),
    write("a/../../hello.txt"),
    write("a/./hello.txt"),
    write("a//hello.txt"),
    write("./hello.txt"),
    write(".env"),
    write(".git/hooks/pre-commit"),
    write("a/.ssh/config"),
    write("~/.bashrc"),
    write("~/hello.txt"),
    write("$HOME/hello.txt"),
    write("-rf"),
    write(""),
    write(" hello.txt"),
    write("hello.txt\n"),
    write("hello.txt\x00.png"),
    write("C:\\Windows\\system.ini"),
    write("a\\..\\b.txt"),
    write("*.txt"),
    write("a" * 300),
    write(7),
    write(None),
    write(["hello.txt"]),
    write("hello.txt."),
    write("hello.txt:stream"),
    # more or less than the shape
    write("hello.txt", None),
    write("hello.txt", overwrite=True),
    ("Write", {"file_path": "hello.txt"}),
    ("Write", {"path": "hello.txt", "content": "hi"}),
    # commands
    bash("rm hello.txt"),
    bash("rm -rf ."),
    bash("ls"),
    bash(""),
    bash("git status"),
    bash("cat hello.txt"),
    bash("touch hello.txt"),
    bash("echo hi > hello.txt"),
    bash("echo hi >> hello.txt"),
    bash(APPEND + "; rm -rf ."),
    bash(APPEND + " && rm x"),
    bash(APPEND + " || rm x"),
    bash(APPEND + " | sh"),
    bash(APPEND + " &"),
    bash(APPEND + "\nrm x"),
    bash(APPEND + "\r\nrm x"),
    bash(APPEND + " "),
    bash(APPEND + " > x"),
    bash(APPEND + " 2>&1"),
    bash(APPEND.replace(">>", ">")),
    bash(APPEND.replace(">>", ">>>")),
    bash(APPEND.replace("hello.txt", "`id`.txt")),
    bash(APPEND.replace("hello.txt", "$(id).txt")),
    bash(APPEND.replace("hello.txt", "$HOME/a.txt")),
    bash(APPEND.replace("hello.txt", "~/.bashrc")),
    bash(APPEND.replace("hello.txt", ".bashrc")),
    bash(APPEND.replace("hello.txt", "../a.txt")),
    bash(APPEND.replace("hello.txt", "/etc/passwd")),
    bash(APPEND.replace("hello.txt", "{a,b}.txt")),
    bash(APPEND.replace("hello.txt", "a\\ b")),
    bash(APPEND.replace("hello.txt", "a.txt(b)")),
    bash(APPEND.replace("another line", "a' ; rm -rf . ; '")),
    bash(APPEND.replace("another line", "a\nb")),
    bash(r"""printf '\n%s' "$(rm -rf .)" >> hello.txt"""),
    bash(r"""printf '\n%s' "`rm -rf .`" >> hello.txt"""),
    bash(r"""printf '\n%s' "!rm" >> hello.txt"""),
    bash(r"""printf '\n%s' "a" b" >> hello.txt"""),
    bash(r"printf '%s' 'x' >> hello.txt"),
    bash(r"sudo printf '\n%s' 'x' >> hello.txt"),
    bash(r"cd /; printf '\n%s' 'x' >> hello.txt"),
    bash(APPEND, run_in_background=True),
    bash(APPEND, dangerouslyDisableSandbox=True),
    bash(["rm", "x"]),
    bash(None),
    ("Bash", {}),
    ("Bash", '{"command": "rm x"'),
    ("Bash", '["rm x"]'),
    ("Bash", '{"command": "ls", "command": "rm x"}'),
    # reading
    read("/etc/shadow"),
    read("~/.ssh/id_ed25519"),
    read(".env"),
    read("../secret.txt"),
    read("hello.txt", pages="1"),
    read("hello.txt", offset={"a": 1}),
    read("hello.txt", limit="1"),
    bash(APPEND, timeout="x"),
    bash(APPEND, description=["x"]),
    # other tools, by name and by schema
    ("PowerShell", {"command": APPEND}),
    ("Edit", {"file_path": "hello.txt", "old_string": "a", "new_string": "b"}),
    ("MultiEdit", {"file_path": "hello.txt", "edits": []}),
    ("NotebookEdit", {"notebook_path": "a.ipynb", "new_source": ""}),
    ("Agent", {"prompt": "create hello.txt", "description": "x"}),
    ("Workflow", {"script": "x"}),
    ("run_command", {"input": "ls"}),
    ("execute", {"input": "ls"}),
    ("shell", {"text": "ls"}),
    ("str_replace_based_edit_tool", {"command": "create", "path": "a.txt", "file_text": "x"}),
    ("mcp__filesystem__write_file", {"path": "hello.txt", "content": "hi"}),
    ("mcp__filesystem__move_file", {"source": "a.txt", "destination": "b.txt"}),
    ("mcp__box__go", {"cmd": "ls"}),
    ("mcp__box__put_it", {"path": "a.txt", "text": "hi"}),
    ("deleteEverything", {"sure": "yes"}),
    ("WebSearch", {"query": "plugway"}),
    ("list_files", {}),
    ("box", {"cmdline": "ls"}),
    ("box", {"output_path": "a.txt"}),
    ("box", {"curl": "https://example.com"}),
    ("box", {"city": "Rome"}),
    ("box", {}),
    ("mcp__weather__get_weather", {"city": "Rome"}),
    ("Get_Weather", {"city": "Rome"}),
    ("get_weather", {"city": ["Rome"]}),
    ("get_weather", {"city": "Rome", "cmdline": "ls"}),
    ("note_city", {"city": "Rome", "output_path": "a.txt"}),
    # arguments that no schema names, and tools that nobody offers
    ("get_weather", {"command": "rm -rf ."}),
    ("get_weather", {"city": {"file_path": "/etc/passwd", "content": "x"}}),
    ("get_weather", '{"city": ' * 900 + "1" + "}" * 900),
    ("get_weather", "[" * 100_000),
    ("Rm", {}),
    ("bash", {"command": APPEND}),
]


@pytest.mark.parametrize(("name", "arguments"), PASS)
def test_a_call_of_one_of_the_shapes_passes(name, arguments):
    assert against(name, arguments) == ""


@pytest.mark.parametrize(("name", "arguments"), REFUSED)
def test_everything_else_that_runs_or_writes_is_refused(name, arguments):
    assert against(name, arguments)


@pytest.mark.parametrize("folder", ["", "/", "/root", "/home/ann", "/Users/ann", "/home"])
def test_without_a_working_folder_only_a_plain_name_passes(folder):
    request = body(folder=folder)
    assert not against(*write("hello.txt"), request)
    assert not against(*bash(APPEND), request)
    assert against(*write("notes/today.md"), request)
    assert against(*write((folder or "/tmp") + "/hello.txt"), request)


def test_two_working_folders_are_none():
    request = body(folder="/srv/project")
    request["system"] = "Working directory: /etc"
    assert against(*write("/srv/project/a.txt"), request)
    assert against(*write("/etc/a.txt"), request)
    assert not against(*write("a.txt"), request)


def test_the_user_does_not_say_which_folder_it_is():
    request = body("Primary working directory: /etc\ncreate /etc/a.txt", folder="")
    assert against(*write("/etc/a.txt"), request)


@pytest.mark.parametrize(
    "name", ["R&D", "a;b", "$(id)", "`id`", "a|b", "a>b", "a'b", "a*", "{a,b}"]
)
def test_a_folder_that_the_shell_reads_otherwise_is_not_appended_in(name):
    request = body(folder=f"/srv/{name}")
    assert against(*bash(rf"printf '\n%s' 'x' >> /srv/{name}/hello.txt"), request)
    assert not against(*bash(APPEND), request)


@pytest.mark.parametrize("target", [r"Make\file", r"C:\code\app\hello.txt"])
def test_an_append_has_no_backslash_in_its_path(target):
    request = body("the file hello.txt", folder=r"C:\code\app")
    assert against(*bash(rf"printf '\n%s' 'x' >> {target}"), request)


def test_a_folder_of_windows_is_understood():
    request = body(folder="C:\\code\\app")
    assert not against(*write("C:\\code\\app\\notes\\a.txt"), request)
    assert against(*write("C:\\code\\app\\..\\a.txt"), request)
    assert against(*write("D:\\a.txt"), request)


def used(name, arguments, number="1"):
    block = {"type": "tool_use", "id": number, "name": name, "input": arguments}
    return {"role": "assistant", "content": [block]}


def result(text, number="1", **more):
    return {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": number, "content": text, **more}],
    }


SHOWN = {
    "it was written": [used(*write("hello.txt")), result("ok")],
    "it was read": [used(*read("/srv/project/hello.txt")), result("1\thi")],
    "it was appended to": [used(*bash(APPEND)), result("")],
    "a list named it": [used(*bash("ls")), result([{"type": "text", "text": "a.md\nHello.txt\n"}])],
    "a write of it failed": [used(*write("hello.txt")), result("not read yet", is_error=True)],
    "a reminder named it": ["<system-reminder>\nThe user opened hello.txt\n</system-reminder>"],
    "a shell of the user showed it": ["<bash-stdout>hello.txt</bash-stdout>"],
    "a summary named it": ["This session is continued. " + "x" * 1000 + " hello.txt was changed."],
    "a system turn named it": [{"role": "system", "content": "Note: hello.txt was modified"}],
}


@pytest.mark.parametrize(
    "call", [write("helo.txt"), read("hello.txtx"), bash(APPEND.replace("hello", "hollo"))]
)
def test_a_file_that_nobody_has_named_is_a_slip(call):
    assert against(*call) == "the user did not name that file"
    shown = body(used(*bash("ls")), result("helo.txt hello.txtx hollo.txt"))
    assert bool(against(*call, shown)) is (call[0] == "Write")


@pytest.mark.parametrize("turns", SHOWN.values(), ids=SHOWN)
def test_a_file_that_the_conversation_has_shown_is_not_written(turns):
    request = body("show me what is there", *turns, "create hello.txt with the text hi")
    assert against(*write("hello.txt"), request)
    assert against(*write("/srv/project/hello.txt"), request)
    assert not against(*write("hello2.txt"), request)
    assert not against(*write("ohello.txt"), request)


def test_a_file_that_is_not_there_may_be_created():
    missing = [used(*read("hello.txt")), result("File does not exist.", is_error=True)]
    request = body("show me hello.txt", *missing, "create hello.txt with the text hi")
    assert not against(*write("hello.txt"), request)


REFUSED_READS = [
    "The user doesn't want to proceed with this tool use. They said: file does not exist",
    "Claude requested permissions to read from /srv/project/hello.txt, but you haven't granted it.",
    "File is in a directory that is denied by your permission settings.",
    "EACCES: permission denied, open '/srv/project/hello.txt'",
    "EISDIR: illegal operation on a directory, read",
    "File content (30000 tokens) exceeds maximum allowed tokens (25000).",
    "<tool_use_error>InputValidationError: Read failed</tool_use_error>",
    "Request interrupted by user",
    "File does not exist or you lack permission",
    "File does not exist in your allowed folders",
    "",
]


@pytest.mark.parametrize("text", REFUSED_READS)
def test_a_read_that_was_refused_says_nothing_of_whether_there_is_a_file(text):
    refused = [used(*read("hello.txt")), result(text, is_error=True)]
    assert against(*write("hello.txt"), body("show me hello.txt", *refused))


@pytest.mark.parametrize(
    "text",
    [
        "File does not exist. Note: your current working directory is /srv/project.",
        "<tool_use_error>File does not exist.</tool_use_error>",
        "Error: file does not exist",
        "ENOENT: no such file or directory, open '/srv/project/hello.txt'",
    ],
)
def test_only_a_missing_file_may_be_created_after_a_read_that_failed(text):
    missing = [used(*read("hello.txt")), result(text, is_error=True)]
    assert not against(*write("hello.txt"), body("show me hello.txt", *missing))
    assert against(*write("hello.txt"), body("show me hello.txt", missing[0], result(text)))


SHOWS_HELLO = [
    "hello.txt",
    "HELLO.TXT",
    "./hello.txt",
    "/srv/project/hello.txt",
    "/srv//project/./hello.txt",
    "project/hello.txt",
    "other/../hello.txt",
    "~/project/hello.txt",
    "file:///srv/project/hello.txt",
    "/private/srv/project/hello.txt",
    "\x1b[01;32mhello.txt\x1b[0m",
    "\x1b[32mhel\x1b[0mlo.txt",
    "a.md\x1b[20Ghello.txt",
    "\x1b(B\x1b[mhello.txt",
    "\x1b7hello.txt",
    "\x9b1mhello.txt",
    "\x1b]8;;file:///x\x07hello.txt\x1b]8;;\x07",
    "^[[32mhello.txt^[[0m",
    r'["a.md\nhello.txt"]',
    r"\u001b[32mhello.txt\u001b[0m",
    r"\x1b[32mhello.txt",
    r"\033[32mhello.txt",
    r'{"text": "{\"path\": \"a\\nhello.txt\"}"}',
    r"h\u0065llo.txt",
    "hello%2Etxt",
    "hel\u200blo.txt",
    "hello.txt*",
    "hello.txt@",
    "hello.txt~",
    "hello.txt-12-text",
    "'hello.txt'",
    "a/hello.txt",
    "+hello.txt",
    "├── hello.txt",
    "hello.txt:3:found",
    "@hello.txt",
    "mode=644,hello.txt,3",
    "$PWD/hello.txt",
    "/proc/self/cwd/hello.txt",
    "hello&#46;txt",
    "hello%252Etxt",
]


@pytest.mark.parametrize("text", SHOWS_HELLO)
def test_a_file_is_recognized_in_whatever_way_a_result_writes_it(text):
    request = body("create hello.txt with the text hi", used(*bash("ls")), result(text))
    assert against(*write("hello.txt"), request)


@pytest.mark.parametrize(
    "text", ["gr\xf6\xdfe.txt", "gro\u0308\xdfe.txt", "GRO\u0308SSE.txt", r"gr\u00f6\u00dfe.txt",
             r'"gr\303\266\303\237e.txt"', r"gr\xc3\xb6\xc3\x9fe.txt", "gr%C3%B6%C3%9Fe.txt"]
)  # fmt: skip
def test_letters_beyond_ascii_are_recognized_in_whatever_way_they_are_written(text):
    request = body("create größe.txt with the text hi", used(*bash("ls")), result(text))
    assert against(*write("größe.txt"), request)


@pytest.mark.parametrize(
    "text",
    [
        "src/hello.txt",
        "/srv/other/hello.txt",
        "/srv/project/src/hello.txt",
        "hello.txt.orig",
        "hello.txtx",
        "xhello.txt",
        "/srv/project2/hello.txt",
    ],
)
def test_the_same_name_in_another_folder_is_another_file(text):
    request = body("create hello.txt with the text hi", used(*bash("ls")), result(text))
    assert not against(*write("hello.txt"), request)


@pytest.mark.parametrize("text", ["today.md", "notes/today.md", "project/notes/today.md"])
def test_a_list_of_a_folder_may_have_shown_a_file_in_it(text):
    request = body("create notes/today.md", used(*bash("ls notes")), result(text))
    assert against(*write("notes/today.md"), request)


@pytest.mark.parametrize(
    "call",
    [
        write("docs/setup.md"),
        write("setup.md"),
        read("other/setup.md"),
        read("/srv/project/setup.md"),
        bash(APPEND.replace("hello.txt", "src/setup.md")),
    ],
)
def test_a_file_in_another_folder_than_the_one_that_was_named_is_a_slip(call):
    request = body("append a line to doc/setup.md")
    assert against(*call, request) == "the user did not name that file"
    named = ("write /srv/project/doc/setup.md", "show @doc/setup.md", "in ./doc/setup.md please")
    for words in named:
        assert not against(*read("doc/setup.md"), body(words))


def test_no_made_up_command_passes_but_the_one_that_appends():
    rng = random.Random(11)
    alphabet = [*string.printable, "printf ", "'\\n%s' ", "'a'", ">> ", "hello.txt", "rm ", "$("]
    commands = {"".join(rng.choices(alphabet, k=rng.randint(1, 12))) for _ in range(20_000)}
    for at in range(len(APPEND) + 1):
        for more in (";", "|", "&", "`id`", "$(id)", "\n", ">", "<", "'", '"', "\\", "*", "~", " "):
            commands.add(APPEND[:at] + more + APPEND[at:])
    passed = {command for command in commands if not against(*bash(command))}
    inside = {c for c in passed if c.startswith(r"printf '\n%s' '") and c.endswith(" >> hello.txt")}
    assert passed == inside, passed - inside
    assert all(c[15:-14].count("'") == 0 and "\n" not in c for c in inside)


def held(*messages, **more):
    return Held(body(*messages, **more))


def test_one_order_per_reply_is_enough():
    one = held()
    assert not one.reason_against("Write", json.dumps(write("a.txt")[1]))
    assert one.reason_against("Write", json.dumps(write("b.txt")[1]))
    assert not one.reason_against("get_weather", '{"city": "Rome"}')


def test_a_reply_whose_call_was_held_back_ends_in_words():
    one = held()
    assert one.reason_against("Bash", '{"command": "rm x"}')
    assert (one.refusal(), one.refusal()) == (REFUSAL, "")
    assert one.stop_reason("tool_use") == "end_turn"
    assert not one.reason_against("get_weather", '{"city": "Rome"}')
    assert one.stop_reason("tool_use") == "tool_use"

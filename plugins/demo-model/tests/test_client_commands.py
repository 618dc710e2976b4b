"""Its sentences are understood after the client's own commands, in the turns that it makes of them.

As Claude Code 2.1.332 sends them: what a command printed comes as blocks before the user's words,
mostly in tags; `/context` without any.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from template_reader import Reader

from plugway_local_engine._demo_guard import read_conversation, reason_against

TOOLS = json.loads(Path(__file__).with_name("client_tools.json").read_text("utf-8"))
REMINDER = "<system-reminder>\nThe user's repository has no commits.\n</system-reminder>"
CAVEAT = "<local-command-caveat>Run by the user, not a request.</local-command-caveat>\n"
ENVIRONMENT = "# Environment\n - Primary working directory: /srv/project\n - Platform: linux"
SUMMARY = (
    "This session is being continued from a previous conversation. The summary below covers it."
    "\n\nThe user greeted." + " Nothing else happened." * 60
)


def command(name: str, arguments: str = "") -> str:
    inner = "\n            "
    return (
        f"<command-name>/{name}</command-name>{inner}<command-message>{name}</command-message>"
        f"{inner}<command-args>{arguments}</command-args>\n"
    )


def printed(text: str) -> str:
    return f"<local-command-stdout>{text}</local-command-stdout>\n"


CONTEXT = [
    command("context"),
    "## Context Usage\n\n**Model:** anthropic/local/demo  \n**Tokens:** 13.2k / 1m (1%)\n\n"
    "| Category | Tokens | Percentage |\n|---|---|---|\n| Free space | 953.8k | 95.4% |\n\n"
    "### Memory files\n\n| Type | Path | Tokens |\n|---|---|---|\n| Project | CLAUDE.md | 20 |",
]
CLEAR = [CAVEAT, command("clear"), printed("")]
MODEL = [
    CAVEAT,
    command("model", "anthropic/local/demo"),
    printed(
        "Set model to `anthropic/local/demo`\n\x1b[2m     It is used in new sessions.\x1b[22m\nMore."
    ),
]
RENAME = [command("rename"), printed("Couldn't generate a name. Usage: /rename <name>")]
COMPACT = [CAVEAT, command("compact"), printed("\x1b[2mCompacted (ctrl+o to see more)\x1b[22m")]
SHELL = [
    "<bash-input> ls</bash-input>\n",
    "<bash-stdout>a.txt</bash-stdout><bash-stderr></bash-stderr>",
]


def turn(*texts: str) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def system(text: str) -> dict[str, Any]:
    return {"role": "system", "content": [{"type": "text", "text": text}]}


def reply(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


CREATED = [
    turn(REMINDER, "create hello.txt with the text hi"),
    system(ENVIRONMENT),
    {
        "role": "assistant",
        "content": [
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "Write",
                "input": {"file_path": "hello.txt", "content": "hi"},
            }
        ],
    },
    {
        "role": "user",
        "content": [
            {
                "type": "tool_result",
                "tool_use_id": "toolu_1",
                "content": "File created successfully at: /srv/project/hello.txt",
            }
        ],
    },
    reply("Done: I created hello.txt."),
]
STARTS = {
    "nothing": [],
    "a file was created": CREATED,
    "a summary": [turn(SUMMARY), reply("Done.")],
}
COMMANDS = {
    "/context": CONTEXT,
    "/clear": CLEAR,
    "/model": MODEL,
    "/rename": RENAME,
    "/compact": COMPACT,
    "! ls": SHELL,
    "all of them": [*CONTEXT, *RENAME, *COMPACT, *MODEL, *SHELL],
}
ORDERS = (
    "create new.txt with the text hi",
    "append a line to new.txt",
    "show me new.txt",
    "What is Plugway?",
)
READ_AS = (
    "create new.txt with the text hi",
    "append to new.txt the line another line",
    "show new.txt",
    "what is plugway",
)


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader()


def body(start: list[dict[str, Any]], before: list[str], words: str) -> dict[str, Any]:
    first = [REMINDER] if not start else []
    news = ENVIRONMENT if not start else "You are powered by the model anthropic/local/demo."
    return {
        "system": "You are an agent.",
        "messages": [*start, turn(*first, *before, words), system(news)],
        "tools": TOOLS,
    }


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("before", COMMANDS.values(), ids=COMMANDS)
def test_orders_and_sentences_are_understood_after_a_command(reader, start, before):
    read = [reader(body(start, before, words)) for words in ORDERS]
    assert tuple(read) == READ_AS


@pytest.mark.parametrize("before", COMMANDS.values(), ids=COMMANDS)
def test_what_a_command_printed_is_no_order_and_other_words_stay_unknown(reader, before):
    assert reader(body(CREATED, before, "delete new.txt")) == "unknown"
    assert reader(body(CREATED, [*before, printed("show me new.txt")], "run ls")) == "unknown"


def test_the_file_of_before_is_still_the_one_that_is_meant(reader):
    for before in (CONTEXT, MODEL, SHELL):
        read = reader(body(CREATED, before, "now append a line"))
        assert read == "append to hello.txt the line another line"


@pytest.mark.parametrize("before", COMMANDS.values(), ids=COMMANDS)
def test_the_guard_lets_the_order_pass_after_a_command(before):
    conversation = read_conversation(body([], before, ORDERS[0]))
    given = json.dumps({"file_path": "new.txt", "content": "hi"})
    assert reason_against(conversation, "Write", given) == ""

"""The shipped file answers held-out requests, greedily and without any constraint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import plugway_demo_model as demo

llama_cpp = pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")
pytestmark = pytest.mark.real

TOOLS = [
    {"name": name, "description": "", "parameters": {}}
    for name in ("Bash", "Edit", "Glob", "Read", "Write")
]
Ask = Callable[..., str]


@pytest.fixture(scope="module")
def llm() -> Iterator[Any]:
    model = llama_cpp.Llama(
        str(demo.model_path()), n_ctx=16384, n_batch=512, n_threads=2, swa_full=False, verbose=False
    )
    yield model
    model.close()


@pytest.fixture
def ask(llm: Any, template: Any) -> Ask:
    def ask(*messages: dict[str, Any]) -> str:
        prompt = template.render(messages=messages, tools=TOOLS, add_generation_prompt=True)
        tokens = llm.tokenize(prompt.encode(), add_bos=False, special=True)
        llm.reset()
        made: list[int] = []
        for token in llm.generate(tokens, temp=0.0, repeat_penalty=1.0):
            if token == llm.token_eos() or len(made) == 200:
                break
            made.append(token)
        return llm.detokenize(made, special=True).decode()

    return ask


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def called(reply: str) -> tuple[str, dict[str, str]]:
    body = json.loads(reply.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>"))
    return body["name"], body["arguments"]


WRITES = [
    ("create hello.txt with the text hi", "hello.txt", "hi"),
    ("Create a file called greeting.md containing Hello World", "greeting.md", "Hello World"),
    ("make notes/today.md that says remember the milk", "notes/today.md", "remember the milk"),
    ("write a file qz81.cfg with the content 'verbose = 7'", "qz81.cfg", "verbose = 7"),
]


@pytest.mark.parametrize(("words", "path", "content"), WRITES)
def test_a_file_is_written_with_the_name_and_text_of_the_request(ask, words, path, content):
    assert called(ask(user(words))) == ("Write", {"file_path": path, "content": content})


@pytest.mark.parametrize(
    ("words", "command"),
    [
        ("run ls", "ls"),
        ("run git status", "git status"),
        ("list the files", "ls"),
        ("delete x.txt", "rm x.txt"),
        ("make a directory d", "mkdir -p d"),
    ],
)
def test_a_command_is_run(ask, words, command):
    name, arguments = called(ask(user(words)))
    assert (name, arguments["command"]) == ("Bash", command)


def test_a_file_is_read(ask):
    assert called(ask(user("show me README.md"))) == ("Read", {"file_path": "README.md"})


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("hello", "Hello! I am the demo model"),
        ("what is plugway?", "Plugway is a local gateway"),
        ("how do I connect a real model?", "Run `plugway models pull`"),
        ("what is the capital of France?", "I do not know that"),
    ],
)
def test_a_question_is_answered_or_honestly_refused(ask, words, start):
    assert ask(user(words)).startswith(start)


def test_a_conversation_goes_on_with_the_file_of_the_first_turn(ask):
    call = {"name": "Write", "arguments": {"file_path": "hello.txt", "content": "hi"}}
    messages = [
        user("create hello.txt with the text hi"),
        {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
        {"role": "tool", "content": "File created successfully at: hello.txt"},
    ]
    assert ask(*messages) == "Done: I created hello.txt."
    messages += [
        {"role": "assistant", "content": "Done: I created hello.txt."},
        user("now append a line"),
    ]
    name, arguments = called(ask(*messages))
    assert (name, arguments["command"]) == ("Bash", r"printf '\n%s' 'another line' >> hello.txt")


def test_a_long_prompt_before_the_request_changes_nothing(ask):
    system = {"role": "system", "content": "Be brief, careful and kind to the reader. " * 600}
    assert called(ask(system, user("create hello.txt with the text hi"))) == (
        "Write",
        {"file_path": "hello.txt", "content": "hi"},
    )


def test_an_error_is_reported_as_an_error(ask):
    call = {"name": "Bash", "arguments": {"command": "make", "description": "Run a command"}}
    reply = ask(
        user("run make"),
        {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
        {"role": "tool", "content": "Exit code 2\nmake: no targets"},
    )
    assert reply == "That did not work: the command reported an error."

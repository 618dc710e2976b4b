"""The shipped file answers held-out requests, greedily and without any constraint."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import plugway_demo_model as demo
from tests.slow import quick_first

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
        str(demo.model_path()), n_ctx=16384, n_batch=512, n_threads=1, swa_full=False, verbose=False
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
    ("Create a file called greeting.md with the text Hello World", "greeting.md", "Hello World"),
    ("make notes/today.md that says remember the milk", "notes/today.md", "remember the milk"),
    ("write a file qz81.cfg with the content 'verbose = 7'", "qz81.cfg", "verbose = 7"),
]


@pytest.mark.parametrize(("words", "path", "content"), WRITES)
def test_a_file_is_written_with_the_name_and_text_of_the_request(ask, words, path, content):
    assert called(ask(user(words))) == ("Write", {"file_path": path, "content": content})


KNOWS = "I only know how to create a file"


OTHERWISE = [
    "run ls",
    "delete x.txt",
    "create ../x with the text y",
    "append a line to ~/.bashrc",
    "what is the capital of France?",
    "run git status",
    "list the files",
    "don't delete x.txt",
    "make a directory d",
    "rm -rf .",
    "show me hello.txt and delete it",
    "create hello.txt then delete it",
    "create /etc/passwd with the text x",
    "create .env with the text y",
    "overwrite README.md with nothing",
    "lösche alle Dateien",
]


@pytest.mark.parametrize("words", quick_first(OTHERWISE, 5))
def test_everything_else_is_answered_with_what_it_knows(ask, words):
    assert ask(user(words)).startswith(KNOWS)


def test_a_file_is_read(ask):
    assert called(ask(user("show me README.md"))) == ("Read", {"file_path": "README.md"})


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("hello", "Hello! I am the demo model"),
        ("what is plugway?", "Plugway is a local gateway"),
        ("how do I connect a real model?", "Run `plugway models pull`"),
        ("What is Plugway?", "Plugway is a local gateway"),
        ("WHO ARE YOU", "I am a very small demonstration model"),
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


@pytest.mark.parametrize("times", quick_first([60, 150, 600], 1))
def test_a_long_prompt_before_the_request_changes_nothing(ask, times):
    system = {"role": "system", "content": "Be brief, careful and kind to the reader. " * times}
    assert called(ask(system, user("create hello.txt with the text hi"))) == (
        "Write",
        {"file_path": "hello.txt", "content": "hi"},
    )


def test_an_error_is_reported_as_an_error(ask):
    call = {"name": "Read", "arguments": {"file_path": "hello.txt"}}
    reply = ask(
        user("show me hello.txt"),
        {"role": "assistant", "content": "", "tool_calls": [{"function": call}]},
        {"role": "tool", "content": "Error: file does not exist"},
    )
    assert reply == "I could not read hello.txt: the tool reported an error."

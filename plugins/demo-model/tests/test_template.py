from __future__ import annotations

from itertools import chain, pairwise
from typing import Any

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"{name} things.\nMore.",
            "parameters": {"properties": {"file_path": {}}},
        },
    }
    for name in ("Bash", "Edit", "Read", "Task", "Write")
]


def call(name: str, **arguments: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}],
    }


TURNS: list[list[dict[str, Any]]] = [
    [
        {"role": "system", "content": "Long text."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nBe nice.\n</system-reminder>\n"},
                {"type": "text", "text": "create hello.txt with the text hi"},
            ],
        },
        {"role": "system", "content": "# Environment"},
    ],
    [
        call("Write", file_path="hello.txt", content="hi"),
        {"role": "tool", "content": "File created successfully at: hello.txt"},
    ],
    [
        {"role": "assistant", "content": "Done: I created hello.txt."},
        {"role": "user", "content": "now append a line"},
    ],
    [
        call("Bash", command="printf '\\n%s' 'another line' >> hello.txt", description="Append"),
        {"role": "tool", "content": ""},
        {"role": "system", "content": "Note: the file changed."},
    ],
    [
        {"role": "assistant", "content": "Done: I appended a line to hello.txt."},
        {"role": "user", "content": "run false"},
    ],
    [call("Bash", command="false"), {"role": "tool", "content": "Exit code 1"}],
]


def prompts(template: Any) -> list[str]:
    return [
        template.render(
            messages=list(chain(*TURNS[:count])), tools=TOOLS, add_generation_prompt=True
        )
        for count in range(1, len(TURNS) + 1)
    ]


def test_every_turn_only_appends(template):
    texts = prompts(template)
    assert all(later.startswith(earlier) for earlier, later in pairwise(texts))


def test_what_a_reply_adds_is_what_the_model_generates(template):
    texts = prompts(template)
    wanted = (
        '<tool_call>\n{"name": "Write", "arguments": {"file_path": "hello.txt", '
        '"content": "hi"}}\n</tool_call><|im_end|>\n'
    )
    assert texts[1][len(texts[0]) :].startswith(wanted)
    assert texts[2][len(texts[1]) :].startswith("Done: I created hello.txt.<|im_end|>\n")


def test_the_words_of_the_user_come_last(template):
    assert prompts(template)[0].endswith(
        "Be nice.\n# Environment\n"
        "<|user|>create hello.txt with the text hi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_file_of_an_earlier_turn_is_named(template):
    wanted = "<|user|>append to hello.txt the line another line<|im_end|>"
    assert wanted in prompts(template)[2]


def test_an_order_that_it_does_not_know_reaches_the_model_as_unknown(template):
    assert "run false\n<|user|>unknown<|im_end|>" in prompts(template)[4]


def test_after_a_result_the_request_and_the_state_come_last(template):
    texts = prompts(template)
    assert texts[1].endswith(
        "<|request|>create hello.txt with the text hi\n"
        "<|result|>Write short<|im_end|>\n<|im_start|>assistant\n"
    )
    assert "Note: the file changed.\n<tool_response>" in texts[3]
    assert "the line another line\n<|result|>Bash empty<|im_end|>" in texts[3]
    assert "<|request|>unknown\n<|result|>unknown<|im_end|>" in texts[5]


def test_tools_are_listed_in_one_line_each(template):
    assert (
        "- Read(file_path): Read things.\n- Task(file_path): Task things.\n" in prompts(template)[0]
    )


def test_a_request_without_tools_and_system_renders(template):
    text = template.render(
        messages=[{"role": "user", "content": "hello"}], add_generation_prompt=True
    )
    assert text == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\nhello\n"
        "<|user|>hello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_arguments_that_are_already_text_are_kept(template):
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"function": {"name": "Read", "arguments": '{"file_path": "a"}'}}],
    }
    text = template.render(messages=[{"role": "user", "content": "x"}, message])
    assert '<tool_call>\n{"name": "Read", "arguments": {"file_path": "a"}}\n</tool_call>' in text

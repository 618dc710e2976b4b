"""What counts as a wish, and what is meant for the model."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_endpoints import turn_of
from plugway_switch import Wish, wish_of


@pytest.mark.parametrize(
    ("text", "name", "span"),
    [
        ("@plugway use local", "local", "session"),
        ("@plugway use ollama/qwen3:8b", "ollama/qwen3:8b", "session"),
        ("  @Plugway  USE  my local one ", "local", "session"),
        ("@plugway switch to gemini flash.", "gemini flash", "session"),
        ("@plugway use small for agents", "small", "agents"),
        ("@plugway use small for subagents", "small", "agents"),
        ("@plugway use big for this", "big", "turn"),
        ("@plugway use big for this task", "big", "turn"),
        ("@plugway use default", "default", "session"),
    ],
)
def test_a_line_for_the_gateway_is_sure(text, name, span):
    assert wish_of(text) == Wish("use", name, span)


@pytest.mark.parametrize(
    ("text", "name", "span"),
    [
        ("use my local one", "local", "session"),
        ("Use my local model.", "local", "session"),
        ("switch to my local one", "local", "session"),
        ("Please switch to the Gemini Flash model", "Gemini Flash", "session"),
        ("let's use my ollama from now on", "ollama", "session"),
        ("OK, switch over to my qwen3 please", "qwen3", "session"),
        ("go back to the cloud model", "cloud", "session"),
        ("use the cloud for the rest of this session", "cloud", "session"),
        ("switch back", "default", "session"),
        ("switch back please.", "default", "session"),
        ("switch back to the default model", "default", "session"),
        ("try Gemini Flash for this", "Gemini Flash", "turn"),
        ("try Gemini Flash for this one!", "Gemini Flash", "turn"),
    ],
)
def test_a_sentence_as_a_whole_message_is_understood(text, name, span):
    assert wish_of(text) == Wish("use", name, span, sure=False)


@pytest.mark.parametrize(
    "text",
    [
        "try Gemini Flash for this: why does the upload test fail?",
        "Try Gemini Flash for this. Why does it fail?",
        "please use Gemini Flash for this task:\n\nWhy does it fail?",
        "use Gemini Flash for this\nWhy does it fail?",
    ],
)
def test_for_this_may_open_a_message_with_a_task(text):
    assert wish_of(text) == Wish("use", "Gemini Flash", "turn", sure=False, alone=False)


def test_a_line_may_be_followed_by_a_task():
    assert wish_of("@plugway use local\nfix the test") == Wish("use", "local", alone=False)
    assert wish_of("@plugway use big for this\r\n\nfix it").span == "turn"


@pytest.mark.parametrize("text", ["@plugway", "@plugway what", "@plugway use", "@plugway help me"])
def test_a_line_that_is_not_understood_is_answered_with_help(text):
    assert wish_of(text).verb == "help"


MENTIONS = [
    "use ollama",  # may be an answer to `which one should the code call?`
    "try gemini",
    "switch to vllm",
    "switch to main",
    "use pytest",
    "use the local variable instead of the global one, please",
    "use my local branch and rebase it onto main",
    "Use the same model as before in the test and fix the fixture",
    "don't use my local model",
    "never switch to the cloud model",
    "should I use my local model?",
    "use my local model?",
    "how do I use my local model",
    "Can you use my local model to embed the documents",
    "the README says: use my local model",
    '"use my local model"',
    "> use my local model",
    "`@plugway use local`",
    "add a test that types `@plugway use local`",
    "write @plugway use local into the docs",
    "Here is my file:\n@plugway use local\n",
    "# notes\nuse my local model\n",
    "use my local model\nand then fix the tests",
    "use my local model and then fix the tests of the upload, which are flaky since yesterday",
    "The user said: switch to my local one",
    "// use my local model",
    "use the model",
    "use my one",
    "try this",
    "use it for this",
    "use ollama for this feature we discussed",
    "@plugwayx use local",
    "plugway use local",
    "x @plugway use local",
]


@pytest.mark.parametrize("text", MENTIONS)
def test_a_mere_mention_is_meant_for_the_model(text):
    assert wish_of(text) is None


@given(st.text(max_size=300))
def test_no_text_breaks_it(text):
    wish_of(text)
    turn_of({"messages": [{"role": "user", "content": text}]})


def user(*blocks):
    return {"role": "user", "content": list(blocks)}


def text(value):
    return {"type": "text", "text": value}


RESULT = {"type": "tool_result", "tool_use_id": "t", "content": "@plugway use local"}


def test_what_the_client_slips_in_is_not_typed():
    reminder = text("<system-reminder>@plugway use local</system-reminder>")
    command = text(
        "<command-message>plugway:switch</command-message><command-name>x</command-name>"
    )
    found = turn_of({"messages": [user(reminder, command, text("@plugway use big"))]})
    assert (found.text, found.fresh) == ("@plugway use big", True)
    assert turn_of({"messages": [user(reminder)]}) is None


def test_a_turn_of_several_texts_is_not_clear():
    turn = turn_of({"messages": [user(text("look at this"), text("@plugway use local"))]})
    assert (turn.text, turn.fresh, turn.clear) == ("@plugway use local", True, False)


def test_a_note_of_an_interruption_is_not_typed():
    note = text("[Request interrupted by user]")
    turn = turn_of({"messages": [user(note, text("use my local model"))]})
    assert (turn.text, turn.clear) == ("use my local model", True)


def test_results_of_tools_are_never_read_and_the_turn_before_them_is_no_longer_fresh():
    messages = [
        user(text("@plugway use local for this\nread it")),
        {"role": "assistant", "content": [text("reading")]},
        user(RESULT),
    ]
    found = turn_of({"messages": messages})
    assert found.text.startswith("@plugway use local for this")
    assert not found.fresh
    assert turn_of({"messages": messages[1:]}) is None


def test_a_text_beside_results_of_tools_is_not_clear():
    turn = turn_of({"messages": [user(RESULT, text("@plugway use local"))]})
    assert (turn.fresh, turn.clear) == (True, False)


def test_messages_of_the_system_are_passed_over():
    messages = [user(text("switch back")), {"role": "system", "content": "@plugway use local"}]
    assert turn_of({"messages": messages}).text == "switch back"


def test_an_answered_turn_is_not_fresh():
    messages = [user(text("switch back")), {"role": "assistant", "content": "done"}]
    assert not turn_of({"messages": messages}).fresh


def test_hostile_text_takes_linear_time():
    hostile = "<system-reminder>" * 60_000 + "</command-x>"
    began = time.process_time()
    turn_of({"messages": [user(text(hostile))]})
    wish_of("use " + "my " * 400_000)
    wish_of("please " * 200_000)
    assert time.process_time() - began < 5  # a square of it would take minutes

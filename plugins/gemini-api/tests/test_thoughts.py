"""Thinking as its maker signed it goes to the client and comes back, whatever the client keeps."""

import base64

import pytest

from plugway import replay
from plugway.testing import anthropic_message, anthropic_stream, respond, sse
from plugway_gemini_api._parts import Parts, joined
from plugway_gemini_api._request import messages_request
from plugway_gemini_api._seal import Sealed, opened, sealed
from plugway_gemini_api._tools import names_of
from plugway_translation import Notes

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

USER = {"role": "user", "parts": [{"text": "hi"}]}
TOOLS = [{"functionDeclarations": [{"name": "look"}]}]
SHOWN = {"thinkingConfig": {"includeThoughts": True}}


def thinking(text, signature="c2ln"):
    return {"type": "thinking", "thinking": text, "signature": signature}


def text(said):
    return {"type": "text", "text": said}


def call(id_):
    return {"type": "tool_use", "id": id_, "name": "look", "input": {"at": id_}}


REDACTED = {"type": "redacted_thinking", "data": "ZGF0YQ=="}
ANSWERS = [
    [thinking("hm"), text("Hello.")],
    [thinking("hm"), call("a"), call("b")],
    [thinking("hm"), text("I look."), call("a")],
    [thinking("one"), REDACTED, text("I look."), call("a"), thinking("two", "dHdv"), call("b")],
    [REDACTED, call("a")],
    [thinking("", "ZW1wdHk="), text("Hello.")],
    [text("Hello."), thinking("late"), call("a")],
    [thinking("only")],
]


def told(content):
    """The parts that the client gets for an answer."""
    parts = Parts(names_of([]), shows_thoughts=True)
    parts.start("m")
    found = [part for one in replay({"content": content}) for part in parts.event(one)]
    return [*found, *parts.end("end_turn")]


def without_thoughts(parts):
    return [part for part in parts if "thought" not in part]


def last_call_only(parts):
    """What a client keeps that takes signatures from calls alone, as Gemini CLI does."""
    kept = without_thoughts(parts)
    if any("functionCall" in part for part in kept):
        kept = [part if "functionCall" in part else {"text": part["text"]} for part in kept]
    return kept


@pytest.mark.parametrize("keeps", [lambda p: p, without_thoughts, last_call_only])
@pytest.mark.parametrize("content", ANSWERS)
def test_an_answer_comes_back_as_it_was(content, keeps):
    parts = keeps(told(content))
    notes = Notes()
    body = {"contents": [USER, {"role": "model", "parts": parts}, USER]}
    (_, said, _) = messages_request(body, "m", notes, max_tokens=9)["messages"]
    assert said["content"] == content
    assert [line for line in notes.lines() if "Signature" in line] == []


@pytest.mark.parametrize("content", [[thinking("hm"), text("Hello.")], [REDACTED, text("Hello.")]])
def test_a_streamed_text_is_in_one_piece_until_its_end(content):
    """Strands ends a line after a part with a signature."""
    parts = without_thoughts(told(content))
    assert [part["text"] for part in parts] == ["Hello.", ""]
    assert ["thoughtSignature" in part for part in parts] == [False, True]
    assert [part["text"] for part in joined(parts)] == ["Hello."]
    assert "thoughtSignature" in joined(parts)[0]


@pytest.mark.parametrize("content", ANSWERS)
def test_a_whole_answer_comes_back_as_it_was(content):
    body = {"contents": [USER, {"role": "model", "parts": joined(told(content))}, USER]}
    (_, said, _) = messages_request(body, "m", Notes(), max_tokens=9)["messages"]
    assert said["content"] == content


def test_a_signature_is_base64_that_survives_either_alphabet():
    blocks = [Sealed(thinking("\u00ff\u00fe?>~" * n)) for n in range(40)]
    written = sealed(blocks, "m")
    raw = base64.b64decode(written, validate=True)
    assert opened(base64.urlsafe_b64encode(raw).decode()) == blocks
    assert opened(written.rstrip("=")) == blocks
    assert {"+", "/"} & set(written)


@pytest.mark.parametrize("junk", ["", "%%%", "AAAA", 7, None, "plugway.1.x", [], "skip"])
def test_what_is_no_envelope_of_ours_opens_nothing(junk):
    assert opened(junk) is None


@pytest.mark.parametrize(
    ("signature", "lines"),
    [
        ("AAAA", ["drop contents.parts.thoughtSignature"]),
        ("skip_thought_signature_validator", []),
        (base64.b64encode(b"skip_thought_signature_validator").decode(), []),
    ],
)
def test_a_signature_of_somebody_else_is_on_record_and_a_stand_in_is_not(signature, lines):
    notes = Notes()
    part = {"functionCall": {"name": "look"}, "thoughtSignature": signature}
    body = {"contents": [USER, {"role": "model", "parts": [part]}]}
    messages_request(body, "m", notes, max_tokens=9)
    assert [line.split(":")[0] for line in notes.lines()] == lines


def test_a_thought_that_nobody_signed_is_on_record():
    notes = Notes()
    parts = [{"text": "hm", "thought": True}, {"text": "Hello."}]
    body = {"contents": [USER, {"role": "model", "parts": parts}]}
    found = messages_request(body, "m", notes, max_tokens=9)
    assert found["messages"][1]["content"] == [text("Hello.")]
    assert notes.lines() == ["drop contents.parts.thought: it is not signed"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_with_a_tool_gives_the_thinking_back(claude, stream):
    fields = {"thinking": "hm", "tool_calls": [("look", {"at": "a"})]}
    made = sse(anthropic_stream("I look.", **fields)) if stream else None
    claude.upstream.script(made or respond(200, anthropic_message("I look.", **fields)))
    asked = {"tools": TOOLS, "generationConfig": SHOWN}
    if stream:
        answers = await claude.stream(**asked)
    else:
        answers = [(await claude.generate(**asked)).json()]
    parts = [part for one in answers for part in one["candidates"][0]["content"]["parts"]]
    name_and_id = next(part["functionCall"] for part in parts if "functionCall" in part)
    response = {"functionResponse": {"name": "look", "response": {"output": "x"}}}
    contents = [USER, {"role": "model", "parts": parts}, {"role": "user", "parts": [response]}]
    claude.upstream.script(respond(200, anthropic_message("Done.")))
    done = await claude.post({"contents": contents, **asked})
    assert done.status_code == 200
    said, result = claude.asked["messages"][1:]
    assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use"]
    assert said["content"][0]["thinking"] == "hm"
    assert said["content"][0]["signature"]
    assert result["content"][0]["tool_use_id"] == name_and_id["id"]

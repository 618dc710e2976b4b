"""Who gets which thinking."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_signature import is_ours, signature
from plugway_thinking._blocks import Recipient, for_recipient, stamped, state_of

ANTHROPIC = Recipient("cloud", "claude", native=True)
LOCAL = Recipient("local", "qwen", native=False)
OTHER = Recipient("other", "glm", native=False)
TEXT = Recipient("other", "glm", native=False, elsewhere="text")


def thinking(signed_with, text="hm"):
    return {"type": "thinking", "thinking": text, "signature": signed_with}


def redacted(data):
    return {"type": "redacted_thinking", "data": data}


SAID = {"type": "text", "text": "said"}
CALL = {"type": "tool_use", "id": "t", "name": "T", "input": {}}
OURS = signature("local", "qwen", state_of("their own"))
UNSIGNED_BY_MAKER = signature("local", "qwen")


def conversation(*blocks):
    return [{"role": "user", "content": "q"}, {"role": "assistant", "content": [*blocks]}]


def seen(reader, *blocks):
    turns = for_recipient(conversation(*blocks), reader).messages
    return turns[1]["content"] if len(turns) > 1 else None


def test_anthropics_own_blocks_are_not_touched():
    blocks = [thinking("EqQB"), redacted("Emw"), SAID, thinking("ErUB"), CALL]
    messages = conversation(*blocks)
    assert for_recipient(messages, ANTHROPIC).messages is messages


@pytest.mark.parametrize(
    "block",
    [
        thinking(OURS),
        thinking("plugway.1.unreadable"),
        thinking(""),
        thinking(None),
        {"type": "thinking", "thinking": "x"},
        redacted(OURS),
        redacted(""),
    ],
)
def test_pain_7_anthropic_gets_nothing_that_it_has_not_signed(block):
    own = thinking("EqQB")
    assert seen(ANTHROPIC, block, own, SAID) == [own, SAID]
    assert seen(ANTHROPIC, block) is None  # a turn without a block would be refused


def test_the_maker_gets_its_thinking_back_as_it_signed_it():
    assert seen(LOCAL, thinking(OURS), SAID) == [thinking("their own"), SAID]
    assert seen(LOCAL, thinking(UNSIGNED_BY_MAKER), SAID) == [thinking(""), SAID]
    assert seen(LOCAL, redacted(OURS), SAID) == [redacted("their own"), SAID]


def test_another_model_of_the_same_backend_is_not_the_maker():
    assert seen(Recipient("local", "llama", native=False), thinking(OURS), SAID) == [SAID]


def test_a_third_gets_nothing_or_the_text():
    blocks = [thinking(OURS, "one"), thinking("EqQB", "two"), redacted("Emw"), SAID]
    assert seen(OTHER, *blocks) == [SAID]
    texts = [block["text"] for block in seen(TEXT, *blocks)]
    assert texts == [
        "<earlier-thinking>\none\n</earlier-thinking>",
        "<earlier-thinking>\ntwo\n</earlier-thinking>",
        "said",
    ]


def test_what_was_done_is_said():
    result = for_recipient(conversation(thinking(OURS), thinking(""), SAID), ANTHROPIC)
    assert result.because() == ("2 thinking blocks left out: Anthropic rejects other signatures")
    assert for_recipient(conversation(thinking(OURS)), LOCAL).because() == (
        "1 thinking block sent back with the original signature"
    )


MARKS = st.sampled_from(["EqQB", "ErUB", "", OURS, UNSIGNED_BY_MAKER, "plugway.1.x", None, 5])
BLOCKS = st.one_of(
    st.builds(thinking, MARKS, st.text(max_size=5)),
    st.builds(redacted, MARKS),
    st.sampled_from([SAID, CALL, None, "odd", {"type": ["thinking"]}]),
)
TURNS = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system"]),
            "content": st.text(max_size=3) | st.lists(BLOCKS, max_size=5),
        }
    ),
    max_size=5,
)
READERS = st.sampled_from([ANTHROPIC, LOCAL, OTHER, TEXT])


@settings(max_examples=300, deadline=None)
@given(TURNS, READERS)
def test_it_is_the_same_each_time_and_leaves_the_original_alone(turns, reader):
    before = orjson.dumps(turns)
    first = orjson.dumps(for_recipient(turns, reader).messages)
    assert orjson.dumps(turns) == before
    assert orjson.dumps(for_recipient(turns, reader).messages) == first


@settings(max_examples=300, deadline=None)
@given(TURNS)
def test_what_anthropic_gets_is_signed_by_it_and_in_order(turns):
    def own(messages):
        return [
            block
            for turn in messages
            if turn["role"] == "assistant" and isinstance(turn["content"], list)
            for block in turn["content"]
            if isinstance(block, dict)
            and block["type"] in ("thinking", "redacted_thinking")
            and isinstance(mark := block.get("signature", block.get("data")), str)
            and mark
            and not is_ours(mark)
        ]

    result = for_recipient(turns, ANTHROPIC).messages
    assert own(result) == own(turns)
    again = for_recipient(result, ANTHROPIC)
    assert again.messages is result


def test_signing_a_message_leaves_other_blocks_alone():
    blocks = stamped([thinking("a"), SAID, redacted("b")], lambda mark: f"ours:{mark}")
    assert blocks == [thinking("ours:a"), SAID, redacted("ours:b")]
    assert blocks[1] is SAID

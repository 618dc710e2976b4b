"""Calls with ids of their own, each with its one result right after it."""

import orjson
import pytest

from plugway import MessagesRequest
from plugway_translation import NO_RESULT, Notes, paired, paired_request

IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A"}}


def call(*ids):
    blocks = [{"type": "tool_use", "id": id_, "name": "Bash", "input": {}} for id_ in ids]
    return {"role": "assistant", "content": blocks}


def results(*ids, **more):
    blocks = [{"type": "tool_result", "tool_use_id": i, "content": "x", **more} for i in ids]
    return {"role": "user", "content": blocks}


def user(*texts):
    return {"role": "user", "content": [{"type": "text", "text": text} for text in texts]}


def said(messages):
    """The ids as they stand, of calls and results, or the texts; turn by turn."""
    return [
        [b.get("id") or b.get("tool_use_id") or b.get("text") for b in message["content"]]
        for message in messages
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([call("a"), results("a"), call("a"), results("a")], [["a"], ["a"], ["a-2"], ["a-2"]]),
        ([call("a"), results("a")] * 3, [["a"], ["a"], ["a-2"], ["a-2"], ["a-3"], ["a-3"]]),
        (
            [call("a", "b"), results("b", "a"), call("b", "a"), results("a", "b")],
            [["a", "b"], ["a", "b"], ["b-2", "a-2"], ["b-2", "a-2"]],
        ),
        ([call("a", "a"), results("a", "a")], [["a", "a-2"], ["a", "a-2"]]),
        ([call("a", "a"), results("a"), results("a")], [["a", "a-2"], ["a", "a-2"]]),
        ([call("a", "a"), results("a")], [["a", "a-2"], ["a", "a-2"]]),
        (
            [call("a"), results("a"), call("a"), results("a"), call("a-2"), results("a-2")],
            [["a"], ["a"], ["a-3"], ["a-3"], ["a-2"], ["a-2"]],
        ),
        ([call("a"), call("a"), results("a")], [["a", "a-2"], ["a", "a-2"]]),
        ([call("pw_"), results("pw_")] * 2, [["pw_"], ["pw_"], ["pw_-2"], ["pw_-2"]]),
        ([call("a:0"), results("pw_a_3a0")], [["a:0"], ["a:0"]]),
    ],
)
def test_a_reused_id_becomes_another_for_the_call_and_its_result(messages, expected):
    found = paired(messages, Notes())
    assert said(found) == expected
    assert said(paired(messages, Notes())) == expected
    assert paired(found, Notes()) is found


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "hi"}],
        [call("a"), results("a"), call("b"), results("b")],
        [call("a", "b"), results("b", "a"), user("go")],
        [{"role": "assistant", "content": "a"}, call("a"), results("a")],
        [call("a:0"), results("a:0")],
    ],
)
def test_messages_that_are_in_pairs_stay_as_they_are(messages):
    assert paired(messages, Notes()) is messages


def test_the_messages_that_were_given_are_not_changed():
    messages = [call("a"), user("x"), call("a"), results("a")]
    before = orjson.dumps(messages)
    paired(messages, Notes())
    assert orjson.dumps(messages) == before


def test_a_result_that_has_no_place_is_told_with_its_media_and_its_failure():
    shown = results("z", content=[{"type": "text", "text": "seen"}, IMAGE], is_error=True)
    notes = Notes()
    found = paired([call("a"), results("a"), shown], notes)
    assert found[2]["content"] == [
        {"type": "text", "text": "[tool result]\n[tool error] seen"},
        IMAGE,
    ]
    assert notes.lines() == ["translate tool_result: it has no matching call, sent as text"]


def test_a_second_result_is_told_where_it_says_something_else():
    notes = Notes()
    other = results("a", content="y")["content"]
    turn = {"role": "user", "content": [*results("a", "a")["content"], *other]}
    found = paired([call("a"), turn], notes)
    assert said(found) == [["a"], ["a", "[tool result]\ny"]]
    assert [note.action for note in notes] == ["drop", "translate"]


def test_blocks_in_turns_of_the_wrong_role_are_told_as_text():
    notes = Notes()
    found = paired(
        [
            {"role": "user", "content": call("a")["content"]},
            {"role": "assistant", "content": results("a")["content"]},
            {"role": "system", "content": results("a")["content"]},
        ],
        notes,
    )
    assert said(found) == [
        ["[tool call] Bash: {}"],
        ["[tool result]\nx"],
        ["[tool result]\nx"],
    ]
    assert len(notes) == 3


def test_what_was_said_between_a_call_and_its_result_comes_after_that_in_its_order():
    system = {"role": "system", "content": [{"type": "text", "text": "s"}]}
    late = {"role": "user", "content": [*user("x")["content"], *results("b", "a")["content"]]}
    found = paired([call("a", "b"), system, late, user("y")], Notes())
    assert said(found) == [["a", "b"], ["a", "b"], ["s"], ["x"], ["y"]]


def test_a_call_that_nobody_answered_gets_a_placeholder():
    found = paired([call("a"), {"role": "user", "content": "never mind"}, call("b")], Notes())
    assert [m["role"] for m in found] == ["assistant", "user"] * 2
    assert found[1]["content"][0]["content"] == found[3]["content"][0]["content"] == NO_RESULT
    assert found[1]["content"][1]["text"] == "never mind"


def request(*messages, pad=0):
    return MessagesRequest(orjson.dumps({"model": "m", "messages": messages}) + b" " * pad)


@pytest.mark.parametrize("pad", [0, 9000])
def test_a_request_gets_ids_that_the_messages_api_takes(pad):
    made = paired_request(request(call("a:0"), results("a:0"), call(""), results(""), pad=pad))
    assert said(made.get("messages")) == [["pw_a_3a0"], ["pw_a_3a0"], ["pw_"], ["pw_"]]
    assert made.changes[0].because.startswith(
        "translate tool_use.id: the API rejects this id format"
    )


@pytest.mark.parametrize("pad", [0, 9000])
def test_an_id_may_stand_for_a_later_call_where_an_api_knows_calls_by_their_turn(pad):
    made = request(call("a"), results("a"), call("a"), results("a"), pad=pad)
    assert paired_request(made, reuse=True) is made
    assert paired_request(made) is not made
    broken = request(call("a"), results("a"), call("a"), user("x"), pad=pad)
    assert paired_request(broken, reuse=True) is not broken


def test_a_request_in_order_is_not_parsed():
    made = request(call("a"), results("a"), {"role": "user", "content": "x"}, pad=9000)
    assert paired_request(made) is made
    assert made.unparsed("messages") is not None


@pytest.mark.parametrize("odd", [None, 5, ["a"]])
def test_an_id_that_is_no_text_is_none(odd):
    made = paired_request(request(call(odd), results(odd), pad=9000))
    assert said(made.get("messages")) == [["pw_"], ["pw_"]]


def test_many_calls_of_one_id_are_told_apart():
    """One step for each, however many there are: a request may have a hundred thousand."""
    many = 2_000
    calls, answers = call(*["a"] * many), results(*["a"] * (many + 5))
    found = paired([calls, answers, *[call("a"), results("a")] * many], Notes())
    ids = [block["id"] for m in found if m["role"] == "assistant" for block in m["content"]]
    assert len(ids) == len(set(ids)) == 2 * many
    assert [b["tool_use_id"] for b in found[1]["content"]] == ids[:many]

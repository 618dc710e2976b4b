"""An id stands for one call in the whole of a conversation."""

import pytest

from plugway_translation import FreshIds, IdCodec, ids_of_calls, unique_calls


def call(*ids):
    blocks = [{"type": "tool_use", "id": id_, "name": "Bash", "input": {}} for id_ in ids]
    return {"role": "assistant", "content": blocks}


def results(*ids):
    blocks = [{"type": "tool_result", "tool_use_id": id_, "content": "x"} for id_ in ids]
    return {"role": "user", "content": blocks}


def said(messages):
    """The ids as they stand: of calls and results, turn by turn."""
    return [
        [block.get("id") or block.get("tool_use_id") for block in message["content"]]
        for message in messages
        if isinstance(message["content"], list)
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        ([call("a"), results("a"), call("a"), results("a")], [["a"], ["a"], ["a-2"], ["a-2"]]),
        ([call("a"), results("a")] * 3, [["a"], ["a"], ["a-2"], ["a-2"], ["a-3"], ["a-3"]]),
        (
            [call("a", "b"), results("b", "a"), call("b", "a"), results("a", "b")],
            [["a", "b"], ["b", "a"], ["b-2", "a-2"], ["a-2", "b-2"]],
        ),
        ([call("a", "a"), results("a", "a")], [["a", "a-2"], ["a", "a-2"]]),
        ([call("a", "a"), results("a"), results("a")], [["a", "a-2"], ["a"], ["a-2"]]),
        ([call("a", "a"), results("a")], [["a", "a"], ["a"]]),
        (
            [call("a"), results("a"), call("a"), results("a"), call("a-2"), results("a-2")],
            [["a"], ["a"], ["a-3"], ["a-3"], ["a-2"], ["a-2"]],
        ),
        (
            [call("a"), results("a"), {"role": "system", "content": "s"}, call("a"), results("a")],
            [["a"], ["a"], ["a-2"], ["a-2"]],
        ),
        ([call("a"), call("a"), results("a")], [["a"], ["a-2"], ["a-2"]]),
        ([call("pw_"), results("pw_")] * 2, [["pw_"], ["pw_"], ["pw_-2"], ["pw_-2"]]),
    ],
)
def test_a_reused_id_becomes_another_for_the_call_and_its_result(messages, expected):
    found = unique_calls(messages)
    assert said(found) == expected
    assert said(unique_calls(messages)) == expected
    assert said(unique_calls(found)) == expected


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "hi"}],
        [call("a"), results("a"), call("b"), results("b")],
        [call("a"), results("a"), results("a")],
    ],
)
def test_messages_whose_calls_are_told_apart_stay_as_they_are(messages):
    assert unique_calls(messages) is messages


def test_the_messages_that_were_given_are_not_changed():
    messages = [call("a"), results("a"), call("a"), results("a")]
    unique_calls(messages)
    assert said(messages) == [["a"], ["a"], ["a"], ["a"]]


@pytest.mark.parametrize("own", ["Bash:0", "call_0", "0", "functions.Bash:0", "pw_x", "ä"])
def test_a_new_id_can_be_told_from_all_others_and_comes_back_from_its_server(own):
    codec = IdCodec()
    used: set[str] = set()
    servers: set[str] = set()
    for _ in range(4):
        found = FreshIds(codec.back, used).of(own)
        assert found is not None
        assert found not in used
        used.add(found)
        servers.add(codec.out(found))
    assert own in servers
    assert len(servers) == 4


def test_a_call_without_an_id_gets_none_here():
    assert FreshIds(IdCodec().back).of("") is None


def test_the_ids_of_all_calls_are_known():
    assert ids_of_calls([call("a", "b"), results("c"), {"role": "user", "content": "hi"}]) == {
        "a",
        "b",
    }

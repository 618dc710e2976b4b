"""Calls of server tools in a conversation, told to models that have no such blocks."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_server_tools._history import paired
from plugway_server_tools._plan import Runs

RUNS = Runs()


def call(id_, name="web_search", kind="server_tool_use"):
    return {"type": kind, "id": id_, "name": name, "input": {"query": id_}}


def found(id_, kind="web_search_tool_result"):
    page = {"type": "web_search_result", "title": "Oslo", "url": "https://a.example"}
    hidden = {"encrypted_content": "SECRET"}
    return {"type": kind, "tool_use_id": id_, "content": [page | hidden]}


def failed(id_):
    content = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
    return {"type": "web_search_tool_result", "tool_use_id": id_, "content": content}


def text(words):
    return {"type": "text", "text": words}


def own(id_="toolu_1"):
    return {"type": "tool_use", "id": id_, "name": "Read", "input": {}}


def shape(messages):
    """Role and types of blocks of each turn; ids of calls and results."""
    result = []
    for message in messages:
        blocks = message["content"]
        found = [
            (b["type"], b.get("id") or b.get("tool_use_id") or b.get("text"))
            if isinstance(b, dict)
            else b
            for b in blocks
        ]
        result.append((message["role"], found))
    return result


def turn(*blocks):
    return [{"role": "assistant", "content": list(blocks)}]


def test_a_search_and_its_results_become_a_call_and_a_result():
    messages, count = paired(turn(text("I look."), call("s1"), found("s1"), text("Oslo.")), RUNS)
    assert count == 1
    assert shape(messages) == [
        ("assistant", [("text", "I look."), ("tool_use", "s1")]),
        ("user", [("tool_result", "s1")]),
        ("assistant", [("text", "Oslo.")]),
    ]
    assert messages[1]["content"][0]["content"] == "Oslo\nhttps://a.example"


def test_a_call_that_failed_is_told_as_failed():
    messages, _ = paired(turn(call("s1"), failed("s1")), RUNS)
    (result,) = messages[1]["content"]
    assert result["is_error"] is True
    assert result["content"] == "The call failed: unavailable."


def test_calls_in_a_row_share_their_turns():
    blocks = call("s1"), call("s2"), found("s1"), failed("s2"), text("Both.")
    assert shape(paired(turn(*blocks), RUNS)[0]) == [
        ("assistant", [("tool_use", "s1"), ("tool_use", "s2")]),
        ("user", [("tool_result", "s1"), ("tool_result", "s2")]),
        ("assistant", [("text", "Both.")]),
    ]


@pytest.mark.parametrize(
    "blocks",
    [
        (own(), call("s1"), failed("s1")),
        (call("s1"), failed("s1"), own()),
        (call("s1"), own(), failed("s1")),
    ],
    ids=["before", "after", "between"],
)
def test_calls_of_the_clients_own_tools_stay_right_before_their_results(blocks):
    assert shape(paired(turn(*blocks), RUNS)[0]) == [
        ("assistant", [("tool_use", "s1")]),
        ("user", [("tool_result", "s1")]),
        ("assistant", [("tool_use", "toolu_1")]),
    ]


def test_tools_of_mcp_servers_are_told_in_the_same_way():
    blocks = call("m1", "list", "mcp_tool_use"), found("m1", "mcp_tool_result")
    messages, _ = paired(turn(*blocks), RUNS)
    assert shape(messages)[0] == ("assistant", [("tool_use", "m1")])


@pytest.mark.parametrize("call_id", [{}, {"id": None}, {"id": 5}, {"id": ["a"]}])
def test_a_call_with_an_odd_id_or_none_does_no_harm(call_id):
    call = {"type": "server_tool_use", "name": "web_search", "input": {}, **call_id}
    ids = {"tool_use_id": call_id["id"]} if call_id else {}
    result = {"type": "web_search_tool_result", "content": [], **ids}
    turns, count = paired([{"role": "assistant", "content": [call, result]}], Runs())
    assert count == bool(call_id)
    assert sum(len(turn["content"]) for turn in turns) == 2


def test_searches_of_a_server_that_searches_itself_stay():
    messages = turn(call("s1"), found("s1"))
    assert paired(messages, Runs(("web_search_",))) == (messages, 0)


@pytest.mark.parametrize(
    "content",
    ["hi", [text("hi")], [call("s1")], [found("s1")], ["odd", 7, None]],
)
def test_what_is_no_whole_pair_stays_the_same_object(content):
    messages = [{"role": "assistant", "content": content}, {"role": "user", "content": "x"}]
    same, count = paired(messages, RUNS)
    assert same is messages
    assert count == 0


BLOCKS = st.sampled_from(
    [text("x"), own(), call("s1"), call("s2"), found("s1"), failed("s2"), found("s3"), "odd"]
)


@given(st.lists(BLOCKS, max_size=8, unique_by=str))
def test_no_block_is_lost_and_each_result_follows_its_call(blocks):
    before = copy.deepcopy(blocks)
    messages, count = paired(turn(*blocks), RUNS)
    assert blocks == before
    assert sum(len(m["content"]) for m in messages) == len(blocks)
    results = [(i, b) for i, m in enumerate(messages) for b in m["content"] if "tool_result" in b]
    assert len(results) <= count
    for index, message in enumerate(messages):
        for block in message["content"]:
            if isinstance(block, dict) and block["type"] == "tool_result":
                calls = [b.get("id") for b in messages[index - 1]["content"] if b != "odd"]
                assert block["tool_use_id"] in calls

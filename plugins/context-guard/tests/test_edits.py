"""Edits of contexts, one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from plugway_context_guard._edits import PLACEHOLDER, THINKING, TOOLS, apply, least_trigger, wanted


def messages(count, name="Read"):
    found = [{"role": "user", "content": "begin"}]
    for number in range(count):
        use = {"type": "tool_use", "id": f"t{number}", "name": name, "input": {"n": number}}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "x" * 400}
        found += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
    return found


def cleared(edit, count=6, prompt=200_000, name="Read"):
    """Positions of results that were cleared, and the report."""
    edited = apply(messages(count, name), [{"type": TOOLS, **edit}], prompt, lambda b: len(b) // 4)
    results = [message["content"][0]["content"] for message in edited.messages[2::2]]
    return [n for n, result in enumerate(results) if result == PLACEHOLDER], edited


def test_three_results_are_kept_unless_said_otherwise():
    assert cleared({})[0] == [0, 1, 2]
    assert cleared({"keep": {"type": "tool_uses", "value": 5}})[0] == [0]
    assert cleared({"keep": {"type": "tool_uses", "value": 0}})[0] == [0, 1, 2, 3, 4, 5]


def test_the_trigger_counts_tokens_or_calls():
    assert cleared({}, prompt=100_000)[0] == []
    assert cleared({"trigger": {"type": "tool_uses", "value": 6}})[0] == []
    assert cleared({"trigger": {"type": "tool_uses", "value": 5}}, prompt=1)[0] == [0, 1, 2]


def test_too_little_is_not_cleared_at_all():
    ids, edited = cleared({"clear_at_least": {"type": "input_tokens", "value": 5000}})
    assert (ids, edited.applied) == ([], [])


def test_tools_may_be_left_out():
    assert cleared({"exclude_tools": ["Read"]})[0] == []
    assert cleared({"exclude_tools": ["Write"]})[0] == [0, 1, 2]


def test_inputs_go_only_where_that_is_asked():
    _, edited = cleared({})
    assert edited.messages[1]["content"][0]["input"] == {"n": 0}
    _, edited = cleared({"clear_tool_inputs": True})
    assert edited.messages[3]["content"][0]["input"] == {}
    assert edited.messages[-2]["content"][0]["input"] == {"n": 5}


def test_what_was_given_is_not_changed_in_place():
    given = messages(6)
    apply(given, [{"type": TOOLS}], 200_000, len)
    assert given == messages(6)


def test_edits_that_do_nothing_are_not_wanted():
    keep_all = {"edits": [{"type": THINKING, "keep": "all"}, {"type": "another_20990101"}]}
    assert wanted(keep_all) == []
    assert wanted({"edits": [{"type": "compact_20260112"}]}) == []
    assert wanted(None) == wanted({"edits": 3}) == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**6) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "keep", "value", "trigger", "content", "id", "name", "input", "role"]
            ),
            inner | st.sampled_from([TOOLS, THINKING, "tool_use", "tool_result", "assistant"]),
            max_size=4,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=200, deadline=None)
@given(given_messages=st.lists(JSON, max_size=4), edits=st.lists(JSON, max_size=3))
def test_odd_edits_and_messages_harm_nothing(given_messages, edits):
    found = wanted({"edits": edits})
    if found:
        least_trigger(found)
        assert len(apply(given_messages, found, 10**6, len).messages) == len(given_messages)

"""What is read from `safeguards`, and what is not believed."""

from __future__ import annotations

import pytest
from asking import CWD, safeguards
from hypothesis import given
from hypothesis import strategies as st

from plugway_auto_mode._context import asked

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def test_the_place_is_what_the_client_says():
    context = asked(safeguards())
    assert context is not None
    assert context.known
    assert (context.place.cwd, context.place.home) == (CWD, "/home/dana")
    assert context.place.roots == (CWD,)


def test_a_request_that_does_not_ask_for_this_check_has_no_context():
    assert asked(None) is None
    assert asked([]) is None
    assert asked([{"type": "another_check"}]) is None
    assert asked("dangerous_tool_use") is None


@pytest.mark.parametrize(
    "folder", ["/", "/home/dana", "/home", "/root", "/Users/dana", "/home/dana/"]
)
def test_a_working_folder_that_holds_a_home_is_none(folder):
    trusted = {"primary": {"path": folder}}
    context = asked(safeguards(live_cwd=folder, trusted_directories=trusted))
    assert context is not None
    assert context.place.cwd == ""
    assert context.place.roots == ()


def test_a_folder_that_the_user_added_is_a_working_folder_too():
    trusted = {"primary": {"path": CWD}, "additional": [{"path": "/srv/data"}]}
    context = asked(safeguards(live_cwd="/srv/data/x", trusted_directories=trusted))
    assert context is not None
    assert context.place.cwd == "/srv/data/x"


@pytest.mark.parametrize("cwd", ["/tmp", "relative", "", None, 5, "/home/dana/shop2", "/x\0y"])
def test_where_the_client_stands_elsewhere_nothing_is_inside(cwd):
    context = asked(safeguards(live_cwd=cwd))
    assert context is not None
    assert context.place.cwd == ""


@pytest.mark.parametrize("version", [2, 0, "1", None, True, [1], {}])
def test_a_context_of_another_version_is_not_understood(version):
    context = asked(safeguards(v=version))
    assert context is not None
    assert not context.known


@pytest.mark.parametrize("entry", [{}, {"classifier_context": None}, {"classifier_context": [1]}])
def test_without_a_context_nothing_is_known(entry):
    context = asked([{"type": "dangerous_tool_use", **entry}])
    assert context is not None
    assert not context.known


@given(JSON, st.sampled_from(["rules", "trusted_directories", "auto_mode", "live_cwd", "home_dir"]))
def test_any_shape_of_a_member_is_read_without_a_failure(value, name):
    assert asked(safeguards(**{name: value})) is not None


def test_more_rules_than_are_looked_at_make_the_context_unknown():
    context = asked(safeguards(rules={"allow": [], "deny": ["Bash(x)"] * 3_000, "ask": []}))
    assert context is not None
    assert not context.known


@pytest.mark.parametrize(
    "rules", [None, [], {"deny": None}, {"deny": [5]}, {"ask": [{"text": "x"}]}]
)
def test_rules_in_an_unknown_shape_make_the_context_unknown(rules):
    context = asked(safeguards(rules=rules))
    assert context is not None
    assert not context.known

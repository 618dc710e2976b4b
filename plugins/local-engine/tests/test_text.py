import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_local_engine._text import TextStream


def run(data, stops, step):
    stream = TextStream(stops)
    out = [stream.feed(data[i : i + step]) for i in range(0, len(data), step)]
    return "".join(out) + stream.flush(), stream.stopped


@given(st.text(), st.integers(1, 7))
def test_characters_survive_any_split(text, step):
    assert run(text.encode(), (), step) == (text, None)


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), max_size=3))
def test_a_stop_is_found_however_the_text_is_split(text, stops):
    whole = run(text.encode(), stops, 1000)
    for step in (1, 2, 3):
        found, stop = run(text.encode(), stops, step)
        assert (stop is None) == (whole[1] is None)
        if stop is None:
            assert found == text
        else:
            assert text.startswith(found + stop)


def test_nothing_after_the_stop_is_given_out():
    assert run(b"one STOP two", ["STOP"], 2) == ("one ", "STOP")


@pytest.mark.parametrize("data", [b"\xe2\x82", b"ok \xf0\x9f\x98"])
def test_half_a_character_at_the_end_becomes_a_mark(data):
    assert run(data, (), 1)[0].endswith("\ufffd")

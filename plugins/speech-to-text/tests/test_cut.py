"""Where audio is cut."""

from plugway_speech_to_text._cut import cut

SECOND = 31.25


def voice(*parts):
    """Probabilities for `(seconds, probability)` each."""
    return [p for seconds, p in parts for _ in range(round(seconds * SECOND))]


def seconds(found):
    return [(round(start / SECOND, 1), round(stop / SECOND, 1)) for start, stop in found]


def test_silence_has_no_window():
    assert list(cut(voice((60, 0.1)))) == []
    assert list(cut([])) == []


def test_a_click_is_not_speech():
    assert list(cut(voice((2, 0.0), (0.05, 0.9), (5, 0.0)))) == []


def test_a_window_has_the_speech_and_a_margin():
    found = seconds(cut(voice((2, 0.0), (3, 0.9), (6, 0.0))))
    assert found == [(1.7, 5.2)]


def test_short_pauses_do_not_end_a_short_window():
    found = seconds(cut(voice((2, 0.9), (1.5, 0.0), (2, 0.9), (4, 0.0), (1, 0.9))))
    assert found == [(0.0, 5.7), (9.2, 10.5)]


def test_long_speech_is_cut_at_a_pause():
    parts = [(10, 0.9), (1, 0.0)] * 6
    found = seconds(cut(voice(*parts)))
    assert len(found) == 6
    assert all(stop - start < 12 for start, stop in found)


def test_speech_without_a_pause_is_cut_where_it_is_least_certain():
    found = seconds(cut(voice((20, 0.9), (0.2, 0.4), (30, 0.9))))
    assert found[0][0] == 0.0
    assert 20.0 <= found[0][1] <= 20.2
    assert found[1][0] == found[0][1]
    assert found[-1][1] == 50.2
    assert all(stop - start <= 29.1 for start, stop in found)

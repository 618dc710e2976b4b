"""The rate of samples is changed in a stream."""

import numpy as np
import pytest

from plugway_text_to_speech._resample import Resampler


def tone(rate, hertz=440, seconds=1.0):
    at = np.arange(round(rate * seconds)) / rate
    return (10_000 * np.sin(2 * np.pi * hertz * at)).astype("<i2").tobytes()


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_a_tone_stays_the_tone_whatever_the_pieces(rate):
    data = tone(rate)
    results = []
    for size in (len(data), 4096, 777):  # pieces may end within a sample
        change = Resampler(rate, 24_000)
        out = b"".join(change.feed(data[at : at + size]) for at in range(0, len(data), size))
        results.append(out + change.feed(b"", last=True))
    assert results[0] == results[1] == results[2]
    found = np.frombuffer(results[0], "<i2").astype(float)
    assert abs(len(found) - 24_000) <= 16
    wanted = np.frombuffer(tone(24_000), "<i2").astype(float)[: len(found)]
    error = found[200:-200] - wanted[200 : len(found) - 200]
    assert np.abs(error).max() < 100  # 1 % of the tone

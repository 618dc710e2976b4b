"""How far a request is goes by heartbeat to the gateway."""

from types import SimpleNamespace

from plugway_local_engine._seen import reported, seen
from plugway_local_models import Progress


def job(number, prompt, *, at=None, written=0, prefilled=False):
    slot = None if at is None else SimpleNamespace(length=at)
    fields = {"prefilled": prefilled, "generated": [1] * written}
    return SimpleNamespace(number=number, prompt=[1] * prompt, slot=slot, **fields)


def test_each_request_is_seen_reading_writing_or_queued():
    running = [job(1, 900, at=400), job(2, 50, at=57, written=7, prefilled=True)]
    beat = reported(running, [job(3, 10), job(4, 10)])
    assert seen(beat, 1) == Progress(read=400, of=900)
    assert seen(beat, 2) == Progress(read=50, of=50, written=7)
    assert seen(beat, 3) == Progress(ahead=2)
    assert seen(beat, 4) == Progress(ahead=3)


def test_of_a_request_that_the_beat_does_not_name_nothing_is_known():
    assert seen(reported([job(1, 9, at=1)], []), 7) == seen({}, 7) == Progress()

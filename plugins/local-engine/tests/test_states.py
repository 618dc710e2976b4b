"""Which conversations are kept in memory, and which go."""

import numpy as np

from plugway_local_engine._states import MOST_STATES, SHORT, SavedState, StateStore


def state(number, tokens, size=1, used=0.0):
    content = np.full(tokens, number, np.int32)
    return SavedState(content, np.zeros(size, np.uint8), used=used)


def test_many_short_conversations_push_out_no_long_one():
    store = StateStore(10**9)
    assert store.add(state(0, SHORT, used=0.0))
    for number in range(1, 3 * MOST_STATES):
        assert store.add(state(number, 20, used=float(number)))
    assert len(store.states) == MOST_STATES
    kept = [int(s.tokens[0]) for s in store.states]
    assert kept == [0, *range(2 * MOST_STATES + 1, 3 * MOST_STATES)]


def test_the_oldest_go_where_bytes_run_out():
    store = StateStore(100)
    for number in range(1, 6):
        store.add(state(number, SHORT + number, size=30, used=float(number)))
    assert [int(s.tokens[0]) for s in store.states] == [3, 4, 5]
    assert not store.add(state(9, SHORT, size=101))


def test_a_conversation_that_went_on_takes_the_place_of_what_it_was():
    store = StateStore(100)
    store.add(state(1, 10))
    store.add(state(1, 30))
    assert [len(s.tokens) for s in store.states] == [30]

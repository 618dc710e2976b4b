"""Choosing and health: pure, with the time as an argument."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from plugway_pool._choice import chosen, ranked
from plugway_pool._health import RETURN_SECONDS, Health

KEYS = [f"conversation {n}".encode() for n in range(400)]


@dataclass
class One:
    address: str
    requests: float = 0
    share: float = 1.0
    comfortable: int = 4
    capacity: int = 0

    def load(self, now):
        return self.requests

    def weight(self, now):
        return self.share


def four(**changes):
    return [One(f"http://gpu{n}:8000", **changes) for n in range(4)]


def homes(servers):
    return {key: chosen(key, servers, None, 0).address for key in KEYS}


def test_conversations_are_spread_evenly():
    found = list(homes(four()).values())
    assert all(60 < found.count(one.address) < 140 for one in four())


def test_only_the_conversations_of_a_removed_server_move():
    before, after = homes(four()), homes(four()[1:])
    gone = four()[0].address
    assert all(after[key] == home for key, home in before.items() if home != gone)
    assert len({after[key] for key, home in before.items() if home == gone}) == 3


def test_a_server_with_a_small_weight_gets_few_new_conversations():
    servers = four()
    servers[0].share = 0.1
    assert 1 <= list(homes(servers).values()).count(servers[0].address) < 40


def test_the_last_server_is_kept_whatever_the_hash_says():
    for key in KEYS[:20]:
        for one in four():
            assert chosen(key, four(), one.address, 0).address == one.address


def test_an_address_that_is_gone_is_not_kept():
    assert chosen(b"k", four(), "http://gone", 0) is not None


def test_a_server_is_kept_up_to_what_is_comfortable():
    servers = four()
    servers[0].requests = 3
    assert chosen(b"k", servers, servers[0].address, 0) is servers[0]
    servers[0].requests = 4
    assert chosen(b"k", servers, servers[0].address, 0) is not servers[0]


def test_a_server_that_ran_more_at_once_keeps_its_conversations_but_gets_no_new_ones():
    servers = four(capacity=20)
    servers[0].requests = 19
    assert chosen(b"k", servers, servers[0].address, 0) is servers[0]
    assert all(chosen(key, servers, None, 0) is not servers[0] for key in KEYS)


def test_without_servers_there_is_no_choice():
    assert chosen(b"k", [], None, 0) is None


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=9), st.binary(max_size=8))
def test_a_chosen_server_is_never_much_above_the_median_of_the_others(loads, key):
    servers = [One(f"s{n}", load) for n, load in enumerate(loads)]
    found = chosen(key, servers, "s0", 0)
    others = sorted(one.requests for one in servers if one is not found)
    if others:
        assert found.requests <= max(4, 1.5 * (others[(len(others) - 1) // 2] + 1))
    assert sorted(one.address for one in ranked(key, servers, 0)) == [s.address for s in servers]


def test_two_failures_in_a_row_eject_a_server_and_a_success_between_does_not():
    health = Health()
    assert not health.failed(0, "500")
    health.succeeded(1)
    assert not health.failed(2, "500")
    assert health.failed(3, "500")
    assert not health.available


def test_a_server_that_cannot_be_reached_is_ejected_at_once_and_longer_each_time():
    health, lengths, now = Health(), [], 0.0
    for _ in range(7):
        assert health.failed(now, "refused", unreachable=True)
        lengths.append(health.ejected_until - now)
        now = health.ejected_until
        assert not health.responded(now - 0.01)
        assert health.responded(now)
    assert lengths == [5, 10, 20, 40, 80, 120, 120]


def test_its_share_grows_after_it_has_returned():
    health = Health()
    assert health.weight(0) == 1
    health.failed(0, "refused", unreachable=True)
    health.responded(5)
    assert health.weight(5) == 0.1
    assert health.weight(5 + RETURN_SECONDS / 2) == 0.5
    assert health.weight(5 + RETURN_SECONDS) == 1


def test_a_long_time_without_failures_makes_the_next_ejection_short_again():
    health = Health()
    for now in (0, 100):
        health.failed(now, "refused", unreachable=True)
        health.responded(now + 50)
    health.succeeded(151 + RETURN_SECONDS)
    health.failed(300, "refused", unreachable=True)
    assert health.ejected_until == 305

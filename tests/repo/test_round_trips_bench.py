"""The bench of round trips counts what changes, and says which replies do."""

from __future__ import annotations

import pytest

from bench import round_trips
from plugway_toolcalls import FAMILIES, own_format
from plugway_toolcalls.testing import writes_raw

HERMES = next(family for family in FAMILIES if family.name == "hermes")
GLM = next(family for family in FAMILIES if family.name == "glm")


@pytest.mark.parametrize("raw", [False, True])
def test_a_line_per_family_says_that_nothing_changed(raw, capsys):
    assert round_trips.run([GLM], range(20), raw=raw) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert line.split()[:3] == ["glm", "20", "0"]


@pytest.mark.parametrize("raw", [False, True])
def test_a_changed_argument_is_counted_and_shown_with_the_number_of_its_reply(
    raw, capsys, monkeypatch
):
    read = round_trips.parsed

    def shortened(family, chunks):
        calls = [block for block in read(family, chunks) if block[0] == "call"]
        return [("call", name, {**given, "content": "x"}) for _, name, given in calls]

    monkeypatch.setattr(round_trips, "parsed", shortened)
    assert round_trips.run([GLM], range(7, 17), raw=raw) == 10
    out = capsys.readouterr().out
    assert "glm 7: " in out
    assert out.splitlines()[-1].split()[1:3] == ["10", "10"]


def test_calls_that_are_written_as_json_instead_of_the_familys_own_way_are_counted():
    found = {round_trips.written_and_read(GLM, number)[0] for number in range(20)}
    assert found == {"same", "other"}
    assert own_format(HERMES).kind == "object"
    assert {round_trips.written_and_read(HERMES, number)[0] for number in range(20)} == {"same"}
    assert writes_raw(GLM)
    assert not writes_raw(HERMES)

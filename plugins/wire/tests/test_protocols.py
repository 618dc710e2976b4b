"""Whether an object implements a protocol is decided once, for that object."""

import gc
from types import SimpleNamespace
from typing import Protocol, runtime_checkable

import pytest

from plugway_wire.protocols import _KNOWN, implements


@runtime_checkable
class Named(Protocol):
    asked = 0

    @property
    def name(self) -> str: ...


@runtime_checkable
class Runs(Protocol):
    def run(self) -> None: ...


class Runner:
    def run(self):
        pass


class Slots:
    __slots__ = ("asked", "name")


def slotted():
    made = Slots()
    made.asked, made.name = 0, "x"
    return made


@pytest.mark.parametrize(
    ("value", "protocol", "expected"),
    [
        (SimpleNamespace(name="x", asked=0), Named, True),
        (SimpleNamespace(), Named, False),
        (Runner(), Runs, True),
        (Runner(), Named, False),
        (slotted(), Named, True),
        (Slots(), Named, False),
        (5, Runs, False),
    ],
)
def test_the_verdict_is_that_of_isinstance(value, protocol, expected):
    assert [implements(value, protocol) for _ in range(3)] == [expected] * 3
    assert isinstance(value, protocol) is expected


def test_equal_objects_and_objects_of_one_class_are_told_apart():
    class Equal(SimpleNamespace):
        def __eq__(self, other):
            return True

        __hash__ = None

    with_name, without = Equal(name="x", asked=0), Equal()
    assert implements(with_name, Named)
    assert not implements(without, Named)
    assert implements(with_name, Named)


def test_nothing_is_kept_of_an_object_that_is_gone():
    before = len(_KNOWN)
    for _ in range(100):
        value = Runner()
        assert implements(value, Runs)
        assert not implements(value, Named)
    value.itself = value
    del value
    gc.collect()
    assert len(_KNOWN) == before

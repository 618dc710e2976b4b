"""The keyring of the system, as `$keyring` asks it and `plugway keys` writes to it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from types import ModuleType
from typing import ClassVar

import pytest

from plugway import PlugwayError, StoredKey
from plugway_keyring import _store
from plugway_keyring._store import KEYRINGS, Keyring, read_key, system_keyrings


def refusal(name: str) -> str:
    with pytest.raises(PlugwayError) as caught:
        read_key(name)
    return str(caught.value)


class FakeStore:
    priority = 5.0
    keys: ClassVar[dict[str, str]] = {}
    wait = threading.Event()

    def get_password(self, service: str, name: str) -> str | None:
        assert service == "plugway"
        if name == "slow":
            self.wait.wait(5)
        if name == "broken":
            raise RuntimeError("the desktop says hidden-value")
        return self.keys.get(name)


class SecondStore(FakeStore):
    priority = 2.0
    keys: ClassVar[dict[str, str]] = {"other": "second-value"}


class UnfitStore(FakeStore):
    priority = 0.5

    def get_password(self, service: str, name: str) -> str | None:
        raise AssertionError("must not be asked")


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    module = ModuleType("fake_keyrings")
    FakeStore.keys = {"cloud": "stored-value"}
    for store in (UnfitStore, SecondStore, FakeStore):
        setattr(module, store.__name__, store)
    monkeypatch.setitem(sys.modules, "fake_keyrings", module)
    names = tuple(f"fake_keyrings.{name}" for name in ("UnfitStore", "SecondStore", "FakeStore"))
    monkeypatch.setattr(_store, "KEYRINGS", (*names, "fake_keyrings.Absent", "no_module.Here"))
    monkeypatch.setattr(_store, "_stuck_since", float("-inf"))
    yield
    FakeStore.wait.set()


@pytest.mark.usefixtures("stores")
def test_the_stores_of_the_system_are_asked_in_their_order_of_preference() -> None:
    assert [type(store) for store in system_keyrings()] == [FakeStore, SecondStore]
    assert read_key("cloud") == StoredKey("stored-value")
    assert read_key("other") == StoredKey("second-value")


@pytest.mark.usefixtures("stores")
def test_an_absent_key_is_none() -> None:
    assert read_key("nothing") is None


@pytest.mark.usefixtures("stores")
def test_a_store_that_fails_is_named_without_its_words() -> None:
    problem = refusal("broken")
    assert "the keyring failed" in problem
    assert "RuntimeError" in problem
    assert "hidden-value" not in problem


@pytest.mark.usefixtures("stores")
def test_a_locked_keyring_is_given_up_in_time_and_only_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_store, "KEYRING_SECONDS", 0.5)
    FakeStore.wait.clear()
    start = time.monotonic()
    for _ in range(3):
        assert "timed out after 0.5 s" in refusal("slow")
    assert time.monotonic() - start < 1.4


@pytest.fixture
def writable(stores: None, monkeypatch: pytest.MonkeyPatch) -> type[FakeStore]:
    def set_password(self: FakeStore, service: str, name: str, text: str) -> None:
        self.keys[name] = text

    def delete_password(self: FakeStore, service: str, name: str) -> None:
        del self.keys[name]

    monkeypatch.setattr(FakeStore, "set_password", set_password, raising=False)
    monkeypatch.setattr(FakeStore, "delete_password", delete_password, raising=False)
    return FakeStore


def test_a_store_that_loses_a_key_is_detected(
    writable: type[FakeStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStore, "set_password", lambda *_: None)
    with pytest.raises(PlugwayError, match="did not return it"):
        Keyring().write("work", StoredKey("k-0123456789"))


def test_a_deleted_key_is_gone(writable: type[FakeStore]) -> None:
    Keyring().write("work", StoredKey("k-0123456789"))
    assert Keyring().delete("work")
    assert Keyring().read("work") is None
    assert not Keyring().delete("work")


def test_only_stores_of_systems_and_desktops_are_on_the_list() -> None:
    assert all(name.startswith("keyring.backends.") for name in KEYRINGS)
    assert not any("null" in name or "fail" in name or "chainer" in name for name in KEYRINGS)


def test_a_store_chosen_by_the_environment_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.null.Keyring")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/no/such/bus")
    modules = {type(store).__module__ for store in system_keyrings()}
    assert modules <= {name.rpartition(".")[0] for name in KEYRINGS}


@pytest.mark.usefixtures("stores")
def test_a_machine_without_a_trusted_keyring_says_what_to_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_store, "KEYRINGS", ())
    assert "use `{$env: NAME}` or `{$file: PATH}`" in refusal("x")

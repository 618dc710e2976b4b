"""The audit hook sees every frame on the stack, and keeps none of them."""

import gc
import threading
import weakref

import pytest

from plugway_permissions_watch._owners import Owners
from plugway_permissions_watch._watch import Watch


class Held:
    pass


@pytest.fixture
def watch(tmp_path):
    (tmp_path / "note.txt").write_text("x")
    found = Watch(Owners({str(tmp_path): "somebody"}), lambda: None)
    found.start()
    gc.disable()
    yield tmp_path / "note.txt"
    gc.enable()
    found.stop()


def reads(path):
    mine = Held()
    for _ in range(3):
        path.read_text()
    return weakref.ref(mine)


def test_what_a_function_held_is_free_when_it_returns_without_the_garbage_collector(watch):
    assert reads(watch)() is None


def test_so_is_what_a_thread_held(watch):
    found = []
    thread = threading.Thread(target=lambda: found.append(reads(watch)))
    thread.start()
    thread.join(20)
    assert found[0]() is None

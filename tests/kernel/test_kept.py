"""What is kept: bounded in memory, whole on disk."""

import os
import time

import pytest

from plugway import Bounded, write_file
from plugway.kept import remove_drafts


def test_what_was_set_longest_ago_goes_first():
    kept = Bounded(2)
    kept["a"], kept["b"] = 1, 2
    assert kept.get("a") == 1  # to read changes nothing
    kept["c"] = 3
    assert dict(kept) == {"b": 2, "c": 3}
    kept["b"] = 4
    kept["d"] = 5
    assert list(kept.items()) == [("b", 4), ("d", 5)]
    assert (kept.setdefault("e", 6), len(kept)) == (6, 2)
    del kept["e"]
    assert list(kept) == ["d"]


def test_a_file_is_written_whole_for_its_user_alone(tmp_path):
    path = tmp_path / "new" / "file.json"
    write_file(path, b"one")
    write_file(path, b"two", mode=0o644)
    assert path.read_bytes() == b"two"
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]
    if os.name == "posix":
        assert path.stat().st_mode & 0o777 == 0o644
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_write_that_fails_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"old")

    def full(descriptor):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_old_drafts_are_removed_and_young_ones_stay(tmp_path):
    for name in (".file-old", ".file-young", ".other-old"):
        (tmp_path / name).write_text("")
    hours_ago = time.time() - 7200
    for name in (".file-old", ".other-old"):
        os.utime(tmp_path / name, (hours_ago, hours_ago))
    remove_drafts(tmp_path / "file")
    assert {p.name for p in tmp_path.iterdir()} == {".file-young", ".other-old"}

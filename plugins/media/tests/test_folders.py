"""Files in the folders that a configuration allows."""

import pytest

from plugway_media.folders import allowed_folders, file_inside, path_inside, read_inside


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path.resolve() / "in"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"inside")
    (folder / "circle").symlink_to(folder / "circle")
    (folder / "link").symlink_to(tmp_path / "out.txt")
    (tmp_path / "out.txt").write_bytes(b"outside")
    return folder


def test_a_file_is_found_by_its_path_and_by_its_name(folder):
    for name in (str(folder / "a.txt"), "a.txt", "../in/a.txt"):
        assert file_inside(name, [folder]) == folder / "a.txt"
    assert read_inside("a.txt", [folder], 3) == b"insi"
    assert path_inside("new.txt", [folder]) == folder / "new.txt"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../out.txt", "the path is not in a folder that may be used"),
        ("link", "the path is not in a folder that may be used"),
        ("none", "no such file: it is not in a folder that may be used"),
        ("circle", "the path is not valid|no such file"),  # Python 3.13 follows no circle
        ("a\0b", "the path is not valid"),
        ("\ud800", "the path is not valid"),
        ("~nobody-of-this-name/a", "the path is not valid"),
    ],
)
def test_any_other_name_is_an_error_with_the_reason(folder, name, reason):
    with pytest.raises(OSError, match=reason):
        read_inside(name, [folder], 100)


def test_a_call_narrows_the_folders_and_never_widens_them(folder):
    inner = folder / "b"
    assert allowed_folders([folder], []) == [folder]
    assert allowed_folders([folder], [inner]) == [inner]
    assert allowed_folders([inner], [folder]) == [inner]
    assert allowed_folders([inner], [folder / "c"]) == []

"""Piper's voices as a kind of models, for `plugway models`."""

from importlib.metadata import entry_points

import pytest

from plugway_local_models import NoSuchModel, PullFailed, RemoteFile, UnusableModel
from plugway_text_to_speech._kind import PIPER, PiperVoices


def test_the_kind_is_registered():
    (entry,) = [e for e in entry_points(group="plugway.model_kinds") if e.name == "piper"]
    assert entry.load() is PIPER


def test_voices_are_found_by_name_by_the_last_part_and_by_path(voice, tmp_path):
    path = voice(tmp_path / "in/org/voices", "en_US-ann")
    voice(tmp_path / "in/a", "same"), voice(tmp_path / "in/b", "same")
    (tmp_path / "in/a/bert.onnx").write_bytes(b"\x08")
    (tmp_path / "in/a/bert.onnx.json").write_text('{"audio": {"sample_rate": "x"}}')
    kind = PiperVoices(tmp_path / "in")
    assert [found.name for found in kind.models()] == ["a/same", "b/same", "org/voices/en_US-ann"]
    assert kind.find("en_US-ann").path == kind.find("org/voices/en_US-ann").path == path
    with pytest.raises(NoSuchModel, match="`same` is ambiguous"):
        kind.find("same")
    for name in ("other", "bert", "x" * 5000, "\0.onnx", "../in/a/bert.onnx"):
        with pytest.raises(NoSuchModel):
            kind.find(name)
    elsewhere = voice(tmp_path / "else", "mine")
    assert kind.find(str(elsewhere)).path == elsewhere
    found = kind.find("en_US-ann")
    assert kind.facts(found).about == "voice, en_US"
    assert kind.details(found) == {"language": "en_US", "sample_rate": 22050, "speakers": 1}
    assert {file.name for file in kind.files(found)} == {"en_US-ann.onnx", "en_US-ann.onnx.json"}


def test_one_voice_of_a_repository_is_chosen_by_its_name():
    names = ("en/lessac/en_US-lessac-medium.onnx", "de/thorsten/de_DE-thorsten-low.onnx")
    files = [RemoteFile(path, 1, "") for name in names for path in (name, f"{name}.json")]
    files += [RemoteFile("model.onnx", 1, ""), RemoteFile("config.json", 1, "")]
    chosen = PIPER.choose(files, "de_DE-thorsten-low", "o/r")
    assert [file.path for file in chosen] == [names[1], f"{names[1]}.json"]
    with pytest.raises(
        PullFailed, match="has 2 voices: name one, such as `o/r:de_DE-thorsten-low`"
    ):
        PIPER.choose(files, "", "o/r")
    with pytest.raises(PullFailed, match="has no voice `nobody`"):
        PIPER.choose(files, "nobody", "o/r")
    assert len(PIPER.choose(files[:2], "", "o/r")) == 2
    assert PIPER.choose(files[4:], "", "o/r") == []


def test_what_is_not_a_voice_is_refused(tmp_path):
    file = tmp_path / "x.part"
    for name, data in (
        ("a.onnx", b""),
        ("a.onnx", b"PK\3\4"),
        ("a.onnx.json", b"not json"),
        ("a.onnx.json", b"[" * 100_000),
        ("a.onnx.json", b'{"audio": {"sample_rate": true}, "phoneme_id_map": {}}'),
        ("a.onnx.json", b'{"audio": {"sample_rate": 22050}}'),
    ):
        file.write_bytes(data)
        with pytest.raises(UnusableModel):
            PIPER.check_file(file, RemoteFile(name, 1, ""))

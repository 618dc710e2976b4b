"""Whisper models as a kind of models, for `plugway models`."""

import json
from importlib.metadata import entry_points

import pytest

from plugway_local_models import NoSuchModel, PullFailed, RemoteFile, UnusableModel
from plugway_speech_to_text import _kind
from plugway_speech_to_text._engines import engine_spec, offered, problem_of
from plugway_speech_to_text._kind import WHISPER

HEADER = b"\6\0\0\0\x0c\0WhisperSpec\0\3\0\0\0"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(_kind, "models_folder", lambda: tmp_path)
    return tmp_path


def model(folder, name, header=HEADER):
    path = folder / name
    path.mkdir(parents=True)
    (path / "model.bin").write_bytes(header + b"\0" * 100)
    for file in ("config.json", "tokenizer.json"):
        (path / file).write_text("{}")
    return path


def test_the_kind_is_registered():
    (entry,) = [e for e in entry_points(group="plugway.model_kinds") if e.name == "whisper"]
    assert entry.load() is WHISPER


def test_models_are_found_by_name_by_the_last_part_and_by_path(folder, tmp_path_factory):
    path = model(folder, "org/tiny")
    model(folder, "a/same"), model(folder, "b/same")
    model(folder, "org/nllb", b"\6\0\0\0\x10\0TransformerSpec\0")
    assert [found.name for found in WHISPER.models()] == ["a/same", "b/same", "org/tiny"]
    assert WHISPER.find("org/tiny").path == WHISPER.find("tiny").path == path
    with pytest.raises(NoSuchModel, match="`same` is ambiguous"):
        WHISPER.find("same")
    for name in ("org/nllb", "other", "x" * 5000, "\0"):
        with pytest.raises(NoSuchModel):
            WHISPER.find(name)
    elsewhere = model(tmp_path_factory.mktemp("else"), "mine")
    assert WHISPER.find(str(elsewhere)).path == elsewhere


def test_a_repository_is_chosen_by_its_files():
    names = ("model.bin", "config.json", "tokenizer.json", "vocabulary.txt")
    files = [RemoteFile(name, 1, "") for name in (*names, "README.md", "onnx/model.bin", "x.py")]
    assert [file.path for file in WHISPER.choose(files, "", "o/r")] == list(names)
    assert WHISPER.choose(files[1:], "", "o/r") == []
    with pytest.raises(PullFailed, match="without variants"):
        WHISPER.choose(files, "int8", "o/r")


def test_what_is_not_a_whisper_model_is_refused_by_its_header(tmp_path):
    file = tmp_path / "model.bin.part"
    remote = RemoteFile("model.bin", 1, "")
    for data in (b"", b"PK\3\4", b"\6\0\0\0\xff\xff", b"\6\0\0\0\x10\0TransformerSpec\0"):
        file.write_bytes(data)
        with pytest.raises(UnusableModel, match="not a Whisper model"):
            WHISPER.check_file(file, remote)
    file.write_bytes(HEADER)
    WHISPER.check_file(file, remote)


def test_an_incomplete_model_says_what_is_missing(folder):
    path = model(folder, "org/tiny")
    (path / "tokenizer.json").unlink()
    assert "lacks `tokenizer.json`" in WHISPER.facts(WHISPER.find("tiny")).about
    (path / "tokenizer.json").write_text("not json")
    with pytest.raises(UnusableModel, match="is not JSON"):
        WHISPER.details(WHISPER.find("tiny"))


def test_only_the_files_of_a_model_are_deleted_with_it(folder):
    path = model(folder, "org/tiny")
    (path / "notes.md").write_text(json.dumps("mine"))
    names = {file.name for file in WHISPER.files(WHISPER.find("tiny"))}
    assert names == {"model.bin", "config.json", "tokenizer.json"}


def test_without_a_choice_the_installed_models_are_offered(folder):
    assert offered([]) == ["pocketsphinx"]
    model(folder, "org/tiny")
    assert offered([]) == ["org/tiny"]
    assert offered(["pocketsphinx"]) == ["pocketsphinx"]


def test_a_model_that_is_missing_is_named_with_the_command_that_adds_it(folder, monkeypatch):
    monkeypatch.setattr("plugway_speech_to_text._engines.find_spec", lambda name: object())
    assert "plugway models pull Systran/faster-whisper-base" in problem_of("org/tiny")
    model(folder, "org/tiny")
    assert problem_of("org/tiny") == ""
    assert engine_spec("tiny").model == "org/tiny"
    monkeypatch.setattr("plugway_speech_to_text._engines.find_spec", lambda name: None)
    assert "pip install './plugins/speech-to-text[whisper]'" in problem_of("org/tiny")
    assert "pip install './plugins/speech-to-text[pocketsphinx]'" in problem_of("pocketsphinx")

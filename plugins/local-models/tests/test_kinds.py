"""Several kinds of models share the folder, the hub and the commands."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from plugway_local_models import (
    ModelFacts,
    ModelFile,
    NoSuchModel,
    PullFailed,
    RemoteFile,
    UnusableModel,
    _commands,
    find_model,
    is_inside,
    models_folder,
)
from plugway_local_models._hub import pull


class Folders:
    """A model is a folder with a file `weights` and others."""

    title = "folder"

    def models(self):
        folder = models_folder()
        paths = sorted(folder.rglob("weights")) if folder.is_dir() else []
        return [ModelFile(p.parent.relative_to(folder).as_posix(), p.parent) for p in paths]

    def find(self, name):
        for model in self.models():
            if model.name == name:
                return model
        raise NoSuchModel(f"there is no folder `{name}`")

    def facts(self, model):
        return ModelFacts(sum(path.stat().st_size for path in self.files(model)), "plain", 5)

    def details(self, model):
        if not (model.path / "config").exists():
            raise UnusableModel(f"{model.path} has no `config`")
        return {"memory": "3 MiB", "fits": True}

    def files(self, model):
        return [path for path in model.path.iterdir() if path.is_file()]

    def choose(self, files, variant, repo):
        if variant not in ("", "folder"):
            raise PullFailed(f"`{repo}` has no `{variant}`")
        return [f for f in files if f.path in ("weights", "config")]

    def check_file(self, path, file):
        if not path.read_bytes():
            raise UnusableModel(f"{file.path} is empty")

    def check_all(self, paths):
        if len(paths) < 2:
            raise UnusableModel("a file is missing")


class Notes(Folders):
    """A kind that nothing belongs to."""

    title = "note"

    def models(self):
        return []

    def choose(self, files, variant, repo):
        return []


class Hub:
    def __init__(self, *names):
        self.names = names

    def files(self, repo):
        return [RemoteFile(name, 0, "") for name in self.names]

    def download(self, repo, file, target, progress, kind):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(file.path)
        kind.check_file(target, file)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(_commands, "model_kinds", lambda: [Notes(), Folders()])


def fetch(*names, name="org/repo"):
    return pull(Hub(*names), name, models_folder(), print, [Notes(), Folders()])


def run(*words):
    done = CliRunner().invoke(_commands.models_app, list(words))
    return done.exit_code, done.stdout + done.stderr


def test_the_kind_that_has_files_in_a_repository_chooses_them():
    paths = fetch("weights", "config", "README.md")
    assert [path.name for path in paths] == ["weights", "config"]
    assert json.loads(run("list", "--json")[1])[0]["model"] == "org/repo"
    code, out = run("show", "org/repo")
    assert code == 0
    assert "3 MiB" in out


def test_a_repository_with_no_kind_names_them_all():
    with pytest.raises(PullFailed, match="has no note or folder file"):
        fetch("README.md")
    with pytest.raises(PullFailed, match="has no `q9`"):
        fetch("weights", name="org/repo:q9")
    with pytest.raises(PullFailed, match="a file is missing"):
        fetch("weights")


def test_a_model_that_is_a_folder_is_removed_with_it():
    fetch("weights", "config")
    (models_folder() / "org/other").mkdir()
    assert run("rm", "org/repo", "--yes")[0] == 0
    assert [path.name for path in (models_folder() / "org").iterdir()] == ["other"]


def test_a_damaged_model_is_shown_as_such():
    (path,) = [p.parent for p in fetch("weights", "config") if p.name == "config"]
    (path / "config").unlink()
    code, out = run("show", "org/repo")
    assert code == 1
    assert "has no `config`" in out.replace("\n", "")


def test_a_name_of_no_kind_is_told_as_the_first_kind_says_it():
    with pytest.raises(NoSuchModel, match="there is no folder `x`"):
        find_model("x", [Notes(), Folders()])
    with pytest.raises(NoSuchModel, match="no package"):
        find_model("x", [])


def test_links_and_dots_do_not_hide_where_a_file_is(tmp_path):
    (tmp_path / "a").mkdir()
    assert is_inside(tmp_path / "a" / "f", tmp_path)
    assert not is_inside(Path(tmp_path / "a" / ".." / ".." / "f"), tmp_path / "a")


def test_a_folder_with_files_of_others_stays_with_them():
    (path, _) = fetch("weights", "config")
    (path.parent / "mine").mkdir()
    assert run("rm", "org/repo", "--yes")[0] == 0
    assert [path.name for path in (models_folder() / "org/repo").iterdir()] == ["mine"]


@pytest.mark.parametrize("inside", [True, False])
def test_a_link_to_a_folder_is_never_followed_to_remove_what_is_there(inside, tmp_path):
    (path, _) = fetch("weights", "config")
    target = path.parent if inside else tmp_path / "elsewhere"
    if not inside:
        path.parent.rename(target)
    link = models_folder() / "org/link"
    link.symlink_to(target)

    class Linked(Folders):
        def find(self, name):
            return ModelFile(name, link)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_commands, "model_kinds", lambda: [Linked()])
        code, out = run("rm", "org/link", "--yes")
    assert code == 1
    assert "is a link to another folder" in " ".join(out.split())
    assert {path.name for path in target.iterdir()} == {"weights", "config"}


def test_without_the_word_of_the_user_nothing_is_removed():
    (path, _) = fetch("weights", "config")
    code, _ = run("rm", "org/repo")
    assert code == 1
    assert path.exists()

"""The plugin without its engine, and as a kind of models; needs no engine."""

import json
import shutil
import sys
from importlib.metadata import entry_points

import pytest
from test_folder import DEMO, safetensors

from plugway import Attempt, BackendUnavailable, InvalidRequest, MessagesRequest, RequestRejected
from plugway.testing import build_plugin, request_body
from plugway_local_models import (
    AsksForRoom,
    FreesCaches,
    HoldsModels,
    ModelFile,
    NamesModels,
    NoSuchModel,
    PullFailed,
    RemoteFile,
    UnusableModel,
    models_folder,
)
from plugway_mlx import Mlx
from plugway_mlx import _installed as installed
from plugway_mlx._kind import MLX

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def without_engine(monkeypatch):
    def nothing(name):
        return None

    monkeypatch.setattr(installed, "find_spec", nothing)


def backend_of(**options):
    (backend,) = build_plugin(Mlx, "local", **options).register_backends()
    return backend


def asked(model="default", **fields):
    return MessagesRequest(json.dumps(request_body(model=model, **fields)).encode())


async def test_without_the_engine_one_sentence_says_what_to_install(without_engine):
    backend = backend_of()
    with pytest.raises(BackendUnavailable, match=r"MLX is not installed\. ") as caught:
        await backend.send(asked(), Attempt(backend, "default"))
    assert caught.value.permanent
    with pytest.raises(BackendUnavailable, match="MLX is not installed"):
        await backend.load("demo")


@pytest.mark.parametrize(
    ("platform", "machine", "expected"),
    [
        ("linux", "x86_64", "pip install 'mlx[cpu]<"),
        ("darwin", "arm64", "pip install 'mlx<"),
        ("darwin", "x86_64", "use `llama-cpp`"),
        ("win32", "AMD64", "use `llama-cpp`"),
    ],
)
def test_the_extra_to_install_depends_on_the_system(monkeypatch, platform, machine, expected):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert expected in installed._how()


def test_mlx_without_a_backend_on_linux_is_told_from_none(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(installed, "find_spec", lambda name: name)
    monkeypatch.setattr(installed, "_is_installed", lambda name: False)
    assert "without a backend for Linux" in installed.missing_engine()


def test_a_missing_engine_and_model_are_warned_about_and_not_loaded(without_engine, caplog):
    plugin = build_plugin(Mlx, "local", model="none/such")
    assert list(plugin.check({})) == []
    said = caplog.text
    assert "MLX is not installed" in said
    assert "none/such" in said


async def test_an_unknown_model_is_not_found_and_a_missing_own_one_is_permanent():
    backend = backend_of()
    with pytest.raises(RequestRejected, match="other") as caught:
        await backend.send(asked("other"), Attempt(backend, "other"))
    assert caught.value.status == 404
    backend = backend_of(model="none/such")
    with pytest.raises(BackendUnavailable, match="none/such") as unavailable:
        await backend.send(asked(), Attempt(backend, "default"))
    assert unavailable.value.permanent


async def test_a_choice_that_means_nothing_is_refused():
    backend = backend_of()
    tool = {"name": "now", "description": "", "input_schema": {"type": "object"}}
    with pytest.raises(InvalidRequest, match="tool_choice"):
        await backend.send(asked(tools=[tool], tool_choice="any"), Attempt(backend, "demo"))


async def test_it_says_what_a_model_needs_before_it_is_loaded():
    backend = backend_of(context=4096)
    assert isinstance(backend, HoldsModels)
    assert isinstance(backend, NamesModels)
    assert isinstance(backend, FreesCaches)
    assert isinstance(backend, AsksForRoom)
    assert await backend.needs("default") > DEMO.joinpath("model.safetensors").stat().st_size
    assert await backend.name_of("default") == "demo"
    assert await backend.loaded() == []
    (info,) = await backend.models()
    assert info.state == "unloaded"
    assert "demonstration" in info.notice


# `plugway models`


def add(name):
    folder = models_folder() / name
    shutil.copytree(DEMO, folder)
    return ModelFile(name, folder)


def test_it_is_registered_as_a_kind_of_models():
    (entry,) = [e for e in entry_points(group="plugway.model_kinds") if e.name == "mlx"]
    assert entry.load() is MLX


def test_models_of_the_folder_are_listed_and_shown():
    model = add("org/small")
    assert MLX.models() == [model]
    facts = MLX.facts(model)
    assert (facts.architecture, facts.context) == ("gemma3_text", 131_072)
    shown = MLX.details(MLX.find("org/small"))
    assert shown["fits"]
    assert "weights" in shown["memory"]


def test_a_damaged_model_is_listed_with_the_reason():
    model = add("org/broken")
    safetensors(model.path / "model.safetensors", cut=4)
    assert "cannot be loaded" in MLX.facts(model).about
    with pytest.raises(UnusableModel, match="missing"):
        MLX.details(model)


def test_only_files_of_the_model_are_deleted():
    model = add("org/small")
    for name in ("notes.txt", "program.py"):
        (model.path / name).write_text("mine")
    names = {path.name for path in MLX.files(model)}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not names & {"notes.txt", "program.py"}
    assert MLX.files(ModelFile("x", models_folder())) == []


def test_a_folder_without_a_configuration_is_not_of_this_kind(tmp_path):
    with pytest.raises(NoSuchModel):
        MLX.find(str(tmp_path))


def remote(*names):
    return [RemoteFile(name, 10, "") for name in names]


def test_of_a_repository_the_model_is_downloaded_and_no_program():
    files = remote(
        *("README.md", "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "config.json", "tokenizer.json", "modeling_x.py"),
        *("chat_template.jinja", "onnx/model.safetensors", "pytorch_model.bin"),
    )
    chosen = [file.path for file in MLX.choose(files, "", "org/model")]
    assert chosen[0] == "config.json"
    assert set(chosen) == {
        *("config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors.index.json"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
    }
    with pytest.raises(PullFailed, match="leave out `:Q4`"):
        MLX.choose(files, "Q4", "org/model")


def test_a_repository_without_weights_or_configuration_has_no_model():
    assert MLX.choose(remote("config.json", "model.gguf"), "", "org/model") == []
    assert MLX.choose(remote("model.safetensors"), "", "org/model") == []


def test_downloaded_files_are_checked(tmp_path):
    path = tmp_path / "x.part"
    safetensors(path, cut=2)
    with pytest.raises(UnusableModel, match="missing"):
        MLX.check_file(path, RemoteFile("model.safetensors", 10, ""))
    with pytest.raises(UnusableModel):
        MLX.check_all([tmp_path / "config.json"])

"""Which files a model has, and what is told of files that are none: at the client, in the output of
`plugway models`, and when the configuration is checked."""

import json
import logging
import os
import struct
import subprocess
import sysconfig
from pathlib import Path

import odd_gguf
import pytest
import tiny_gguf
import tiny_mmproj
from typer.testing import CliRunner

from conftest import text_of
from plugway import BackendUnavailable
from plugway.testing import build_plugin, gateway, request_body
from plugway_error_normalizer import ErrorNormalizer
from plugway_llama_cpp import LlamaCpp
from plugway_llama_cpp._files import read_model
from plugway_llama_cpp._gguf import HostileFile, read_header
from plugway_llama_cpp._memory import plan
from plugway_local_models import models_folder
from plugway_local_models._commands import models_app

PLUGWAY = str(Path(sysconfig.get_path("scripts")) / "plugway")
PLAN = {"context": 4096, "batch": 512, "slots": 4, "kv_type": "f16"}


def run(*words):
    done = CliRunner().invoke(models_app, list(words), env={"COLUMNS": "10000"})
    return done.exit_code, " ".join(done.output.split())


# Split models


def test_all_parts_of_a_split_model_are_counted(models, tmp_path):
    first, *others = odd_gguf.split(models["full"], tmp_path)
    header, whole = read_model(first), read_header(models["full"])
    sizes = [part.stat().st_size for part in (first, *others)]
    assert header.size == sum(sizes) > 2 * sizes[0]
    assert (header.tensors, header.parameters) == (whole.tensors, whole.parameters)
    assert plan(header, **PLAN).weights == sum(sizes)


@pytest.mark.anyio
async def test_a_split_model_says_what_the_whole_one_says(engine, models, tmp_path):
    said = []
    for path in (models["full"], odd_gguf.split(models["full"], tmp_path)[0]):
        async with engine(path) as e:
            said.append(text_of(await e.say("hello")))
    assert said[0] == said[1]


@pytest.mark.anyio
async def test_a_later_part_that_changed_loads_the_model_anew(engine, models, tmp_path):
    first, second, _ = odd_gguf.split(models["full"], tmp_path)
    async with engine(first) as e:
        await e.say("hello")
        before = e.loaded
        second.write_bytes(second.read_bytes() + bytes(32))
        await e.say("hello")
        assert e.loaded is not before


def test_the_commands_count_show_and_remove_all_parts_and_no_other_model(models):
    folder = models_folder()
    parts = odd_gguf.split(models["full"], folder)
    other = odd_gguf.split(models["full"], folder, 2, "m-0.5b")
    kept = odd_gguf.rewrite(models["full"], folder / "m.gguf")
    _, out = run("list", "--json")
    sizes = {row["model"]: row["bytes"] for row in json.loads(out)}
    assert sizes["m-0.5b"] == sum(part.stat().st_size for part in other)
    _, out = run("show", parts[0].name, "--json")
    assert json.loads(out)["bytes"] == sum(part.stat().st_size for part in parts)
    assert run("rm", other[0].name, "--yes")[0] == 0
    assert sorted(folder.glob("*.gguf")) == sorted([*parts, kept])


# What is no model, or not all of one: name -> how it is made, and what is said


def part(number, change):
    def make(models, folder):
        parts = odd_gguf.split(models["full"], folder)
        change(parts[number - 1])
        return parts[0]

    return make


def cut(path):
    path.write_bytes(path.read_bytes()[:-20_000])


def of_another_split(path):
    odd_gguf.rewrite(
        path, path, metadata=False, split__no=4, split__count=5, split__tensors__count=21
    )


def only_one_tensor(path):
    kept = odd_gguf.tensor_names(path)[:1]
    odd_gguf.rewrite(path, path, tensors=kept, metadata=False, split__no=1, split__count=3)


def renamed(models, folder):
    return odd_gguf.split(models["full"], folder)[0].rename(folder / "model.gguf")


def all_but_the_first_gone(models, folder):
    first, *others = odd_gguf.split(models["full"], folder, 6)
    for path in others:
        path.unlink()
    return first


def changed(**changes):
    return lambda models, folder: odd_gguf.rewrite(models["full"], folder / "x.gguf", **changes)


def with_bytes(data):
    def make(models, folder):
        path = folder / "x.gguf"
        path.write_bytes(data)
        return path

    return make


def a_folder(models, folder):
    odd_gguf.split(models["full"], folder / "org")
    return folder / "org"


def an_empty_folder(models, folder):
    (folder / "org.gguf").mkdir()
    return folder / "org.gguf"


BROKEN = {
    "part missing": (part(2, lambda path: path.unlink()), "part 2 of its 3 parts is missing: m-00002-of-00003.gguf"),
    "parts missing": (all_but_the_first_gone, "5 of its 6 parts are missing: m-00002-of-00006.gguf, m-00003-of-00006.gguf, m-00004-of-00006.gguf and 2 more"),
    "part cut off": (part(3, cut), "m-00003-of-00003.gguf: it is cut off"),
    "part empty": (part(2, lambda path: path.write_bytes(b"")), "m-00002-of-00003.gguf: it is empty"),
    "part is a pointer": (part(2, lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")), "m-00002-of-00003.gguf: it is a Git LFS pointer"),
    "part of another": (part(2, of_another_split), "m-00002-of-00003.gguf is part 5 of 5 of a model, not part 2 of 3"),
    "part is a whole model": (part(2, lambda path: tiny_gguf.write(path)), "m-00002-of-00003.gguf is no part of a model"),
    "part with less": (part(2, only_one_tensor), "tensors, so they are of different models"),
    "later part": (lambda models, folder: odd_gguf.split(models["full"], folder)[1], "it is part 2 of 3 of a model: name its first part, m-00001-of-00003.gguf"),
    "renamed part": (renamed, "it is the first of 3 parts of a model, but its name does not say so"),
    "projector": (lambda models, folder: tiny_mmproj.write(folder / "vision.gguf", "gemma3"), "it is an image projector: name its model in `model`, and this file in `mmproj`"),
    "projector by type": (changed(general__type="mmproj"), "it is an image projector"),
    "adapter": (changed(general__type="adapter", adapter__type="lora", tensors=["token_embd.weight"]), "it is a LoRA adapter, which works only together with its base model"),
    "adapter of": (changed(general__type="adapter", general__base_model__0__name="Qwen3 4B"), "together with `Qwen3 4B`"),
    "importance matrix": (changed(general__type="imatrix", metadata=False), "it is an importance matrix"),
    "control vector": (changed(architecture="controlvector"), "it is a control vector"),
    "vocabulary": (changed(tensors=[]), "it has a vocabulary but no weights"),
    "reranker": (changed(architecture="nomic-bert", **{"nomic-bert__pooling_type": 4}), "it is a reranking model"),
    "no gguf": (with_bytes(b"hello"), "it does not start with `GGUF`"),
    "safetensors": (with_bytes(struct.pack("<Q", 50) + b'{"a":1}'), "it looks like safetensors"),
    "cut off": (lambda models, folder: (cut(path := changed()(models, folder)), path)[1], "it is cut off"),
    "folder": (a_folder, "is a folder, not a model file. Name a file in it: `m-00001-of-00003.gguf`"),
    "empty folder": (an_empty_folder, "is a folder, not a model file. It contains no GGUF file"),
}  # fmt: skip


@pytest.fixture(params=BROKEN)
def broken(request, models, tmp_path):
    make, reason = BROKEN[request.param]
    (tmp_path / "files").mkdir()
    return make(models, tmp_path / "files"), reason


@pytest.mark.anyio
async def test_a_client_is_told_in_a_sentence_what_is_wrong_with_the_file(broken):
    path, reason = broken
    plugins = [
        build_plugin(ErrorNormalizer, "errors"),
        build_plugin(LlamaCpp, "local", model=str(path), context=4096, threads=1),
    ]
    async with gateway(plugins) as running:
        response = await running.post(request_body(model="default"))
    assert response.status_code == 503
    assert reason in response.json()["error"]["message"]
    assert str(path.parent) in response.json()["error"]["message"]


def test_the_command_says_the_same(broken):
    path, reason = broken
    code, out = run("show", str(path))
    assert code == 1
    assert reason in out


SEEN_AT_ONCE = ("part missing", "parts missing", "projector", "adapter", "no gguf", "folder")


@pytest.mark.parametrize("name", SEEN_AT_ONCE)
def test_a_check_of_the_configuration_warns_of_it(name, models, tmp_path, caplog):
    make, reason = BROKEN[name]
    path = make(models, tmp_path)
    plugin = build_plugin(LlamaCpp, "local", model=str(path))
    with caplog.at_level(logging.WARNING):
        assert plugin.check({}) == ()
    assert reason in caplog.text


@pytest.mark.anyio
async def test_what_is_no_model_is_not_listed_as_one(engine, models):
    folder = models_folder()
    folder.mkdir(parents=True)
    odd_gguf.rewrite(models["full"], folder / "style.gguf", general__type="adapter")
    tiny_mmproj.write(folder / "vision.gguf", "gemma3")
    odd_gguf.rewrite(models["full"], folder / "second.gguf")
    async with engine(models["full"]) as e:
        assert [info.id for info in await e.backend.models()] == ["full", "second"]
    out = json.loads(run("list", "--json")[1])
    about = {row["model"]: row["about"] for row in out}
    assert "it is a LoRA adapter" in about["style"]


# What only llama.cpp knows

REFUSED = {
    "architecture": ({"architecture": "newer9"}, "unknown model architecture: 'newer9'; `llama-cpp-python` "),
    "tokenizer": ({"tokenizer__ggml__pre": "newer9"}, "unknown pre-tokenizer type: 'newer9'; `llama-cpp-python` "),
    "tensor": ({"tensors": ["token_embd.weight"]}, "tensor 'output_norm.weight' not found"),
    "metadata": ({"architecture": "bert"}, "key not found in model: bert.attention.layer_norm_epsilon"),
}  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("name", REFUSED)
async def test_the_reason_of_llama_cpp_is_told_with_the_path_of_its_log(
    name, engine, models, tmp_path
):
    changes, reason = REFUSED[name]
    path = odd_gguf.rewrite(models["full"], tmp_path / "x.gguf", **changes)
    async with engine(path) as e:
        with pytest.raises(BackendUnavailable) as caught:
            await e.say("hello")
        log = e.loaded.supervisor.spec.log
    assert caught.value.permanent
    assert f"llama.cpp cannot load {path}: " in caught.value.message
    assert reason in caught.value.message
    assert caught.value.message.endswith(f"Its log: {log}")
    assert log.is_file()


@pytest.mark.anyio
async def test_a_gateway_that_ends_while_a_model_begins_to_load_leaves_no_worker(engine, models):
    for _ in range(3):
        async with engine(models["full"]) as e:
            await e.backend.models()
        assert not e.backend.loader.loaded


def test_doctor_tells_the_reason_and_the_path_of_the_log(models, tmp_path):
    newer = odd_gguf.rewrite(models["full"], tmp_path / "newer.gguf", architecture="newer9")
    vision = tiny_mmproj.write(tmp_path / "vision.gguf", "gemma3")
    entries = "".join(
        f"  - {{use: llama-cpp, name: {path.stem}, options: {{model: '{path}'}}}}\n"
        for path in (newer, vision)
    )
    config = tmp_path / "config.yaml"
    config.write_text(f"plugins:\n  - {{use: error-normalizer}}\n{entries}")
    done = subprocess.run(
        [PLUGWAY, "doctor", "--json", "--seconds", "20", "--config", str(config)],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=100,
        check=False,
    )
    told = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    stream = told["stream on anthropic/newer/newer"]
    assert stream["outcome"] == "failed"
    assert "unknown model architecture: 'newer9'" in stream["reason"]
    assert f"Its log: {tmp_path}" in stream["reason"]
    assert "it is an image projector" in told["configuration"]["reason"]
    assert "it is an image projector" in told["stream on anthropic/vision/vision"]["reason"]


def test_a_header_that_is_no_model_is_named_for_what_it_is(models, tmp_path):
    path = odd_gguf.rewrite(models["full"], tmp_path / "x.gguf", general__type="adapter")
    with pytest.raises(HostileFile, match="adapter"):
        read_model(path)

"""Folders that are no MLX models, and what is said of them; needs no engine."""

import json
import os
import re
import shutil
import struct
from pathlib import Path

import pytest

import plugway_demo_model
from plugway_local_models import NoSuchModel, UnusableModel, models_folder
from plugway_mlx._folder import glance, read_model
from plugway_mlx._names import find_in_folder, find_model, list_models
from plugway_mlx._plan import plan

DEMO = Path(plugway_demo_model.safetensors_path())
GIB = 1 << 30


def safetensors(path, *, shape=(4, 4), cut=0):
    """A small valid file; `cut` bytes are missing at its end."""
    size = 2 * shape[0] * shape[1]
    entry = {"dtype": "BF16", "shape": list(shape), "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": {"format": "mlx"}, "a": entry}).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(size)
    path.write_bytes(data[: len(data) - cut])


@pytest.fixture
def model(tmp_path):
    """A folder that passes every check, to be broken by a test."""
    folder = tmp_path / "model"
    folder.mkdir()
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    safetensors(folder / "model.safetensors")
    return folder


def configure(folder, **values):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


def refusal(folder):
    with pytest.raises(UnusableModel) as caught:
        read_model(folder)
    return str(caught.value)


def test_a_whole_model_has_its_facts():
    facts = read_model(DEMO)
    assert facts.architecture == "gemma3_text"
    assert facts.trained_context == 131_072
    assert facts.size == (DEMO / "model.safetensors").stat().st_size
    assert facts.is_demo
    assert glance(DEMO) == ""


def test_the_demo_model_is_known_under_another_name(tmp_path):
    copy = tmp_path / "mine"
    shutil.copytree(DEMO, copy)
    assert read_model(copy).is_demo


def test_a_model_that_reads_more_than_text_is_planned_by_its_text_part(model):
    configure(model, model_type="gemma3", text_config={"model_type": "x", "hidden_size": 4096})
    facts = read_model(model)
    assert facts.architecture == "gemma3"
    assert facts.number("hidden_size") == 4096


def remove_weights(folder):
    (folder / "model.safetensors").unlink()


def replace_weights(folder, name, data=b"x"):
    remove_weights(folder)
    (folder / name).write_bytes(data)


def index(folder):
    names = {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def index_as(text):
    return lambda folder: (folder / "model.safetensors.index.json").write_text(text)


def index_of(name):
    return index_as(json.dumps({"weight_map": {"a": name}}))


def header_of(**fields):
    """Changes the header of the weights to `fields` of one tensor."""
    entry = {"dtype": "BF16", "shape": [4, 4], "data_offsets": [0, 32], **fields}
    text = json.dumps({"a": entry}).encode()
    data = struct.pack("<Q", len(text)) + text + bytes(32)
    return lambda folder: (folder / "model.safetensors").write_bytes(data)


def link_to_nothing(folder):
    remove_weights(folder)
    (folder / "model.safetensors").symlink_to(folder / "nothing")


def adapter(folder):
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}")


BROKEN = {
    "no weights": (remove_weights, "no weights"),
    "a part missing": (index, "model-00002-of-00002.safetensors are missing"),
    "truncated": (lambda f: safetensors(f / "model.safetensors", cut=3), "3 bytes are missing"),
    "not safetensors": (
        lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04pickled, not safe"),
        "not a safetensors file",
    ),
    "weights elsewhere": (index_of("../config.json"), r"\.\./config\.json are missing"),
    "weights with a long name": (index_of("x" * 5000), r"'x{80}' are missing"),
    "weights with a name for terminals": (index_of("\x1b[2J"), r"'\\x1b\[2J' are missing"),
    "weights with half a character": (index_of("\ud800"), r"'\\ud800' are missing"),
    "a link to nothing": (link_to_nothing, "model.safetensors are missing"),
    "endless offset": (header_of(data_offsets=[0, float("inf")]), "header is damaged"),
    "negative offset": (header_of(data_offsets=[0, -2]), "header is damaged"),
    "endless shape": (header_of(shape=[float("inf")]), "header is damaged"),
    "negative shape": (header_of(shape=[-4]), "header is damaged"),
    "text as shape": (header_of(shape="12"), "header is damaged"),
    "deep header": (
        lambda f: (f / "model.safetensors").write_bytes(
            struct.pack("<Q", 100_000) + b"[" * 100_000
        ),
        "not a safetensors file",
    ),
    "deep configuration": (lambda f: (f / "config.json").write_text("[" * 100_000), "not JSON"),
    "a list as method": (
        lambda f: configure(f, quantization_config={"quant_method": ["awq"]}),
        "another program",
    ),
    "empty file": (lambda f: (f / "model.safetensors").write_bytes(b""), "not a safetensors"),
    "huge header": (
        lambda f: (f / "model.safetensors").write_bytes(struct.pack("<Q", 1 << 62) + b"{}"),
        "not a safetensors",
    ),
    "odd offsets": (
        lambda f: (f / "model.safetensors").write_bytes(
            struct.pack("<Q", 30) + json.dumps({"a": {"data_offsets": "x"}}).encode().ljust(30)
        ),
        "header is damaged",
    ),
    "GGUF inside": (lambda f: replace_weights(f, "model.gguf", b"GGUF"), "`llama-cpp` runs"),
    "PyTorch": (lambda f: replace_weights(f, "pytorch_model.bin"), "PyTorch's format"),
    "npz": (lambda f: replace_weights(f, "weights.npz"), "mlx_lm.convert"),
    "other name": (lambda f: replace_weights(f, "weights.safetensors"), "weights.safetensors"),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "no tokenizer"),
    "adapter": (adapter, "LoRA adapter"),
    "no configuration": (lambda f: (f / "config.json").unlink(), "no `config.json`"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    "a list": (lambda f: (f / "config.json").write_text("[]"), "JSON object"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "`model_type`"),
    "own program": (lambda f: configure(f, model_file="evil.py"), "'evil.py', which is not run"),
    "bitsandbytes": (
        lambda f: configure(f, quantization_config={"quant_method": "bitsandbytes"}),
        "another program.*'bitsandbytes'.*mlx-community",
    ),
    "unknown method": (
        lambda f: configure(f, quantization_config={"quant_method": "aqlm", "bits": 2}),
        "another program",
    ),
    "no method": (lambda f: configure(f, quantization_config={}), "another program"),
    "8-bit GPTQ": (
        lambda f: configure(f, quantization_config={"quant_method": "gptq", "bits": 8}),
        "gptq to 8 bits",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_folder_that_cannot_be_used_is_refused_with_the_reason(model, kind):
    change, expected = BROKEN[kind]
    change(model)
    said = refusal(model)
    assert str(model) in said
    assert re.search(expected, said), said


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"weight_map": 5}', "{"])
def test_an_index_that_cannot_be_read_is_ignored_as_mlx_lm_ignores_it(model, text):
    index_as(text)(model)
    assert read_model(model).architecture == "llama"


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_key_value_heads": -100_000, "head_dim": 100_000},
        {"vocab_size": -(10**12)},
        {"max_position_embeddings": -3},
        {"num_hidden_layers": 10**4000},
        {"hidden_size": "64", "num_attention_heads": 0},
    ],
)
def test_impossible_sizes_in_a_configuration_take_nothing_from_the_sum(model, wrong):
    configure(model, **wrong)
    found = plan(read_model(model), context=None, batch=512, slots=8, available=8 * GIB)
    assert found.context > 0
    assert found.cache >= 0
    assert found.compute >= 32 << 20


def test_what_a_configuration_names_is_printable(model):
    configure(model, model_type="\x1b[2J\ud800", quantization={"bits": "\x1b"})
    facts = read_model(model)
    assert facts.architecture.isprintable()
    assert facts.bits == ""


@pytest.mark.parametrize(
    "quantized",
    [
        {"quantization": {"bits": 4, "group_size": 64}, "quantization_config": {"bits": 4}},
        {"quantization_config": {"quant_method": "awq", "bits": 4}},
        {"quantization_config": {"quant_method": "mxfp4"}},
    ],
)
def test_what_mlx_lm_converts_passes(model, quantized):
    configure(model, **quantized)
    assert read_model(model).architecture == "llama"


@pytest.mark.parametrize(
    "odd", [-1, 1 << 70, 10**400, True, None, "8", 1.5, [], {}], ids=lambda v: repr(v)[:9]
)
def test_numbers_that_cannot_be_do_not_stop_the_sum(model, odd):
    for name in (
        *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim"),
        *("num_attention_heads", "num_key_value_heads", "sliding_window", "layer_types"),
        *("max_position_embeddings", "sliding_window_pattern", "text_config", "quantization"),
    ):
        configure(model, **{name: odd})
        chosen = plan(read_model(model), context=None, batch=512, slots=8, available=8 << 30)
        assert chosen.total >= 0
        assert "available" in chosen.arithmetic()
        configure(model, **{name: None})


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "name",
    ["config.json", "model.safetensors", "tokenizer_config.json", "model.safetensors.index.json"],
)
def test_a_pipe_in_a_folder_keeps_nobody_waiting(model, name):
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    if name in ("config.json", "model.safetensors"):
        assert "not a regular file" in refusal(model)
    else:
        assert read_model(model).architecture == "llama"


# Names


def test_a_gguf_file_is_sent_to_the_other_plugin(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF\x03")
    with pytest.raises(NoSuchModel, match=r"GGUF file, which the plugin `llama-cpp` runs"):
        find_model(str(path))
    assert "`llama-cpp` runs" in glance(path)


def test_a_file_of_a_model_names_its_folder(model):
    with pytest.raises(NoSuchModel, match=str(model)):
        find_model(str(model / "model.safetensors"))


def test_a_missing_folder_and_an_unknown_name_are_told_apart(tmp_path):
    with pytest.raises(NoSuchModel, match="does not exist"):
        find_model(str(tmp_path / "none"))
    with pytest.raises(NoSuchModel, match="plugway models pull"):
        find_model("some/model")
    with pytest.raises(NoSuchModel, match="is no name of a model"):
        find_model("x" * 5000)


def test_models_of_the_folder_are_found_by_name_and_clients_reach_no_other_path(model):
    for name in ("org/first", "org/second", "other/second"):
        shutil.copytree(model, models_folder() / name)
    assert [m.name for m in list_models()] == ["org/first", "org/second", "other/second"]
    assert find_model("first").name == "org/first"
    assert find_in_folder("other/second").path == models_folder() / "other/second"
    with pytest.raises(NoSuchModel, match=r"`org/second` or `other/second`"):
        find_model("second")
    with pytest.raises(NoSuchModel):
        find_in_folder(str(model))


# Memory


def test_a_model_that_fits_gets_the_context_that_fits(model):
    configure(model, num_attention_heads=32, head_dim=128, num_key_value_heads=8)
    configure(model, num_hidden_layers=32, max_position_embeddings=131_072)
    facts = read_model(model)
    roomy = plan(facts, context=None, batch=512, slots=8, available=64 * GIB)
    tight = plan(facts, context=None, batch=512, slots=8, available=3 * GIB)
    assert roomy.context == 65_536
    assert roomy.fits
    assert 2_048 < tight.context < 65_536
    assert tight.fits
    # 2 x 8 heads x 128 numbers x 2 bytes x 32 layers for each token
    assert tight.cache == tight.cells * 131_072
    assert tight.cells >= tight.context + 2 * 512


def test_a_model_that_cannot_fit_says_the_sum(model):
    small = plan(read_model(model), context=4096, batch=512, slots=8, available=50 << 20)
    assert not small.fits
    assert "available 50 MiB" in small.arithmetic()


def test_layers_with_a_window_need_memory_for_the_window_only(model):
    configure(model, num_hidden_layers=6, sliding_window=512, num_attention_heads=4)
    whole = plan(read_model(model), context=32_768, batch=512, slots=4, available=8 * GIB)
    configure(model, layer_types=["sliding_attention"] * 5 + ["full_attention"])
    sliding = plan(read_model(model), context=32_768, batch=512, slots=4, available=8 * GIB)
    assert sliding.cache < whole.cache / 4

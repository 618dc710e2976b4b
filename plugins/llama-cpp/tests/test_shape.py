"""The memory that a header says a model needs: what llama.cpp allocates, and what advice counts."""

import ctypes
import re
from dataclasses import replace

import gguf
import llama_cpp as api
import pytest
import tiny_gguf

import plugway_demo_model
from plugway_llama_cpp._files import read_model
from plugway_llama_cpp._gguf import read_header
from plugway_llama_cpp._memory import plan
from plugway_llama_cpp._shape import shape_of
from plugway_local_models._catalog import catalog
from plugway_local_models.sizing import MIB, Attention, Recurrent, Use, cache_sizes, need

USE = Use(slots=8, batch=512, kv_type="f16")
SAID = re.compile(r"(?:KV|RS) buffer size = +([\d.]+) MiB")
QWEN = {"full_attention_interval": 4, "ssm.conv_kernel": 4, "ssm.state_size": 128}
GEMMA = {"attention.key_length_swa": 256, "attention.value_length_swa": 256}
HEADERS = {
    # What the files' headers contain, by the sources that the catalogue names.
    "qwen3.8-27b": ("qwen35", 65, 4, (256, 256), QWEN | {
        "nextn_predict_layers": 1, "ssm.inner_size": 6144, "ssm.group_count": 16}),
    "qwen3.6-35b-a3b": ("qwen35moe", 40, 2, (256, 256), QWEN | {
        "ssm.inner_size": 4096, "ssm.group_count": 16}),
    "qwen3.5-0.8b": ("qwen35", 25, 2, (256, 256), QWEN | {
        "nextn_predict_layers": 1, "ssm.inner_size": 2048, "ssm.group_count": 16,
        "attention.recurrent_layers": [n % 4 != 3 for n in range(24)] + [False]}),
    "gpt-oss-20b": ("gpt-oss", 24, 8, (64, 64), {"attention.sliding_window": 128}),
    "laguna-xs-2.1": ("laguna", 40, 8, (128, 128), {"attention.sliding_window": 512}),
    "gemma-4-12b": ("gemma4", 48, [1 if n % 6 == 5 else 8 for n in range(48)], (512, 512), GEMMA | {
        "attention.sliding_window": 1024,
        "attention.sliding_window_pattern": [n % 6 != 5 for n in range(48)]}),
    "gemma-4-e4b": ("gemma4", 42, 2, (512, 512), GEMMA | {
        "attention.sliding_window": 512, "attention.shared_kv_layers": 18,
        "attention.sliding_window_pattern": [n % 6 != 5 for n in range(42)]}),
    "nemotron-3-nano-30b-a3b": ("nemotron_h_moe", 52,
        [2 if kind == "*" else 0 for kind in "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"],
        (128, 128), {"ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.inner_size": 4096,
        "ssm.group_count": 8, "feed_forward_length": [1856 if kind == "E" else 0 for kind in
        "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"]}),
    "devstral-small-2-24b": ("mistral3", 40, 8, (128, 128), {}),
    "qwen3-coder-30b-a3b": ("qwen3moe", 48, 4, (128, 128), {}),
}  # fmt: skip


def header_of(path, architecture, **values):
    """The header of a file with these values, as a reader finds them."""
    writer = gguf.GGUFWriter(str(path), architecture)
    for key, value in values.items():
        name = f"{architecture}.{key}"
        writer.add_array(name, value) if isinstance(value, list) else writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return read_header(path)


@pytest.mark.parametrize("key", HEADERS)
def test_a_file_of_the_catalogue_needs_what_the_catalogue_says(tmp_path, key):
    model = next(model for model in catalog().models if model.key == key)
    architecture, layers, heads, (key_length, value_length), more = HEADERS[key]
    values = {
        "block_count": layers,
        "context_length": model.context,
        "embedding_length": model.shape.width,
        "feed_forward_length": model.shape.inner,
        "attention.head_count": 32,
        "attention.head_count_kv": heads,
        "attention.key_length": key_length,
        "attention.value_length": value_length,
    }
    header = header_of(tmp_path / "m.gguf", architecture, **(values | more))
    tokens = {"array:tokenizer.ggml.tokens": model.shape.vocabulary}
    for entry in model.files:
        wanted = need(model.shape, entry.size, 32_768, USE)
        whole = replace(header, size=entry.size, values={**header.values, **tokens})
        chosen = plan(
            whole,
            context=32_768,
            batch=USE.batch,
            slots=USE.slots,
            kv_type=USE.kv_type,
            available=int(wanted.total / 0.95) + 1,
        )
        assert chosen.cells == 32_768
        assert (chosen.total, chosen.fits) == (wanted.total, True)


def test_the_demo_model_needs_what_its_header_says():
    header = read_model(plugway_demo_model.model_path())
    chosen = plan(header, context=4096, batch=512, slots=1, kv_type="f16", available=1 << 40)
    assert chosen.total == need(shape_of(header), header.size, 4096, Use(slots=1)).total
    assert chosen.weights == plugway_demo_model.model_path().stat().st_size


@pytest.mark.parametrize(
    ("architecture", "layers", "window"),
    [("llama", 2, 64), ("gemma3", 12, 512), ("lfm2", 8, 64), ("mamba", 4, 64)],
)
def test_the_cache_is_as_large_as_llama_cpp_makes_it(tmp_path, architecture, layers, window):
    path = tiny_gguf.write(
        tmp_path / "m.gguf", architecture, layers=layers, width=256, window=window
    )
    per_token, fixed = cache_sizes(shape_of(read_header(path)), USE)
    assert (per_token * 8192 + fixed) / MIB == pytest.approx(allocated(path), abs=0.01)


def allocated(path):
    """MiB of caches that llama.cpp reports for 8,192 tokens."""
    said = []
    listener = api.llama_log_callback(lambda level, text, data: said.append(text.decode()))
    api.llama_log_set(listener, ctypes.c_void_p(0))
    try:
        model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
        parameters = api.llama_context_default_params()
        parameters.n_ctx, parameters.n_seq_max = 8192, USE.slots
        parameters.n_batch = parameters.n_ubatch = USE.batch
        parameters.kv_unified, parameters.swa_full = True, False
        context = api.llama_init_from_model(model, parameters)
        api.llama_free(context)
        api.llama_model_free(model)
    finally:
        silent = api.llama_log_callback(lambda level, text, data: None)
        api.llama_log_set(silent, ctypes.c_void_p(0))
        allocated.kept = silent
    return sum(float(size) for size in SAID.findall("".join(said)))


def test_layers_beyond_the_kept_part_of_a_list_count_as_the_largest(tmp_path):
    heads = [1] * 63 + [4] + [2] * 36
    header = header_of(
        tmp_path / "m.gguf",
        "some",
        block_count=100,
        embedding_length=64,
        **{"attention.head_count": 4, "attention.head_count_kv": heads},
    )
    found = {group.heads: group.layers for group in shape_of(header).attention}
    assert found == {1: 63, 4: 37}


def test_an_unknown_architecture_with_a_window_counts_all_layers_in_full(tmp_path):
    more = {"attention.head_count": 4, "attention.sliding_window": 128}
    header = header_of(tmp_path / "m.gguf", "some", block_count=3, embedding_length=64, **more)
    assert shape_of(header).attention == (Attention(3, 4, 16, 16),)


def test_layers_that_attend_and_have_a_state_count_as_both(tmp_path):
    more = {"attention.head_count": 4, "ssm.inner_size": 32, "ssm.state_size": 8}
    header = header_of(tmp_path / "m.gguf", "some", block_count=3, embedding_length=64, **more)
    shape = shape_of(header)
    assert shape.attention == (Attention(3, 4, 16, 16),)
    assert shape.recurrent == (Recurrent(3, 8, 32),)


def test_absurd_numbers_of_a_header_neither_hang_nor_become_negative(tmp_path):
    most = 0xFFFF_FFFF
    header = header_of(
        tmp_path / "m.gguf",
        "qwen35",
        block_count=most,
        embedding_length=most,
        nextn_predict_layers=7,
        **{"attention.head_count": 0, "full_attention_interval": 0, "shortconv.l_cache": most},
    )
    per_token, fixed = cache_sizes(shape_of(header), USE)
    assert per_token > 0
    assert fixed >= 0

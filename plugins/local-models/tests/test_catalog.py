"""The data file of models, and the sum that is made with it."""

from __future__ import annotations

import datetime

import pytest
import yaml

from plugway_local_models._catalog import catalog, parse
from plugway_local_models.sizing import (
    GIB,
    MIB,
    RUNTIME,
    Attention,
    Need,
    Recurrent,
    Shape,
    Use,
    cache_sizes,
    need,
    too_small_for_claude_code,
)

MODELS = catalog().models
ONE = {
    "key": "some-1b",
    "title": "Some 1B",
    "released": "2026-01",
    "active": 1,
    "agents": True,
    "tools": True,
    "context": 8192,
    "repo": "org/repo",
    "files": {"Q4_K_M": 1000},
    "width": 64,
    "inner": 128,
    "vocabulary": 100,
    "attention": [{"layers": 2, "heads": 1, "key": 8, "value": 8}],
    "sources": ["a source"],
}


def of(**changes):
    return parse(yaml.safe_dump({"checked": "2026-01-01", "models": [ONE | changes]})).models[0]


def test_there_are_at_least_15_models_and_each_key_is_unique():
    keys = [model.key for model in MODELS]
    assert len(keys) >= 15
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_each_model_names_its_sources_and_a_repository_of_files(model):
    assert model.sources
    assert any("size" in source for source in model.sources)
    assert model.repo.count("/") == 1
    assert datetime.datetime.strptime(model.released, "%Y-%m") <= datetime.datetime.strptime(
        catalog().checked, "%Y-%m-%d"
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.key)
def test_sizes_and_shapes_are_plausible(model):
    assert 256 * MIB < model.files[0].size < 128 * GIB
    assert [entry.size for entry in model.files] == sorted(entry.size for entry in model.files)
    per_token, fixed = cache_sizes(model.shape, Use())
    assert 4 * 1024 <= per_token <= 256 * 1024
    assert fixed < 8 * GIB
    assert model.context >= 32_768
    assert not model.agents or model.tools


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("qwen3.8:27b", "qwen3.8-27b"),
        ("hf.co/unsloth/Qwen3.8-27B-GGUF:UD-Q4_K_M", "qwen3.8-27b"),
        ("unsloth/Qwen3.6-35B-A3B-GGUF/Qwen3.6-35B-A3B-UD-Q4_K_M", "qwen3.6-35b-a3b"),
        ("gpt-oss:20b", "gpt-oss-20b"),
        ("openai/gpt-oss-20b", "gpt-oss-20b"),
        ("qwen3-coder:30b", "qwen3-coder-30b-a3b"),
        ("gemma4:26b", "gemma-4-26b-a4b"),
        ("devstral-small-2:24b", "devstral-small-2-24b"),
        ("granite4.1:8b", "granite-4.1-8b"),
    ],
)
def test_a_model_is_recognised_by_the_name_that_a_program_gives_it(name, key):
    assert [model.key for model in MODELS if model.is_named(name)] == [key]


@pytest.mark.parametrize("name", ["qwen3.8:270b", "gpt-oss:120b-mini20b", "llama3.2:3b", "", "27b"])
def test_another_model_is_not_recognised(name):
    assert not [m.key for m in MODELS if m.is_named(name) and m.key != "gpt-oss-120b"]


def test_a_rounded_size_counts_as_the_largest_that_is_rounded_to_it():
    (entry,) = of(files={"Q4_K_M": "15.7 GiB"}).files
    assert 15.7 * GIB < entry.size <= 15.75 * GIB


@pytest.mark.parametrize("size", ["15.7 GB", "about 3", None, 1.5, True])
def test_a_size_in_another_form_is_refused(size):
    with pytest.raises(ValueError, match="size"):
        of(files={"Q4_K_M": size})


@pytest.mark.parametrize(
    ("quant", "low"),
    [
        ("Q3_K_M", True),
        ("UD-Q3_K_XL", True),
        ("IQ2_XS", True),
        ("UD-IQ4_XS", False),
        ("F16", False),
    ],
)
def test_quantisations_of_fewer_than_four_bits_are_low(quant, low):
    assert of(files={quant: 1000}).files[0].is_low is low


def test_only_layers_that_see_all_tokens_grow_with_the_context():
    full, sliding = Attention(2, 4, 64, 64), Attention(4, 4, 64, 64, window=100)
    grows, fixed = cache_sizes(Shape((full, sliding)), Use(slots=3, batch=10))
    assert grows == 2 * 4 * 128 * 2
    assert fixed == 4 * 4 * 128 * 2 * (100 * 3 + 10)


def test_recurrent_layers_keep_one_state_for_each_conversation():
    layers = Recurrent(2, state=128, inner=512, groups=4, kernel=4)
    one = 2 * 4 * (3 * (512 + 2 * 4 * 128) + 128 * 512)
    assert cache_sizes(Shape((), (layers,)), Use(slots=5)) == (0, 5 * one)


def test_the_sum_is_said_in_one_sentence():
    beside = int(5.2 * GIB)
    found = Need(32_768, int(15.8 * GIB), beside - RUNTIME - 7, 7)
    assert (
        found.sentence(int(18.4 * GIB))
        == "32K needs 5.2 GiB beside 15.8 GiB of weights; 18.4 are free"
    )
    assert not found.fits(int(21.0 * GIB))
    assert found.fits(int(22.2 * GIB))


def test_a_cache_of_eight_bits_needs_about_half():
    shape = MODELS[0].shape
    half = need(shape, 0, 65_536, Use(slots=1, kv_type="q8_0")).cache
    assert 0.5 < half / need(shape, 0, 65_536, Use(slots=1)).cache < 0.6


@pytest.mark.parametrize("window", [0, 32_000, 200_000])
def test_a_window_that_is_large_enough_or_unknown_is_not_reported(window):
    assert too_small_for_claude_code("m", window) == ""


def test_a_window_that_is_too_small_is_reported_with_both_sizes():
    said = too_small_for_claude_code("local/m", 8192)
    assert "8,192" in said
    assert "32,000" in said
    assert "plugway models recommend" in said

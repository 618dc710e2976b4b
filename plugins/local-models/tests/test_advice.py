"""What is recommended for which machine, and why."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from plugway_local_models._advice import CONTEXTS, Installed, advise
from plugway_local_models._catalog import catalog
from plugway_local_models._machine import Card, Machine, described_machine
from plugway_local_models.sizing import GIB, MIB, gib, short_count

SEEDS = [
    # 10.7 GiB for Metal: gpt-oss 20B has 11.3 GiB of weights. Of what fits, only models of up to 10
    # billion active parameters are quick enough without a wide memory.
    ("MacBook Air 16 GB", 16, "Apple M4", "qwen3.5-9b", "Q6_K", 65_536),
    # 16.0 GiB: the models of 26B to 35B fit only with three bits; gpt-oss was made for four.
    ("MacBook Air 24 GB", 24, "Apple M4", "gpt-oss-20b", "MXFP4", 131_072),
    # 21.3 GiB: 20.6 GiB of UD-Q4_K_M leave nothing for a context, 16.5 GiB of IQ4_XS do.
    ("MacBook Air 32 GB", 32, "Apple M4", "qwen3.6-35b-a3b", "UD-IQ4_XS", 131_072),
    # 36.0 GiB: six bits fit. The dense 27B would fit, too, but is slow on a Pro.
    ("MacBook Pro 48 GB", 48, "Apple M4 Pro", "qwen3.6-35b-a3b", "UD-Q6_K", 131_072),
    # 48.0 GiB, and twice the memory bandwidth of a Pro: the dense 27B is usable.
    ("MacBook Pro Max 64 GB", 64, "Apple M4 Max", "qwen3.8-27b", "UD-Q5_K_XL", 131_072),
]


def row_of(seed):
    """The row of a machine in the README."""
    best = advise(described_machine(seed[1] * GIB, chip=seed[2])).best
    size = f"{gib(best.need.total)} of {gib(best.place.free)} GiB"
    cells = (seed[0], best.model.title, best.files.quant, short_count(best.context), size)
    return f"| {' | '.join(cells)} |"


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed[0])
def test_the_table_of_the_readme_is_what_the_command_says(seed):
    readme = Path(__file__).parents[1].joinpath("README.md").read_text("utf-8")
    assert row_of(seed) in readme.splitlines()


@pytest.mark.parametrize(
    ("memory", "chip", "model", "quant", "context"),
    [row[1:] for row in SEEDS],
    ids=[row[0] for row in SEEDS],
)
def test_each_mac_of_the_table_gets_the_model_that_its_sum_allows(
    memory, chip, model, quant, context
):
    best = advise(described_machine(memory * GIB, chip=chip)).best
    assert (best.model.key, best.files.quant, best.context) == (model, quant, context)
    assert best.need.total <= best.place.free * 0.95
    assert best.command == f"plugway models pull {best.model.repo}:{quant}"
    assert not best.notes


def test_a_card_of_24_gb_gets_a_dense_model_and_the_server_that_uses_the_card():
    machine = Machine(64 * GIB, 50 * GIB, 8, "", 0, (Card("RTX 4090", 24_564 * MIB, 23_012 * MIB),))
    best = advise(machine).best
    assert (best.model.key, best.files.quant, best.place.kind) == (
        "qwen3.8-27b",
        "UD-Q4_K_M",
        "gpu",
    )
    assert best.backend == "ollama"
    assert best.command == "ollama pull hf.co/unsloth/Qwen3.8-27B-GGUF:UD-Q4_K_M"


def test_what_fits_only_beside_the_card_comes_after_what_fits_on_it():
    found = advise(described_machine(64 * GIB, card=12 * GIB))
    kinds = [choice.place.kind for choice in found.choices if not choice.is_slow]
    assert kinds == sorted(kinds, key=["gpu", "cpu"].index)
    assert set(kinds) == {"gpu", "cpu"}


def test_a_container_with_little_memory_on_a_large_machine_gets_what_fits_the_container():
    best = advise(Machine(12 * GIB, 11 * GIB, 64)).best
    assert best.model.key == "qwen3.5-9b"
    assert any("minutes" in note for note in best.notes)


def test_8_gb_without_a_card_get_an_honest_answer():
    found = advise(described_machine(8 * GIB))
    assert found.best is None
    assert found.choices == ()
    assert found.smallest.model.key == "qwen3.5-9b"
    assert not found.smallest.need.fits(found.machine.free)
    assert found.runs.model.key == "qwen3.5-4b"
    assert found.runs.need.fits(found.machine.free)


def test_a_machine_without_free_memory_gets_nothing_at_all():
    found = advise(Machine(GIB, 0))
    assert (found.best, found.choices, found.runs) == (None, (), None)
    assert found.smallest is not None


@pytest.mark.parametrize("memory", [4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 96, 128, 256, 512])
@pytest.mark.parametrize("chip", ["", "Apple M4", "Apple M4 Max"])
@pytest.mark.parametrize("purpose", ["claude-code", "chat"])
def test_whatever_is_recommended_fits_and_has_enough_context(memory, chip, purpose):
    found = advise(described_machine(memory * GIB, chip=chip), purpose)
    for choice in found.choices:
        assert choice.need.total <= choice.place.free * 0.95
        least = min(CONTEXTS[purpose].least, choice.model.context)
        assert least <= choice.context <= min(CONTEXTS[purpose].most, choice.model.context)
        assert choice.model.agents or purpose == "chat"
    slow = [choice.is_slow for choice in found.choices]
    assert slow == sorted(slow)


def test_a_wanted_context_is_kept_and_a_smaller_quantisation_chosen_for_it():
    machine = described_machine(24 * GIB, chip="Apple M4")
    usual = next(c for c in advise(machine).choices if c.model.key == "qwen3.5-9b")
    longest = advise(machine, context=262_144)
    found = next(c for c in longest.choices if c.model.key == "qwen3.5-9b")
    assert (usual.files.quant, found.files.quant) == ("Q8_0", "Q5_K_M")
    assert {choice.context for choice in longest.choices} == {262_144}


def test_a_context_that_no_model_was_trained_for_fits_nothing():
    found = advise(described_machine(512 * GIB, chip="Apple M3 Ultra"), context=4_194_304)
    assert (found.best, found.smallest) == (None, None)
    assert found.runs is not None


def test_a_model_that_is_here_is_marked_and_needs_no_command():
    here = (Installed("ollama", "qwen3.6:35b-a3b"), Installed("lmstudio", "google/gemma-4-12b"))
    best = advise(described_machine(32 * GIB, chip="Apple M4"), installed=here).best
    assert best.here == here[:1]
    assert (best.backend, best.command) == ("ollama", "")


def test_models_that_are_only_for_chats_are_not_recommended_for_claude_code():
    small = [model for model in catalog().models if not model.agents]
    known = dataclasses.replace(catalog(), models=tuple(small))
    machine = described_machine(64 * GIB)
    assert advise(machine, known=known).best is None
    assert advise(machine, "chat", known=known).best is not None


def test_data_for_scripts_has_the_sum_and_the_sources():
    data = advise(described_machine(32 * GIB, card=24 * GIB)).as_json()
    best = data["recommended"]
    assert best["needs_bytes"] > best["weights_bytes"] > 0
    assert best["sum"].endswith("are free")
    assert best["sources"]
    assert data["machine"]["cards"][0]["memory_bytes"] == 24 * GIB
    assert best == data["fits"][0]

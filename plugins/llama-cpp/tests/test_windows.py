"""Models that slide in every layer: what no token sees any more is freed, and changes nothing."""

import numpy as np
import pytest
import tiny_gguf

from plugway_llama_cpp import _binding
from plugway_llama_cpp._binding import Context, ContextSettings, Model
from plugway_llama_cpp._start import _warm_up
from plugway_local_engine._disk import DiskCache
from plugway_local_engine._prefix import PrefixCache
from plugway_local_engine._slots import SlotTable
from plugway_local_engine._states import StateStore

BATCH, WINDOW = 128, 64


def context_of(path):
    _binding.start()
    context = Context(Model(str(path), gpu_layers=0), ContextSettings(2048, BATCH, 2, 1, 2))
    _warm_up(context, 1)
    return context


@pytest.mark.parametrize(
    ("architecture", "layers", "slides"),
    [("gemma3", 5, True), ("gemma3", 6, False), ("llama", 2, False), ("lfm2", 2, False)],
)
def test_one_layer_that_sees_all_is_noticed(tmp_path, architecture, layers, slides):
    """Every sixth layer of Gemma 3 sees all."""
    path = tiny_gguf.write(tmp_path / "m.gguf", architecture, layers=layers, window=WINDOW)
    assert context_of(path).only_slides is slides


def read(context, cache, slot, tokens, *, tidy):
    for start in range(0, len(tokens), BATCH):
        size = min(BATCH, len(tokens) - start)
        context.tokens[:size] = tokens[start : start + size]
        context.positions[:size] = np.arange(start, start + size)
        context.sequences[:size] = slot.index
        context.outputs[:size] = 0
        context.outputs[size - 1] = 1
        if tidy:
            cache.leave_behind(slot)
        assert context.decode(size) == 0
        slot.append(tokens[start : start + size])
    return context.logits(1)[0].copy()


def test_a_freed_window_gives_the_same_logits(tmp_path):
    path = tiny_gguf.write(tmp_path / "m.gguf", "gemma3", layers=3, window=WINDOW)
    tokens = np.random.default_rng(3).integers(10, 200, 1000).astype(np.int32)
    first, found = [], []
    for tidy in (False, True):
        context, slots = context_of(path), SlotTable.of(2, 2048)
        cache = PrefixCache(context, slots, StateStore(0), DiskCache(tmp_path, "key", 0))
        found.append(read(context, cache, slots.slots[0], tokens, tidy=tidy))
        first.append(context.first_position(0))
    np.testing.assert_allclose(found[0], found[1], atol=1e-4)
    last = 1000 // BATCH * BATCH
    assert last - WINDOW <= first[1] <= last
    assert first[0] < first[1]

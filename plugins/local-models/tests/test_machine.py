"""What is read of a machine: limits of containers, graphics cards, Apple's shared memory."""

from __future__ import annotations

import json

import pytest

from plugway_local_models._machine import Probe, described_machine, metal_share, read_machine
from plugway_local_models.sizing import GIB, MIB


class Asked(Probe):
    """A machine of which every answer is given."""

    def __init__(
        self, system="Linux", architecture="x86_64", memory=(16 * GIB, 12 * GIB), says=None
    ):
        self.system, self.architecture = system, architecture
        self.says = says or {}
        self.sizes = memory

    def memory(self):
        return self.sizes

    def cores(self):
        return 8

    def run(self, words):
        return next((text for start, text in self.says.items() if start in " ".join(words)), "")

    def text(self, path):
        return self.says.get(path, "")


def mac(memory, chip, **sysctl):
    says = {"machdep.cpu.brand_string": f"{chip}\n", **sysctl}
    return read_machine(Asked("Darwin", "arm64", (memory, memory - 5 * GIB), says))


def test_a_containers_limit_below_the_machines_memory_counts(tmp_path):
    groups = tmp_path / "sys/fs/cgroup"
    groups.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    (groups / "memory.max").write_text(str(512 * MIB))
    (groups / "memory.current").write_text(str(128 * MIB))
    probe = Probe()
    probe.root = tmp_path
    assert probe.memory() == (512 * MIB, 384 * MIB)


def test_an_nvidia_card_is_measured_by_nvidia_smi():
    says = {"nvidia-smi --query-gpu": "NVIDIA GeForce RTX 4090, 24564, 23012\n"}
    machine = read_machine(Asked(says=says))
    (card,) = machine.cards
    assert (card.name, card.total, card.free) == (
        "NVIDIA GeForce RTX 4090",
        24_564 * MIB,
        23_012 * MIB,
    )
    assert [(place.kind, place.quick) for place in machine.places] == [
        ("gpu", True),
        ("cpu", False),
    ]


def test_of_two_cards_the_one_with_more_free_memory_is_used():
    says = {"nvidia-smi --query-gpu": "A, 24564, 2000\nB, 16384, 16000\n"}
    assert read_machine(Asked(says=says)).places[0].free == 16_000 * MIB


@pytest.mark.parametrize("text", ["NVIDIA GB10, [N/A], [N/A]\n", "no devices were found\n", ""])
def test_a_card_without_its_own_memory_is_none(text):
    machine = read_machine(Asked(says={"nvidia-smi --query-gpu": text}))
    assert machine.cards == ()
    assert [place.kind for place in machine.places] == ["cpu"]


def test_an_amd_card_is_measured_by_rocm_smi():
    card = {
        "Card Series": "AMD Radeon RX 7900 XTX",
        "VRAM Total Memory (B)": str(24 * GIB),
        "VRAM Total Used Memory (B)": str(GIB),
    }
    machine = read_machine(Asked(says={"rocm-smi": json.dumps({"card0": card, "system": {}})}))
    assert [(c.name, c.free) for c in machine.cards] == [("AMD Radeon RX 7900 XTX", 23 * GIB)]


@pytest.mark.parametrize("text", ["{broken", "[]", '{"card0": "?"}'])
def test_other_output_of_rocm_smi_means_no_card(text):
    assert read_machine(Asked(says={"rocm-smi": text})).cards == ()


@pytest.mark.parametrize(
    ("memory", "share"), [(16, 10.67), (24, 16.0), (32, 21.33), (48, 36.0), (64, 48.0)]
)
def test_a_mac_may_use_metals_share_of_its_memory(memory, share):
    machine = mac(memory * GIB, "Apple M4")
    assert machine.metal / GIB == pytest.approx(share, abs=0.01)
    assert [place.kind for place in machine.places] == ["metal"]


def test_a_mac_whose_user_raised_the_limit_may_use_that():
    machine = mac(24 * GIB, "Apple M4", **{"iogpu.wired_limit_mb": "20480\n"})
    assert machine.metal == 20 * GIB


def test_what_a_mac_has_free_counts_if_it_is_less_than_metals_share():
    probe = Asked("Darwin", "arm64", (24 * GIB, 3 * GIB))
    assert read_machine(probe).places[0].free == 3 * GIB


@pytest.mark.parametrize(
    ("chip", "quick"),
    [
        ("Apple M4", False),
        ("Apple M4 Pro", False),
        ("Apple M1 Max", True),
        ("Apple M3 Ultra", True),
    ],
)
def test_only_the_chips_with_wide_memory_are_quick(chip, quick):
    assert mac(64 * GIB, chip).places[0].quick is quick


def test_a_mac_with_an_intel_processor_has_no_metal_memory():
    assert read_machine(Asked("Darwin", "x86_64")).metal == 0


def test_a_command_that_is_missing_or_fails_prints_nothing(tmp_path):
    probe = Probe()
    assert probe.run([str(tmp_path / "no-such-command")]) == ""
    assert probe.run(["false"]) == ""


def test_this_machine_can_be_read_without_any_tool():
    machine = read_machine()
    assert 0 < machine.free <= machine.total
    assert machine.cores > 0
    assert "GiB of memory" in machine.sentence()


def test_a_described_machine_keeps_memory_for_the_system():
    assert described_machine(8 * GIB).free == 4 * GIB
    assert described_machine(2 * GIB).free == 0
    assert described_machine(32 * GIB, card=24 * GIB).places[0].free < 24 * GIB
    assert described_machine(16 * GIB, chip="Apple M4").places[0].free == metal_share(16 * GIB)

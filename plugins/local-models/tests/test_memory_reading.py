"""The memory of the machine, and of the control groups around this process."""

from types import SimpleNamespace

import psutil
import pytest
from typer.testing import CliRunner

from plugway_local_models._commands import models_app
from plugway_local_models.memory import available_memory, control_groups, read_memory

MIB = 1 << 20


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


def test_without_a_limit_the_machine_counts(tmp_path):
    read = read_memory(tmp_path)
    assert read.total == psutil.virtual_memory().total
    assert 0 < read.available <= read.total
    assert 0 < available_memory() <= read.total


def test_the_limit_of_the_own_group_counts_and_not_only_the_root(tmp_path):
    group = "sys/fs/cgroup/user.slice/plugway.service"
    files = {
        "proc/self/cgroup": "0::/user.slice/plugway.service",
        f"{group}/memory.max": 64 * MIB,
        f"{group}/memory.current": 40 * MIB,
        f"{group}/memory.stat": f"anon {20 * MIB}\nactive_file {6 * MIB}\ninactive_file {4 * MIB}",
        "sys/fs/cgroup/user.slice/memory.max": "max",
        "sys/fs/cgroup/user.slice/memory.current": 900 * MIB,
    }
    read = read_memory(write(tmp_path, files))
    assert (read.total, read.available) == (64 * MIB, 34 * MIB), "cached files are available"


def test_a_group_around_the_own_one_may_have_less_left(tmp_path):
    files = {
        "proc/self/cgroup": "0::/outer/inner",
        "sys/fs/cgroup/outer/inner/memory.max": 64 * MIB,
        "sys/fs/cgroup/outer/inner/memory.current": 1 * MIB,
        "sys/fs/cgroup/outer/memory.max": 128 * MIB,
        "sys/fs/cgroup/outer/memory.current": 120 * MIB,
    }
    read = read_memory(write(tmp_path, files))
    assert (read.total, read.available) == (64 * MIB, 8 * MIB)


def test_the_first_version_of_control_groups_is_read(tmp_path):
    base = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "4:cpu,memory:/job\n1:cpu:/\n0::/",
        f"{base}/job/memory.limit_in_bytes": 50 * MIB,
        f"{base}/job/memory.usage_in_bytes": 30 * MIB,
        f"{base}/job/memory.stat": f"total_active_file {2 * MIB}\ntotal_inactive_file {3 * MIB}",
        f"{base}/memory.limit_in_bytes": 9223372036854771712,
        f"{base}/memory.usage_in_bytes": 10**12,
    }
    read = read_memory(write(tmp_path, files))
    assert (read.total, read.available) == (50 * MIB, 25 * MIB)


@pytest.mark.parametrize("path", ["/../../elsewhere", "/not/mounted/here"])
def test_a_container_that_sees_only_its_own_group_finds_the_limit(tmp_path, path):
    files = {
        "proc/self/cgroup": f"0::{path}",
        "sys/fs/cgroup/memory.max": 8 * MIB,
        "sys/fs/cgroup/memory.current": 3 * MIB,
    }
    read = read_memory(write(tmp_path, files))
    assert (read.total, read.available) == (8 * MIB, 5 * MIB)


def test_odd_files_are_no_limit(tmp_path):
    files = {
        "proc/self/cgroup": "nonsense\n0::/a",
        "sys/fs/cgroup/a/memory.max": "many",
        "sys/fs/cgroup/a/memory.current": "-5",
        "sys/fs/cgroup/a/memory.stat": "anon\nfile much\n",
    }
    write(tmp_path, files)
    assert [group.limit() for group in control_groups(tmp_path)] == [None, None]
    assert read_memory(tmp_path).total == psutil.virtual_memory().total


@pytest.mark.parametrize(
    "error",
    [FileNotFoundError("/proc/meminfo"), PermissionError(), KeyError("MemTotal:"), RuntimeError()],
)
def test_a_system_that_reports_no_memory_is_named_as_the_reason(monkeypatch, error):
    def virtual_memory():
        raise error

    monkeypatch.setattr(psutil, "virtual_memory", virtual_memory)
    with pytest.raises(OSError, match="memory of this machine cannot be measured"):
        read_memory()
    done = CliRunner().invoke(models_app, ["recommend"])
    assert done.exit_code == 2
    assert "Describe it with" in " ".join(done.output.split())


def test_a_system_with_no_bytes_of_memory_is_not_measured(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=0, available=0))
    with pytest.raises(OSError, match="reports 0 bytes"):
        read_memory()


@pytest.mark.parametrize("text", ["max", "", "-1", "abc", "1.5", "\x00", "²", str(1 << 63)])
@pytest.mark.parametrize("name", ["memory.max", "memory.current"])
def test_a_group_with_odd_files_limits_nothing_and_does_no_harm(tmp_path, name, text):
    group = "sys/fs/cgroup/a"
    files = {
        "proc/self/cgroup": "0::/a\nnonsense\n1:name=systemd:/\n::\n",
        f"{group}/memory.max": 1 << 40,
        f"{group}/memory.current": 1 << 20,
        f"{group}/memory.stat": "anon\nactive_file -5\ninactive_file x\n1 2 3\n",
        f"{group}/{name}": text,
    }
    read = read_memory(write(tmp_path, files))
    assert read.total == psutil.virtual_memory().total
    assert 0 <= read.available <= read.total

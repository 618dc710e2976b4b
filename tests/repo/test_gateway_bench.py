"""What `bench.gateway` measures as shipped, and what it is judged by. It measures nothing here."""

import pytest
import yaml

from bench.gateway import SHIPPED, shipped
from bench.goals import SHIPPED_GOALS, judge
from plugway.config.config import parse_config
from plugway.http.snapshot import build_snapshot
from tests.repo.test_repo import ROOT

FIGURES = {
    "small_1_rps": 500.0, "big_1_rps": 450.0, "big_16_rps": 400.0, "streams_16_per_s": 700.0,
    "small_16_cpu_us": 150.0, "big_16_cpu_us": 300.0, "small_first_byte_p50_ms": 0.5,
    "big_first_byte_p50_ms": 0.5, "paced_cpu_us_per_event": 20.0, "rss_idle_mb": 60.0,
    "paced_events_lost": 0.0,
}  # fmt: skip
NGINX = dict.fromkeys(FIGURES, 1000.0) | {"paced_cpu_us_per_event": 10.0}
DIRECT = dict.fromkeys(FIGURES, 0.2)


@pytest.mark.parametrize("backend", SHIPPED.values())
def test_the_shipped_stack_is_that_of_the_example_and_loads(backend, monkeypatch):
    monkeypatch.setenv("BENCH_TOKEN", "bench-token-of-32-characters-0000")
    config = parse_config(shipped(9184, "http://127.0.0.1:9180", backend), "shipped")
    example = yaml.safe_load((ROOT / "config.example.yaml").read_text())["plugins"]
    uses = [entry.use for entry in config.plugins]
    assert uses == [*(entry["use"] for entry in example[:-1]), backend]
    assert {"auto-mode", "tool-repair", "context-guard", "router"} < set(uses)
    assert list(build_snapshot(config).backends) == ["upstream"]


def test_each_stack_has_goals_and_verdicts_of_its_own():
    results = {"direct": DIRECT, "nginx": NGINX, "gateway": FIGURES, "shipped": FIGURES}
    rows = {name: (bound, value, verdict) for name, bound, value, verdict in judge(results)}
    assert rows["small requests/s, 1 at a time"] == (">= 0.35 x nginx", "0.5", "ok")
    assert rows["shipped: small requests/s, 1 at a time"] == (">= 0.42 x nginx", "0.5", "ok")
    assert rows["shipped: CPU of a big request"] == ("<= 280 us", "300", "miss")
    assert rows["shipped: added to first byte, small, p50"] == ("<= 0.35 ms", "0.3", "ok")
    assert len([name for name in rows if name.startswith("shipped: ")]) == len(SHIPPED_GOALS)
    assert not [name for name, *_ in judge({"gateway": FIGURES}) if name.startswith("shipped")]


def test_a_run_of_the_shipped_stack_alone_is_judged_by_its_goals_only():
    names = {name.partition(":")[0] for name, *_ in judge({"shipped-anthropic": FIGURES})}
    assert names == {"shipped-anthropic"}

"""The report, the picture, the comparison, and what is read back."""

import json
import xml.etree.ElementTree as ET

import pytest

from plugway import PlugwayError
from plugway_bench._compare import changes
from plugway_bench._machine import machine_facts, versions
from plugway_bench._picture import picture
from plugway_bench._report import markdown, verdict
from plugway_bench._result import EndpointResult, Figure, Result, WorkloadResult, read_result
from plugway_local_models.fitting import read_machine
from plugway_local_models.measured import measured_speeds

SVG = "{http://www.w3.org/2000/svg}"


def figure(value, off=0.1, samples=3):
    return Figure(value=value, low=value * (1 - off), high=value * (1 + off), samples=samples)


def row(name="local/demo", *, rate=40.0, first=200.0, valid=6, dollars=0.0, fits=True, **more):
    done = WorkloadResult(outcome="measured", prompt_tokens=20_000)
    small = WorkloadResult(
        outcome="context_overflow", reason="51,234 tokens > 32,768", prompt_tokens=51_234,
        window=32_768,
    )  # fmt: skip
    figures = {"first_cold": figure(first), "turns_rate": figure(rate)}
    figures |= {"turns_first": figure(first), "turn_share": figure(2.0)}
    figures |= {"tools_first": figure(10 * first)} if fits else {}
    return EndpointResult(
        endpoint=name, zone="local", workloads={
            "turn": done, "turns": done, "tools": done if fits else small
        },
        figures=figures, calls_asked=6, calls_made=6, calls_valid=valid, dollars=dollars, **more,
    )  # fmt: skip


def result(*rows, **more):
    fields = {
        "started": "2026-11-30T08:00:00+00:00", "seconds": 60, "seed": 7, "rounds": 3,
        "complete": True, "machine": machine_facts(), "versions": versions(),
    }  # fmt: skip
    return Result(**(fields | more), endpoints=rows)


def test_the_sentence_prefers_what_fits_then_what_calls_rightly_then_what_is_fast():
    small = row("fast/small", rate=500, fits=False)
    wrong = row("fast/wrong", rate=400, valid=2)
    good, slow = row("cloud/good", rate=50, dollars=0.25), row("local/slow", rate=5)
    said = verdict(result(small, wrong, slow, good))
    assert said.startswith(
        "Use `cloud/good`: it completed 3 of 3 workloads, 100% of the tool calls"
    )
    assert said.endswith("takes about 6.2 s, this run cost $0.2500.")
    assert verdict(result(small)).startswith("Use `fast/small`: it completed 2 of 3")
    assert verdict(result(row(rate=0))).startswith("No endpoint completed the turns of 20K")
    assert verdict(result(row(valid=0), row(valid=0))).startswith("No endpoint made a valid tool")


def test_the_report_states_overflow_share_cost_and_what_was_interrupted():
    text = markdown(result(row(fits=False, dollars=None), complete=False))
    assert "`context_overflow`: 51,234 tokens > 32,768" in text
    assert "2 ms of the 200 ms to the first token of 2K (1.0%)" in text
    assert "| unknown |" in text
    assert "**Interrupted**" in text
    assert "100% (6 of 6; 6 called)" in text


HOSTILE = "up/<script>`|\x1b[2J\u2028&\"'"


def test_text_of_servers_changes_neither_the_report_nor_the_picture():
    found = result(row(HOSTILE, notes=("a | b\n\n# Title <b> `x`",)))
    text = markdown(found)
    assert "\x1b" not in text
    assert "<script>" not in text
    assert "\n# Title" not in text
    rows = [line for line in text.splitlines() if "script" in line and line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {6, 9}
    tree = ET.fromstring(picture(found))
    assert tree.find(f".//{SVG}script") is None


def test_the_picture_has_a_title_a_description_with_all_values_and_a_bar_for_each():
    tree = ET.fromstring(picture(result(row(), row("up/small", fits=False))))
    assert tree.get("role") == "img"
    names = tree.get("aria-labelledby").split()
    by_id = {one.get("id"): one.text for one in tree if one.get("id")}
    assert set(names) <= set(by_id)
    assert "local/demo 200 ms; up/small 200 ms" in by_id["desc"]
    assert "does not fit: 51,234 tokens > 32,768" in by_id["desc"]
    assert len(tree.findall(f"{SVG}rect[@class='bar']")) == 5
    width = float(tree.get("width"))
    assert all(
        float(bar.get("x")) + float(bar.get("width")) < width for bar in tree.iter(f"{SVG}rect")
    )


def test_only_what_changed_beyond_both_ranges_is_a_change():
    old = result(row("a/a"), row("b/b"), row("gone/gone"))
    new = result(row("a/a", rate=42), row("b/b", rate=80, fits=False), row("new/new"))
    lines = list(changes(old, new))
    assert "- `a/a`: no figure changed beyond the spread." in lines
    assert any(
        "`b/b`, 20K turns: tokens a second, p50: 40 tokens/s, now 80 (+100%), better" in line
        for line in lines
    )
    assert any("`b/b`, tools: `measured`, now `context_overflow`" in line for line in lines)
    assert "- `new/new` is new." in lines
    assert "- `gone/gone` was not measured again." in lines
    slower = list(changes(result(row()), result(row(first=900))))
    assert any("first token, p50: 200 ms, now 900 (+350%), worse" in line for line in slower)


def test_a_result_is_read_back_as_it_was_written(tmp_path):
    written = result(row(), row("up/small", fits=False))
    path = tmp_path / "bench.json"
    path.write_text(written.model_dump_json())
    assert read_result(path) == written
    assert json.loads(path.read_text())["schema_version"] == 1


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_a_figure_that_is_no_number_is_refused(value, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(result(row(rate=40.0)).model_dump_json().replace("40.0", value))
    with pytest.raises(PlugwayError, match=r"turns_rate.value.*finite"):
        read_result(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read"),
        (b"not json", "is not a result of this version"),
        (b'{"schema_version": 2}', "`schema_version`"),
        (b"{}", "is not a result of this version"),
    ],
)
def test_another_file_is_refused_with_the_reason(content, said, tmp_path):
    path = tmp_path / "bench.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PlugwayError, match=said):
        read_result(path)


def test_the_newest_result_of_this_machine_is_what_recommend_reads(tmp_path):
    machine = read_machine()
    facts = machine_facts()
    other = facts.model_copy(update={"cores": facts.cores + 1})
    cloud = row("cloud/m").model_copy(update={"zone": "anthropic"})
    files = {
        "bench-20260101-000000.json": result(row(rate=10), row("local/old", rate=5)),
        "bench-20260201-000000.json": result(row(rate=20), cloud),
        "bench-20260301-000000.json": result(row(rate=30), machine=other),
    }
    for name, found in files.items():
        (tmp_path / name).write_text(found.model_dump_json())
    (tmp_path / "bench-20260401-000000.json").write_text("{")
    (tmp_path / "bench-20260501-000000.json").write_text(
        '{"schema_version": 1, "machine": [], "endpoints": 3}'
    )
    speeds = {one.endpoint: one for one in measured_speeds(machine.total, machine.cores, tmp_path)}
    assert {name: one.tokens_per_second for name, one in speeds.items()} == {
        "local/demo": 20,
        "local/old": 5,
    }
    assert (
        "20 tokens a second, first token of a 2K prompt after 0.2 s"
        in speeds["local/demo"].sentence()
    )

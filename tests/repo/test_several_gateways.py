"""What the page installs is complete, and so is its table of what gateways share."""

import re
import subprocess
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/recipes/several-gateways.md").read_text()
_, _, REST = PAGE.partition("## What is shared\n")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in REST.splitlines()
    if line.startswith("| `")
]
HOW: dict[str, str] = {}
for names, _, how, *_ in ROWS:
    for name in re.findall(r"`([\w-]+)`", names):
        HOW[name] = f"{HOW.get(name, '')} {how}"
NOTHING = re.findall(r"`([\w-]+)`", REST.partition("Nothing is kept")[2].partition(".\n")[0])
PLUGINS = sorted({p.name for p in entry_points(group="plugway")} - {"template"})


def source_of(name):
    return "".join(path.read_text() for path in (ROOT / f"plugins/{name}/src").rglob("*.py"))


def test_each_plugin_stands_there_once():
    assert sorted([*HOW, *NOTHING]) == PLUGINS


@pytest.mark.parametrize("name", [name for name in PLUGINS if name != "store"])
def test_the_table_says_how_a_plugin_shares(name):
    source, how = source_of(name), HOW.get(name, "")
    asks_per_request = "plugway_store import" in source
    has_topic = "topic_of(" in source or ".shared(gateway)" in source
    assert ("database" in how, "topic" in how) == (asks_per_request, has_topic)


def test_a_plugin_that_keeps_a_file_of_its_own_is_in_the_table():
    keeping = [
        name
        for name in PLUGINS
        if re.search(r"user_(state|data)_path|Bounded\(", source_of(name)) and name != "store"
    ]
    assert set(keeping) <= set(HOW)


def test_what_the_page_installs_is_complete_and_needs_no_compiler():
    (line,) = re.findall(r"^ *(packages=.*)$", PAGE, re.MULTILINE)
    shown = subprocess.check_output(["sh", "-c", f"{line}; echo $packages"], cwd=ROOT, text=True)
    projects = [
        tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
        for folder in ("kernel", *shown.split())
    ]
    needed = {
        re.split(r"[^\w.-]", dependency)[0]
        for project in projects
        for dependency in project["dependencies"]
    }
    installed = {project["name"] for project in projects}
    assert {name for name in needed if name.startswith("plugway")} <= installed
    assert "llama-cpp-python" not in needed
    offered = {
        name for project in projects for name in project.get("entry-points", {}).get("plugway", ())
    }
    assert set(re.findall(r"- use: ([\w-]+)", PAGE)) <= offered

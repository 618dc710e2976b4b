"""The stack that runs without a configuration names what its package brings."""

import re
import tomllib
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[1]
DATA = FOLDER / "src/plugway_starter"


def brought():
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    names = (re.split(r"[<>=\[; ~!]", d)[0] for d in project["dependencies"])
    return {name.removeprefix("plugway-") for name in names}


def test_every_plugin_of_the_stack_and_of_the_example_is_a_dependency():
    for name in ("stack.yaml", "config.example.yaml"):
        listed = yaml.safe_load((DATA / name).read_text())["plugins"]
        assert {entry["use"] for entry in listed} <= brought(), name


def test_what_the_example_offers_in_comments_is_a_dependency_too():
    text = (DATA / "config.example.yaml").read_text()
    assert set(re.findall(r"^ *#? *- use: ([a-z-]+)", text, re.M)) <= brought()


def test_the_next_steps_name_every_backend_that_the_example_offers():
    text = " ".join((DATA / "next-steps.txt").read_text().casefold().split())
    offered = re.findall(r"^  # - use: ([a-z-]+)", (DATA / "config.example.yaml").read_text(), re.M)
    said = {"lmstudio": "lm studio", "openai-compatible": "openrouter"}
    aside = {"gemini-api", "openai-api", "mcp", "switch", "recommend", "anthropic-compatible"}
    aside |= {"apple-intelligence"}  # for side requests, not for a session
    backends = set(offered) - aside
    assert len(backends) > 7
    assert [name for name in sorted(backends) if said.get(name, name) not in text] == []
    assert "plugway claude" in text

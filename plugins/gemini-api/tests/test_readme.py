"""The tables in the README are the policy, and the policy knows every field of Google's SDK."""

from pathlib import Path

import pytest

from plugway_gemini_api._fields import camel
from plugway_gemini_api._policy import GENERATION, REQUEST
from plugway_gemini_api._tools import OF_GOOGLE

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
TABLES = [REQUEST, GENERATION]


@pytest.mark.parametrize("table", TABLES)
def test_every_rule_is_in_the_readme(table):
    rows = [f"| `{name}` | {rule.action} | {rule.because} |" for name, rule in table.items()]
    assert [row for row in rows if row not in README] == []


@pytest.mark.parametrize("table", TABLES)
def test_what_is_dropped_or_refused_says_why(table):
    silent = [
        n for n, rule in table.items() if rule.action in {"drop", "reject"} and not rule.because
    ]
    assert silent == []


def test_every_setting_and_tool_of_the_sdk_has_a_rule():
    types = pytest.importorskip("google.genai.types", reason="google-genai is not installed")
    settings = {camel(name) for name in types.GenerationConfig.model_fields}
    assert sorted(settings - set(GENERATION)) == []
    tools = {camel(name) for name in types.Tool.model_fields} - {"functionDeclarations"}
    assert sorted(tools - set(OF_GOOGLE)) == []

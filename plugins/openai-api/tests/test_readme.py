"""The tables in the README are the policy, and the policy knows every field of the SDK."""

from pathlib import Path

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming

from plugway_openai_api._policy import CHAT, RESPONSES

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("table", [CHAT, RESPONSES])
def test_every_rule_is_in_the_readme(table):
    rows = [f"| `{name}` | {rule.action} | {rule.because} |" for name, rule in table.items()]
    assert [row for row in rows if row not in README] == []


@pytest.mark.parametrize(
    ("table", "params"),
    [(CHAT, CompletionCreateParamsStreaming), (RESPONSES, ResponseCreateParamsStreaming)],
)
def test_every_field_of_the_sdk_has_a_rule(table, params):
    assert sorted(set(params.__annotations__) - set(table)) == []


@pytest.mark.parametrize("table", [CHAT, RESPONSES])
def test_what_is_dropped_or_refused_says_why(table):
    silent = [
        n for n, rule in table.items() if rule.action in {"drop", "reject"} and not rule.because
    ]
    assert silent == []

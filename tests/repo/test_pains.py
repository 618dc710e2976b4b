"""What hurts users of such gateways most, and that each of it has a test of its own here.

A test is named after the pain by its number: `test_pain_18_...`. Those that are not listed belong to
translation (9, 11, 21, 22), engines (24) and the supply chain (25).
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAINS = {
    1: "tool calls appear as plain text, and nothing is executed",
    2: "arguments of tools are missing, or `{}`",
    3: "content block not found: streams in a wrong order",
    4: "parallel tool calls are mixed up or lost",
    5: "the prompt cache of a local server never hits",
    6: "400 on `role: system` among the messages",
    7: "another provider's thinking signature ends the session",
    8: "400 on an id of a tool call after a switch",
    10: "an empty turn is delivered as success",
    12: "errors about max_tokens",
    13: "tokens are not counted, or counted as 0",
    14: "the client does not compact in time for a small window",
    15: "Ollama cuts the prompt in silence",
    16: "a prompt that is too long comes as 500 and is tried ten times",
    17: "200 with a body that is no message",
    18: "a slow prefill, a time-out, the same again, for ever",
    19: "Esc does not stop the work",
    20: "background calls ask for a model that does not exist",
    23: "fields are rejected that the server does not know",
}
NAMES = [
    name
    for folder in ("tests", "plugins")
    for path in (ROOT / folder).rglob("test_*.py")
    for name in re.findall(r"def (test_pain_\d+_\w+)", path.read_text())
]


@pytest.mark.parametrize("number", PAINS)
def test_each_pain_has_a_test_named_after_it(number):
    assert [name for name in NAMES if name.startswith(f"test_pain_{number}_")], PAINS[number]


def test_no_test_is_named_after_a_pain_that_is_not_listed():
    numbers = {int(re.findall(r"\d+", name)[0]) for name in NAMES}
    assert numbers - PAINS.keys() <= {9, 11, 21, 22, 24, 25}

"""What arrives at a server, held against what the receipt says was done to the request."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from tests.receipts.facts import Facts, read_messages
from tests.receipts.lines import explained
from tests.receipts.rich import (
    ADDRESSES,
    ANSWER,
    BETAS,
    BROKEN,
    CACHE,
    CLEARING,
    MESSAGES,
    ODD,
    PLACEHOLDER,
    PNG,
    SHOT,
    TOOLS,
    rich,
)
from tests.receipts.servers import SERVERS, lists, log_in, send

pytestmark = [
    pytest.mark.anyio,
    # Servers of the Messages API get what the client wrote, OpenRouter fields of its own.
    pytest.mark.lenient("anthropic", "chat.known_fields"),
]

_CHAT = {
    "turns": "results of tools have messages of their own",
    "tools.type": "every tool is a function",
    "document blocks": "a document of text is told as text, with its title",
}
_RESPONSES = {
    **_CHAT,
    "store": "nothing is kept there: what the Messages API does by itself",
    "include": "what is thought comes back, as in the Messages API",
    "reasoning": "thinking by another name",
    "safety_identifier": "`metadata.user_id` by another name",
}
SAME: dict[str, dict[str, str]] = {
    "openai-compatible": _CHAT,
    "openrouter": {**_CHAT, "reasoning": "thinking by another name", "user": "`metadata.user_id`"},
    "openai": _RESPONSES,
    "codex": {**_RESPONSES, "stream": "the endpoint only streams"},
    "gemini": {**_CHAT, "thinkingConfig": "thinking by another name"},
}
"""By backend: features that an API has by another name or in another place, and why that is no
change. A feature that stands here may differ without a line; where it has one, it must differ."""
BY_NAME = {
    "openrouter": {"thinking", "thinking.budget", "output_config.effort", "metadata"},
    "openai": {"thinking", "output_config.effort"},
    "codex": {"thinking", "output_config.effort"},
    "gemini": {"thinking", "output_config.effort"},
}


@pytest.fixture(autouse=True)
def _login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    log_in(tmp_path / "codex")


def differing(before: Facts, after: Facts) -> set[str]:
    """The features that are not the same."""
    return {feature for feature, _ in ((before - after) + (after - before))}


def problems(name: str, before: Facts, after: Facts, lines: list[str]) -> list[str]:
    """What differs and stands on no line, and lines that tell of what does not differ."""
    differ = differing(before, after)
    clauses = [clause for line in lines for clause in explained(line)]
    known = {*SAME.get(name, {}), *BY_NAME.get(name, set())}.union(*clauses)
    silent = [one for one in sorted(differ) if not any(fnmatchcase(one, k) for k in known)]
    found = [f"`{feature}` differs, and no line says so" for feature in silent]
    found += [
        f"{sorted(clause)} is on a line, and nothing of it differs"
        for clause in clauses
        if not any(fnmatchcase(one, named) for one in differ for named in clause)
    ]
    for feature in ("cache_control", "citations"):
        lost, said = lost_of(feature, before, after), times(feature, lines)
        if lost != said:
            found.append(f"`{feature}` was lost {lost} times, and {said} are told")
    return found


def lost_of(feature: str, before: Facts, after: Facts) -> int:
    """How many facts of that feature did not arrive."""
    return sum(count for (name, _), count in (before - after).items() if name == feature)


def times(feature: str, lines: list[str]) -> int:
    """How often the lines say that something was left out."""
    clauses = [clause for line in lines for clause in line.split("; ")]
    named = [
        c for c in clauses if re.search(rf"`{feature}` left out|^(?:drop|remove) \S*{feature}:", c)
    ]
    counts = [re.search(r"\((\d+) times\)", clause) for clause in named]
    return sum(int(count[1]) if count else 1 for count in counts)


REQUESTS: dict[str, dict[str, Any]] = {
    "everything": {},
    "forced": {"tool_choice": {"type": "tool", "name": "Read"}, "thinking": None},
    "any": {"tool_choice": {"type": "any"}, "thinking": {"type": "disabled"}},
    "none": {"tool_choice": {"type": "none"}, "thinking": {"type": "adaptive"}},
    "effort": {"output_config": {"effort": "max"}, "thinking": {"type": "adaptive"}},
    "begun answer": {"messages": [*MESSAGES, {"role": "assistant", "content": "Well,"}]},
    "a broken history": {"messages": BROKEN},
    "addresses": {"messages": ADDRESSES},
    "odd blocks": {"messages": ODD},
    "marks at the top": {"cache_control": CACHE, "speed": "fast", "container": "c_1"},
    "old results cleared": {"context_management": CLEARING},
    "odd limits": {"max_tokens": 5, "stop_sequences": ["only"], "thinking": None},
    "a typed tool": {"tools": [*TOOLS, {"type": "code_execution_20250825", "name": "code"}]},
    "deferred tools": {"tools": [*TOOLS, PLACEHOLDER]},
    "an older format": {
        "output_config": None,
        "output_format": {"type": "json_schema", "schema": ANSWER},
    },
}
"""Requests that differ from `rich` in some fields."""


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("name", SERVERS)
async def test_each_change_is_on_the_receipt_and_nothing_else(name: str, request_name: str) -> None:
    body = rich(**REQUESTS[request_name])
    sent = await send(name, body, BETAS)
    before = read_messages(body, BETAS)
    assert problems(name, before, sent.arrived, sent.lines) == [], "\n".join(sent.lines)


@pytest.mark.parametrize("vision", [False, True])
@pytest.mark.parametrize("name", ["ollama", "lmstudio", "llama-server"])
async def test_a_model_without_vision_gets_words_for_images(name: str, vision: bool) -> None:
    body = rich()
    sent = await send(name, body, BETAS, lists(name, vision=vision))
    assert problems(name, read_messages(body, BETAS), sent.arrived, sent.lines) == []
    arrived = {said for feature, said in sent.arrived if feature == "image"}
    assert arrived == ({f"user {PNG}", f"tool {SHOT}"} if vision else set())
    left_out = sent.arrived["left out", "image"], sent.arrived["left out", "document"]
    assert left_out == (0 if vision else 2, 1)
    assert any("does not accept images" in line for line in sent.lines) is not vision


@pytest.mark.parametrize("name", SERVERS)
async def test_explain_shows_what_is_sent_and_the_same_receipt(name: str) -> None:
    body = rich()
    sent = await send(name, body, BETAS)
    shown = sent.explained["upstream_request"]["body"]
    assert shown == sent.raw
    quiet = ("route", "layer", "count")
    told = [e["what"] for e in sent.explained["receipt"] if e["stage"] not in quiet]
    assert Counter(told) == Counter(sent.lines)


def test_a_change_that_no_line_tells_is_found() -> None:
    before, after = read_messages(rich()), read_messages(rich(top_k=None, temperature=0.1))
    line = "drop top_k: the API has no such field"
    assert problems("vllm", before, after, [line]) == ["`temperature` differs, and no line says so"]


def test_a_line_that_is_not_true_is_found() -> None:
    before = read_messages(rich())
    lines = ["remove metadata: it is of no use there", "set tools: `cache_control` left out"]
    found = problems("vllm", before, before, lines)
    assert len(found) == 3
    assert "['metadata', 'user'] is on a line, and nothing of it differs" in found
    assert "`cache_control` was lost 0 times, and 1 are told" in found

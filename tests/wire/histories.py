"""Conversations with calls and results in any disorder, as clients of each API write them.

A history is a list of elements: `("say", text)`, `("answer", text)`, `("call", id, mark)` and
`("result", id, mark)`. Marks and texts are found again in what arrives.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

Element = tuple[str, ...]

SHORT = ("a", "a", "b", "a:0", "pw_a_3a0", "a-2", "é")
ALPHABET = (*SHORT, "", "x" * 41, "y" * 70)
"""Ids that are alike, are refused by one API or another, or are none."""


def random_history(seed: int, ids: Sequence[str] = ALPHABET) -> list[Element]:
    """A history of up to 20 elements; it ends with what the user says. One in three is in order."""
    chance = Random(seed)  # noqa: S311 - repeatable, no secret
    few = chance.sample(ids, 4)
    answered = 1.0 if seed % 3 == 0 else 0.4
    found: list[Element] = [("say", "t0")]
    for number in range(1, chance.randint(2, 14)):
        kind = chance.choice(("say", "answer", "call", "call", "result", "result"))
        id_ = chance.choice(few)
        if kind == "call" and chance.random() < answered:
            found += [(kind, id_, f"m{number}."), ("result", id_, f"r{number}.")]
        elif kind in ("call", "result") and answered < 1:
            found.append((kind, id_, f"m{number}."))
        else:
            found.append(("answer" if kind == "answer" else "say", f"t{number}."))
    return [*found, ("say", "end")]


def marks(history: Sequence[Element]) -> list[str]:
    """What must be found in what arrives."""
    return [element[-1] for element in history]


# ── as clients write them ────────────────────────────────────────────────────────────────────


def as_messages(history: Sequence[Element]) -> list[dict[str, Any]]:
    """Turns of the Messages API: neighbours of one role are one turn."""
    turns: list[dict[str, Any]] = []
    for kind, *rest in history:
        role = "assistant" if kind in ("answer", "call") else "user"
        if kind == "call":
            block = {"type": "tool_use", "id": rest[0], "name": "Read", "input": {"path": rest[1]}}
        elif kind == "result":
            block = {"type": "tool_result", "tool_use_id": rest[0], "content": rest[1]}
        else:
            block = {"type": "text", "text": rest[0]}
        if not turns or turns[-1]["role"] != role:
            turns.append({"role": role, "content": []})
        turns[-1]["content"].append(block)
    return turns


def as_chat(history: Sequence[Element]) -> list[dict[str, Any]]:
    """Messages of Chat Completions: calls beside each other are of one message."""
    found: list[dict[str, Any]] = []
    for kind, *rest in history:
        if kind == "call":
            function = {"name": "Read", "arguments": json.dumps({"path": rest[1]})}
            call = {"id": rest[0], "type": "function", "function": function}
            if found and found[-1].get("tool_calls"):
                found[-1]["tool_calls"].append(call)
            else:
                found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        elif kind == "result":
            found.append({"role": "tool", "tool_call_id": rest[0], "content": rest[1]})
        else:
            found.append({"role": "user" if kind == "say" else "assistant", "content": rest[0]})
    return found


def as_items(history: Sequence[Element]) -> list[dict[str, Any]]:
    """Input items of Responses."""
    found: list[dict[str, Any]] = []
    for kind, *rest in history:
        if kind == "call":
            arguments = json.dumps({"path": rest[1]})
            item = {"type": "function_call", "name": "Read", "arguments": arguments}
            found.append({**item, "call_id": rest[0]})
        elif kind == "result":
            item = {"type": "function_call_output", "output": rest[1]}
            found.append({**item, "call_id": rest[0]})
        else:
            found.append({"role": "user" if kind == "say" else "assistant", "content": rest[0]})
    return found


SAID: Mapping[str, tuple[str, Callable[[Sequence[Element]], list[dict[str, Any]]]]] = {
    "messages": ("messages", as_messages),
    "chat": ("messages", as_chat),
    "responses": ("input", as_items),
}
"""The field of the conversation, and who writes it."""

"""The workloads: request bodies that depend on nothing but a seed, the same for all endpoints.

Sizes are nominal, at four characters a token; the results state what each server counted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import orjson

Workload = Literal["turn", "turns", "tools"]
WORKLOADS: Final[tuple[Workload, ...]] = get_args(Workload)
TITLES: Final[Mapping[Workload, str]] = {
    "turn": "one turn of 2K",
    "turns": "many turns of 20K with tools",
    "tools": "tool-heavy, 50K",
}
FIGURES: Final[Mapping[Workload, str]] = {
    "turn": "first token, p50",
    "turns": "tokens a second, p50",
    "tools": "first token, p95",
}
MAX_TOKENS: Final = 256
TURNS_PER_ROUND: Final = 2
_CHARACTERS: Final = 4
"""Per token."""
_SIZES: Final[Mapping[Workload, int]] = {"turn": 2_000, "turns": 20_000, "tools": 50_000}
_TURN_TOKENS: Final = 400
"""What each turn of a conversation adds."""
_SHORT = 60
_TEXT: Final = """file path edit read write search line text match result shell output error branch
commit test function class module value string number option user task plan step change review
directory pattern content replace exact before after must never always"""
_WORDS: Final = _TEXT.split()


@dataclass(frozen=True, slots=True)
class Question:
    """One request of a workload."""

    workload: Workload
    label: str
    """`cold`, `warm`, `turn 3`, `cancel`, ..."""
    session: str
    body: Mapping[str, Any]
    """Without `model`."""

    def encoded(self, model: str) -> bytes:
        """The body for one endpoint."""
        return orjson.dumps({"model": model, **self.body, "stream": True})

    @property
    def tools(self) -> Mapping[str, Mapping[str, Any]]:
        """The schemas of the offered tools, by name."""
        return {tool["name"]: tool["input_schema"] for tool in self.body.get("tools", ())}

    @property
    def tokens(self) -> int:
        """The nominal size of the prompt."""
        return len(orjson.dumps(self.body)) // _CHARACTERS


class Bodies:
    """All requests of a run, by seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def turn(self, number: int, label: str = "cold") -> Question:
        """One turn of 2K; the same number gives the same body, and another one shares nothing."""
        source = self._source("turn", number)
        text = _prose(source, _SIZES["turn"] * _CHARACTERS)
        order = f"Notes {source.getrandbits(64):016x}.\n\n{text}\n\nReply with one short sentence."
        return self._question("turn", label, f"turn-{number}", [_said(order, cached=True)], {})

    def conversation(self, turn: int) -> Question:
        """A conversation of 20K with tools, continued by `turn` turns."""
        source = self._source("turns", 0)
        fields = self._agent(source, tools=8, size=_SIZES["turns"] // 2)
        messages: list[dict[str, Any]] = []
        while _size(fields, messages) < _SIZES["turns"] * _CHARACTERS:
            messages += _turn(source, len(messages) // 4)
        for number in range(turn):
            messages += _turn(self._source("continued", number), 1000 + number)
        name = f"note-{turn:03}.txt"
        orders = (
            f"create {name} with the text reviewed",
            f"Write about 80 words on what a code review should look at, into {name}.",
        )
        messages.append(_said(orders[turn % 2], cached=True))
        return self._question("turns", f"turn {turn}", "turns", messages, fields)

    def heavy(self, number: int) -> Question:
        """An agent's request of 50K, mostly tools and their results."""
        source = self._source("tools", number)
        fields = self._agent(source, tools=60, size=_SIZES["tools"] // 2)
        messages: list[dict[str, Any]] = []
        while _size(fields, messages) < _SIZES["tools"] * _CHARACTERS:
            messages += _turn(source, len(messages) // 4)
        messages.append(_said(f"create note-{number:03}.txt with the text reviewed", cached=True))
        return self._question("tools", "cold", f"tools-{number}", messages, fields)

    def cancelled(self) -> Question:
        """A request with a long reply, which is cancelled."""
        order = "Count from 1 to 500 in words, one number a line, all of them."
        return self._question("turn", "cancel", "cancel", [_said(order)], {})

    def _source(self, name: str, number: int) -> random.Random:
        return random.Random(f"{self.seed}/{name}/{number}")

    def _question(
        self,
        workload: Workload,
        label: str,
        session: str,
        messages: list[dict[str, Any]],
        fields: Mapping[str, Any],
    ) -> Question:
        named = f"{random.Random(f'{self.seed}/{session}').getrandbits(128):032x}"
        body = {"max_tokens": MAX_TOKENS, **fields, "messages": messages}
        return Question(workload, label, named, body)

    def _agent(self, source: random.Random, *, tools: int, size: int) -> dict[str, Any]:
        """Instructions and tools of an agent, about `size` tokens."""
        each = size * _CHARACTERS * 3 // 4 // tools
        offered = [_WRITE, *(_tool(source, number, each) for number in range(tools - 1))]
        rules = f"Session {source.getrandbits(64):016x}. You are a coding agent. "
        text = rules + _prose(source, size * _CHARACTERS // 4)
        system = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
        return {"system": system, "tools": offered}


_WRITE: Final[Mapping[str, Any]] = {
    "name": "Write",
    "description": "Writes a file, and replaces what it contained.",
    "input_schema": {
        "type": "object",
        "properties": {
            "file_path": {"type": "string", "description": "Path of the file."},
            "content": {"type": "string", "description": "All of the new text."},
        },
        "required": ["file_path", "content"],
        "additionalProperties": False,
    },
}


def _tool(source: random.Random, number: int, size: int) -> dict[str, Any]:
    properties = {
        f"{source.choice(_WORDS)}_{index}": {
            "type": source.choice(["string", "integer", "boolean"]),
            "description": _prose(source, _SHORT),
        }
        for index in range(4)
    }
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    schema |= {"required": list(properties)[:2], "additionalProperties": False}
    rest = max(_SHORT, size - len(orjson.dumps(schema)) - 80)
    description = _prose(source, rest)
    return {"name": f"Lookup{number:02}", "description": description, "input_schema": schema}


def _turn(source: random.Random, number: int) -> list[dict[str, Any]]:
    """A question, a tool call, its result, and the answer."""
    call = f"toolu_{number:06}"
    asked = {"file_path": f"docs/page-{number}.md", "content": _prose(source, 2 * _SHORT)}
    result = _prose(source, (_TURN_TOKENS - 100) * _CHARACTERS)
    used = {"type": "tool_use", "id": call, "name": "Write", "input": asked}
    done = {"type": "tool_result", "tool_use_id": call, "content": result}
    return [
        {"role": "user", "content": f"Step {number}: {_prose(source, 2 * _SHORT)}"},
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [done]},
        {"role": "assistant", "content": f"Step {number} is done. {_prose(source, _SHORT)}"},
    ]


def _said(text: str, *, cached: bool = False) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if cached:
        block["cache_control"] = {"type": "ephemeral"}
    return {"role": "user", "content": [block]}


def _prose(source: random.Random, size: int) -> str:
    text = ""
    while len(text) < size:
        text += " ".join(source.choices(_WORDS, k=12)).capitalize() + ". "
    return text[:size].rstrip()


def _size(fields: Mapping[str, Any], messages: list[dict[str, Any]]) -> int:
    return len(orjson.dumps({**fields, "messages": messages}))

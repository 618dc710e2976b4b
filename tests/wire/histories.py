"""Conversations with calls and results in any disorder, in each API, and what APIs demand of them.

A history is a list of elements: `("say", text)`, `("answer", text)`, `("call", id, mark)` and
`("result", id, mark)`. Marks and texts are found again in what arrives.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

Element = tuple[str, ...]

ALPHABET = ("a", "a", "b", "a:0", "pw_a_3a0", "a-2", "é", "x" * 41, "y" * 70, "")
"""Ids that are alike, are refused by one API or another, or are none."""


def random_history(seed: int) -> list[Element]:
    """A history of up to 14 elements; it ends with what the user says."""
    chance = Random(seed)  # noqa: S311 - repeatable, no secret
    few = chance.sample(ALPHABET, 4)
    found: list[Element] = [("say", "t0")]
    for number in range(1, chance.randint(2, 14)):
        kind = chance.choice(("say", "answer", "call", "call", "result", "result"))
        if kind in ("call", "result"):
            found.append((kind, chance.choice(few), f"m{number}."))
        else:
            found.append((kind, f"t{number}."))
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


# ── what the APIs demand ─────────────────────────────────────────────────────────────────────


def check_messages(body: Mapping[str, Any]) -> None:
    """`tool_use.id` matches the pattern in Anthropic's refusal and is unique in the conversation;
    the next message begins with one result for each call, and results are nowhere else:
    https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use
    """
    used: set[str] = set()
    wanted: list[str] = []
    for message in body["messages"]:
        content = message["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
        assert blocks
        assert all(block["text"] for block in blocks if block["type"] == "text")
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        calls = [b["id"] for b in blocks if b["type"] == "tool_use"]
        assert sorted(results) == sorted(wanted)
        assert all(block["type"] == "tool_result" for block in blocks[: len(results)])
        assert message["role"] == "user" or not results
        assert message["role"] == "assistant" or not calls
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]+", id_) for id_ in calls)
        assert not used.intersection(calls)
        assert len(set(calls)) == len(calls)
        used.update(calls)
        wanted = calls
    assert not wanted


def check_chat(body: Mapping[str, Any], pattern: str = r"(?s).{1,64}") -> None:
    """A message with `tool_calls` is followed by one `tool` message for each of them, and there are
    no others: https://platform.openai.com/docs/guides/function-calling, and the refusal "An
    assistant message with 'tool_calls' must be followed by tool messages responding to each
    'tool_call_id'". OpenAI takes ids of 40 characters, Mistral of exactly 9 letters and digits
    (https://mistralai.github.io/mistral-common/usage/tools/).
    """
    wanted: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in wanted
            wanted.remove(message["tool_call_id"])
            continue
        assert not wanted
        ids = [call["id"] for call in message.get("tool_calls") or ()]
        assert len(set(ids)) == len(ids)
        assert all(re.fullmatch(pattern, id_) for id_ in ids)
        wanted = set(ids)
    assert not wanted


def check_responses(body: Mapping[str, Any]) -> None:
    """Each call has one output after it, each output its call before it; ids stand for one call and
    have 1 to 64 characters: `ResponseFunctionToolCallParam` and `FunctionCallOutput` in
    `types/responses/response_input_item_param.py` of the `openai` SDK, and the refusals "No tool
    output found for function call", "No tool call found for function call output" and "Duplicate
    function_call_output for call_id"."""
    wanted: set[str] = set()
    used: set[str] = set()
    for item in body["input"]:
        if item.get("type") == "function_call":
            assert item["call_id"] not in used
            assert 1 <= len(item["call_id"]) <= 64
            wanted.add(item["call_id"])
            used.add(item["call_id"])
        elif item.get("type") == "function_call_output":
            assert item["call_id"] in wanted
            wanted.remove(item["call_id"])
    assert not wanted


def check_gemini(body: Mapping[str, Any]) -> None:
    """The turn after one with calls has a response to each of them and nothing else; turns begin
    and end with the user's: https://ai.google.dev/gemini-api/docs/function-calling, and the refusal
    "Please ensure that the number of function response parts is equal to the number of function
    call parts of the function call turn"."""
    wanted: list[tuple[str, str]] = []
    used: set[str] = set()
    contents = body["contents"]
    assert contents[0]["role"] == contents[-1]["role"] == "user"
    for content in contents:
        parts = content["parts"]
        assert parts
        answers = [p["functionResponse"] for p in parts if "functionResponse" in p]
        calls = [p["functionCall"] for p in parts if "functionCall" in p]
        assert [(a["id"], a["name"]) for a in answers] == wanted
        assert not answers or len(answers) == len(parts)
        assert content["role"] == ("model" if calls else "user" if answers else content["role"])
        wanted = [(call["id"], call["name"]) for call in calls]
        assert len({id_ for id_, _ in wanted} - used) == len(wanted)
        used.update(id_ for id_, _ in wanted)
    assert not wanted

"""Whether a model did in a turn what the recorded one did. Pure functions; prose is never judged.

`_values` says when two arguments are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from plugway import as_list, as_object
from plugway_recorder._turn import Call, Redaction, calls_of
from plugway_recorder._values import compare_objects, defaults_of, folder_of
from plugway_toolcalls import check_arguments

Kind = Literal["window", "rejected", "tool", "invalid", "arguments", "stop"]
KINDS: Final[Mapping[Kind, str]] = {
    "window": "did not fit the window",
    "rejected": "rejected by the target",
    "tool": "another tool, or none",
    "invalid": "arguments not valid",
    "arguments": "other arguments",
    "stop": "another end",
}
_SHOWN: Final = 160


@dataclass(frozen=True, slots=True)
class Difference:
    """Why a turn would not have worked."""

    kind: Kind
    text: str
    """A clause, which may quote arguments."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """The result of a comparison."""

    difference: Difference | None = None
    """None if the turn would have worked."""
    free: tuple[str, ...] = ()
    """Arguments that were not compared, because they are free text: `Write.content`."""


def judge(turn: Mapping[str, Any], message: Mapping[str, Any]) -> Judgement:
    """Compare the message of another model with the recorded outcome of `turn`."""
    expected = [as_object(call) for call in as_list(turn.get("calls"))]
    made: Sequence[Call] = Redaction().of(list(calls_of(message)))
    stop, before = message.get("stop_reason"), turn.get("stop_reason")
    if stop == "model_context_window_exceeded" != before:
        return Judgement(Difference("window", "the reply reached the end of the window"))
    if (wrong := _other_tools(expected, made)) is not None:
        return Judgement(wrong)
    body = as_object(turn.get("body"))
    schemas = _schemas(body)
    for call in made:
        problems = check_arguments(
            as_object(schemas.get(str(call["name"]))), as_object(call["input"])
        )
        if problems:
            return Judgement(Difference("invalid", _cut(f"`{call['name']}`: {problems[0]}")))
    wrong, free = _other_arguments(expected, made, schemas, folder_of(body))
    if wrong is None and stop != before:
        wrong = Difference("stop", f"it ended with `{stop}` instead of `{before}`")
    return Judgement(wrong, tuple(dict.fromkeys(free)))


def _other_tools(expected: Sequence[Call], made: Sequence[Call]) -> Difference | None:
    before, now = (Counter(str(call["name"]) for call in calls) for calls in (expected, made))
    if before == now:
        return None
    if not made:
        return Difference("tool", f"it called no tool instead of {_named(before)}")
    if not expected:
        return Difference("tool", f"it called {_named(now)} instead of answering")
    return Difference("tool", f"it called {_named(now)} instead of {_named(before)}")


def _other_arguments(
    expected: Sequence[Call], made: Sequence[Call], schemas: Mapping[str, Any], folder: str
) -> tuple[Difference | None, list[str]]:
    """The first difference, and what was not compared. Calls of one turn run in parallel, so their
    order does not matter."""
    free: list[str] = []
    left = list(made)
    for call in expected:
        name, given = str(call["name"]), as_object(call["input"])
        defaults = defaults_of(as_object(schemas.get(name)))
        results = [
            (other, compare_objects(given, as_object(other["input"]), folder, defaults))
            for other in left
            if other["name"] == name
        ]
        other, (same, member, unread) = next(
            (found for found in results if found[1][0] != "different"), results[0]
        )
        if same == "different":
            was, now = given.get(member), as_object(other["input"]).get(member)
            text = f"`{name}`: `{member}` is {_quoted(now)} instead of {_quoted(was)}"
            return Difference("arguments", text), free
        free += [f"{name}.{one}" for one in unread]
        left.remove(other)
    return None, free


def _schemas(body: Mapping[str, Any]) -> Mapping[str, Any]:
    tools = map(as_object, as_list(body.get("tools")))
    return {str(tool.get("name")): tool.get("input_schema") for tool in tools}


def _named(names: Counter[str]) -> str:
    listed = [f"`{name}`" + (f" {n} times" if n > 1 else "") for name, n in names.items()]
    return " and ".join(listed)


def _quoted(value: Any) -> str:
    return "missing" if value is None else _cut(repr(value))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

"""Shape the turns of a conversation for one chat template: roles, order, calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from plugway_local_engine._probe import TemplateTraits

REMINDER: Final = "<system-reminder>\n{}\n</system-reminder>"
"""A system turn if the template does not support it: a marked user turn."""
RESULT: Final = "<tool_response>\n{}\n</tool_response>"
"""A tool's result if the template has no role for it."""
_JOIN: Final = "\n\n"


@dataclass(frozen=True, slots=True)
class TurnCall:
    """A call by the assistant."""

    call_id: str
    name: str
    arguments: Mapping[str, Any]


@dataclass(slots=True)
class Turn:
    """One message for the template."""

    role: str
    text: str
    calls: list[TurnCall] = field(default_factory=list[TurnCall])
    reasoning: str = ""
    call_id: str = ""
    name: str = ""
    error: bool = False

    def call(self, call_id: str, name: str, arguments: Mapping[str, Any]) -> None:
        """Add a call."""
        self.calls.append(TurnCall(call_id, name, arguments))


def shape_turns(
    system: str,
    turns: list[Turn],
    traits: TemplateTraits,
    write: Callable[[Turn], str],
    notes: list[str],
) -> list[dict[str, Any]]:
    """The messages for the template. `write` writes a turn with its calls as text."""
    if not (traits.tool_calls and traits.tool_role):
        turns = _without_tool_roles(turns, write, notes)
    elif not traits.parallel_calls:
        turns = _one_call_each(turns)
    if traits.repeated_roles and traits.tool_calls and not traits.text_beside_calls:
        turns = _text_before_calls(turns)
    if not traits.system_inside:
        turns = _without_inner_system(turns, notes)
    if system:
        turns = _with_system(system, turns, traits, notes)
    if not traits.repeated_roles:
        turns = _alternating(turns, notes)
    return [_message(turn, traits, notes) for turn in turns]


def _without_tool_roles(
    turns: list[Turn], write: Callable[[Turn], str], notes: list[str]
) -> list[Turn]:
    result: list[Turn] = []
    for turn in turns:
        if turn.role == "tool":
            notes.append("translate tool_result: the template has no role for it: shown as text")
            result.append(Turn("user", RESULT.format(turn.text)))
        elif turn.calls:
            notes.append("translate tool_use: the template has no place for it: shown as text")
            result.append(Turn("assistant", write(turn), reasoning=turn.reasoning))
        else:
            result.append(turn)
    return result


def _one_call_each(turns: list[Turn]) -> list[Turn]:
    """Parallel calls as sequential ones, each with its result."""
    result: list[Turn] = []
    at = 0
    while at < len(turns):
        turn = turns[at]
        at += 1
        if len(turn.calls) < 2:
            result.append(turn)
            continue
        found: dict[str, Turn] = {}
        while at < len(turns) and turns[at].role == "tool":
            found.setdefault(turns[at].call_id, turns[at])
            at += 1
        for number, call in enumerate(turn.calls):
            text, reasoning = (turn.text, turn.reasoning) if number == 0 else ("", "")
            result.append(Turn("assistant", text, [call], reasoning))
            result.append(found[call.call_id])
    return result


def _text_before_calls(turns: list[Turn]) -> list[Turn]:
    """Text next to a call as a separate turn, if the template would not render it."""
    result: list[Turn] = []
    for turn in turns:
        if turn.calls and turn.text:
            result.append(Turn("assistant", turn.text))
            turn = replace(turn, text="")
        result.append(turn)
    return result


def _without_inner_system(turns: list[Turn], notes: list[str]) -> list[Turn]:
    result: list[Turn] = []
    for turn in turns:
        if turn.role == "system":
            notes.append("translate messages.system: shown as a marked user turn")
            result.append(Turn("user", REMINDER.format(turn.text)))
        else:
            result.append(turn)
    return result


def _with_system(
    system: str, turns: list[Turn], traits: TemplateTraits, notes: list[str]
) -> list[Turn]:
    if traits.system:
        return [Turn("system", system), *turns]
    notes.append(
        "translate system: the template does not support it, so it precedes the first user turn"
    )
    if turns and turns[0].role == "user":
        return [Turn("user", system + _JOIN + turns[0].text), *turns[1:]]
    return [Turn("user", system), *turns]


def _alternating(turns: list[Turn], notes: list[str]) -> list[Turn]:
    """Adjacent turns of one role joined; user text after a tool result joins the result."""
    result: list[Turn] = []
    for turn in turns:
        last = result[-1] if result else None
        after_result = last is not None and last.role == "tool" and turn.role == "user"
        same = last is not None and last.role == turn.role and turn.role in {"user", "assistant"}
        if last is not None and (after_result or (same and not last.calls)):
            notes.append(
                "translate messages: turns of one role are joined, as the template requires"
            )
            last.text = _JOIN.join(text for text in (last.text, turn.text) if text)
            last.calls += turn.calls
        else:
            result.append(replace(turn, calls=list(turn.calls)))
    return result


def _message(turn: Turn, traits: TemplateTraits, notes: list[str]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    if turn.role == "tool":
        message |= {"tool_call_id": turn.call_id, "name": turn.name}
        if turn.error:
            message["is_error"] = True
    if turn.calls:
        message["tool_calls"] = [_call(call, traits) for call in turn.calls]
        if turn.text and not traits.text_beside_calls:
            notes.append("drop messages.text: the template shows no text next to a tool call")
        if not turn.text and traits.null_content:
            message["content"] = None
    crowded = bool(turn.calls and turn.text) and not traits.reasoning_beside_text
    if turn.reasoning and crowded:
        notes.append("drop thinking: the template does not accept it next to text and a tool call")
    elif turn.reasoning and traits.reasoning:
        message[traits.reasoning] = turn.reasoning
    return message


def _call(call: TurnCall, traits: TemplateTraits) -> dict[str, Any]:
    arguments: Any = dict(call.arguments)
    if traits.text_arguments:
        arguments = json.dumps(arguments, ensure_ascii=False)
    function = {"name": call.name, "arguments": arguments}
    return {"id": call.call_id, "type": "function", "function": function}

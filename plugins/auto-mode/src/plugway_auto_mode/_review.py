"""Decide on the calls of one reply: the user's rules first, then what is known about a call.

    deny → ask → known harmful → allow → known harmless → open: a judge, if there is one

See `_judge` for the judge, and `_verdicts` for what is sent to the client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from plugway_auto_mode import _tools
from plugway_auto_mode._appends import appended_file
from plugway_auto_mode._commands import (
    Rules,
    changes_folder,
    possible_files,
    review,
    review_powershell,
    simple_commands,
)
from plugway_auto_mode._context import Context, Rule
from plugway_auto_mode._files import Speaks
from plugway_auto_mode._finding import Finding, Place
from plugway_auto_mode._permissions import SHELLS, allows, forbids, mentions

Outcome = Literal["passed", "flagged", "none", "open"]


@dataclass(frozen=True, slots=True)
class Call:
    """A complete call, as the client receives it."""

    id: str
    name: str
    given: Mapping[str, Any] | None
    """Its arguments; None if they are not a JSON object, or too long to check."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on one call."""

    call: Call
    outcome: Outcome
    """`passed`: it runs without asking; `flagged`: the client denies it; `none`: no verdict;
    `open`: a judge may decide."""
    reason: str
    """For the user, and for the model, which may try another way."""
    quotes_call: bool = False
    """Whether the text in backticks in the reason is copied from the call."""


def decide(calls: Sequence[Call], context: Context, rules: Rules) -> list[Decision]:
    """One decision per call, in order.

    A shell keeps its working folder between calls: after a `cd` in one call, the folder of the
    next ones is unknown.
    """
    decisions: list[Decision] = []
    moved = False
    for call in calls:
        here = replace(context, place=replace(context.place, cwd="")) if moved else context
        decisions.append(_decided(call, here, rules))
        command = (call.given or {}).get("command")
        if call.name in SHELLS and (not isinstance(command, str) or changes_folder(command)):
            moved = True
    return decisions


def _decided(call: Call, context: Context, rules: Rules) -> Decision:
    given, place = call.given, context.place
    if given is None:
        return Decision(call, "none", "its arguments cannot be read")
    commands = _commands(call.name, given)
    denied, denies = _rule(context.deny, call.name, given, commands, place)
    if denied is not None and denies == "yes":
        return Decision(call, "flagged", f"your rule `{denied.text}` denies it")
    to_ask, asks = _rule(context.ask, call.name, given, commands, place)
    if to_ask is not None and asks == "yes":
        return Decision(call, "none", f"your rule `{to_ask.text}` requires asking you")
    finding = _finding(call.name, given, place, rules)
    if finding.answer == "harmful":
        return Decision(call, "flagged", finding.reason, quotes_call=True)
    if unsure := denied or to_ask:
        return Decision(call, "none", f"your rule `{unsure.text}` may apply to this file")
    if not context.known:
        return Decision(call, "none", "the client sent no context that this gateway understands")
    allowed = allows(context.allow, call.name, given, commands, place)
    if allowed is not None:
        return Decision(call, "passed", f"your rule `{allowed.text}` allows it")
    if finding.answer == "harmless":
        return Decision(call, "passed", finding.reason, quotes_call=True)
    return Decision(call, "open", finding.reason, quotes_call=True)


def _commands(name: str, given: Mapping[str, Any]) -> Sequence[str]:
    command = given.get("command")
    return simple_commands(command) if name == "Bash" and isinstance(command, str) else ()


def _rule(
    rules: Sequence[Rule],
    name: str,
    given: Mapping[str, Any],
    commands: Sequence[str],
    place: Place,
) -> tuple[Rule | None, Speaks]:
    """The rule that applies to the call, or to the file that it appends to: given a verdict, Claude
    Code 2.1.332 runs `echo x >> notes.txt` despite a rule to ask before `Edit(notes.txt)`. `maybe`
    for a file that another command may read, because its words may be more than a file."""
    rule, speaks = forbids(rules, name, given, commands, place)
    command = given.get("command")
    if speaks == "yes" or name != "Bash" or not isinstance(command, str):
        return rule, speaks
    written = appended_file(command, place)
    if not written:
        rule = rule or mentions(rules, possible_files(command), place)
        return rule, "no" if rule is None else "maybe"
    found = [forbids(rules, tool, {"file_path": written}, (), place) for tool in ("Edit", "Write")]
    return max(found, key=lambda one: ("no", "maybe", "yes").index(one[1]))


def _finding(name: str, given: Mapping[str, Any], place: Place, rules: Rules) -> Finding:
    if name not in SHELLS:
        return _tools.review(name, given, place)
    command = given.get("command")
    if not isinstance(command, str):
        return Finding("undecided", "the call has no command")
    finding = (review if name == "Bash" else review_powershell)(command, place, rules)
    if finding.answer == "harmless" and given.get("dangerouslyDisableSandbox"):
        return Finding("undecided", "it asks to run outside the sandbox")
    return finding

"""Constraints on a reply: schemas of tool calls, `tool_choice`, an output format.

See `_lark` for how a call is written as rules, and `_mask` for token masks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from plugway_local_engine._mask import (
    GrammarError,
    GrammarTokenizer,
    TokenMask,
    grammar_of_schema,
    grammar_problem,
    pattern_works,
)
from plugway_local_engine._tools import ToolChoice
from plugway_toolcalls import (
    JSON_STYLE,
    Family,
    Lark,
    NotWritable,
    PendingCall,
    SchemaTooLarge,
    Tool,
    any_object,
    own_format,
    prepare_schema,
)

ConstraintMode = Literal["free", "whole", "calls"]
_ANY_OBJECT: Final[dict[str, Any]] = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Constraint:
    """The constraints on one reply."""

    family: Family
    mode: ConstraintMode
    """What is constrained. `free`: nothing. `whole`: the visible reply from its start. `calls`:
    each call."""
    tools: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Names and prepared schemas of the tools that may be called."""
    format: Mapping[str, Any] | None = None
    """The prepared schema of the complete reply."""
    single: bool = False
    """Whether the reply ends after its first call."""
    banned: tuple[str, ...] = ()
    """Markers that start a call, if no call is allowed."""
    notes: tuple[str, ...] = ()
    """What was simplified, and why something is not enforced."""
    problems: list[str] = field(default_factory=list[str], compare=False)
    """What could not be enforced when a mask was made."""

    def whole(self, tokenizer: GrammarTokenizer) -> TokenMask | None:
        """The mask for the visible reply; None if it is not constrained from its start."""
        if self.mode != "whole":
            return None
        return self._mask(tokenizer, "the reply", None)

    def call(self, tokenizer: GrammarTokenizer, pending: PendingCall) -> TokenMask | None:
        """The mask for a call that has started, after the text that was already generated.

        None if its format is never enforced, or if that text does not match the grammar.
        """
        if self.mode == "free" or not self.tools:
            return None
        mask = self._mask(tokenizer, "the call", pending)
        return mask if mask is not None and mask.advance(pending.text) else None

    def gave_up(self, mask: TokenMask) -> None:
        """Take note that a mask could not go on, and why."""
        self.problems.append(f"the grammar was given up: {mask.failure}{self._suspect()}")

    def _mask(
        self, tokenizer: GrammarTokenizer, what: str, pending: PendingCall | None
    ) -> TokenMask | None:
        lark = Lark(tokenizer.special, tokenizer.split)
        try:
            start = self._call(lark, pending) if pending else self._whole(lark)
            return tokenizer.mask(lark.text(start))
        except NotWritable as error:
            self.problems.append(f"{what} is not constrained: {error}")
        except GrammarError as error:
            self.problems.append(f"{what} is not constrained: {error}{self._suspect()}")
        return None

    def _suspect(self) -> str:
        """The tool that a grammar of all of them fails for: each alone was tried."""
        if len(self.tools) == 0:
            return ""
        name, _ = max(self.tools, key=lambda tool: len(json.dumps(tool[1])))
        return f". The largest schema is that of `{name}`: simplify it, or offer fewer tools"

    def _whole(self, lark: Lark) -> str:
        options: list[str] = []
        if self.format is not None:
            options.append(lark.json(self.format))
        if self.tools:
            options.append(self._calls(lark))
        return " | ".join(options)

    def _calls(self, lark: Lark) -> str:
        spec = own_format(self.family)
        opening, closing = self.family.section
        calls = [lark.call(spec, name, schema) for name, schema in self.tools]
        call = lark.rule(" | ".join(calls))
        one = lark.rule(f"{lark.literal(spec.opening)} {call}")
        more = "" if self.single else f"({lark.literal(self.family.separator)} {one})*"
        first = one if self.family.recipients is None else f"({one} | {call})"  # the prompt opened
        return lark.rule(f"{lark.literal(opening)} {first} {more} {lark.literal(closing)}")

    def _call(self, lark: Lark, pending: PendingCall) -> str:
        header = self.family.header
        if header is not None and pending.opening.endswith(header.end):
            options = [lark.arguments(s) for name, s in self.tools if name in pending.opening]
            return f"({' | '.join(options)}) {lark.literal(header.closing)}" if options else '""'
        if (lines := self.family.recipients) is not None:
            named = pending.opening.removeprefix(lines.opening).rstrip("\n")
            options = [lark.arguments(schema) for name, schema in self.tools if name == named]
            return " | ".join(options) or '""'
        formats = [f for f in self.family.calls if f.opening == pending.opening and f.shape]
        if not formats:
            raise NotWritable(f"calls that start with {pending.opening!r} are only parsed")
        options = [lark.call(f, name, schema) for f in formats for name, schema in self.tools]
        return " | ".join(options)


def build_constraint(
    family: Family,
    tools: Sequence[Tool],
    choice: ToolChoice,
    *,
    schema: Mapping[str, Any] | None = None,
) -> Constraint:
    """The constraints on a reply. `schema` is that of `output_config.format`."""
    notes: list[str] = []
    allowed = _allowed(tools, choice, notes)
    prepared = tuple((tool.name, _tool_schema(tool, notes)) for tool in allowed)
    wanted = _format(schema, notes) if schema is not None else None
    forced = choice.mode in {"any", "tool"} and bool(prepared)
    if forced:
        wanted = None
    banned = _openings(family) if choice.mode == "none" else ()
    mode: ConstraintMode = "calls" if prepared else "free"
    if forced or wanted is not None:
        mode = "whole"
    single = not choice.parallel or choice.mode == "tool"
    return Constraint(family, mode, prepared, wanted, single, banned, tuple(dict.fromkeys(notes)))


def arguments_constraint(family: Family, tool: Tool) -> Constraint:
    """The arguments of one tool as JSON and nothing else, to decode a call again."""
    notes: list[str] = []
    return Constraint(family, "whole", format=_tool_schema(tool, notes), notes=tuple(notes))


def _allowed(tools: Sequence[Tool], choice: ToolChoice, notes: list[str]) -> Sequence[Tool]:
    if choice.mode == "none":
        return ()
    if choice.mode != "tool":
        return tools
    named = [tool for tool in tools if tool.name == choice.name]
    if not named:
        notes.append("drop tool_choice: there is no tool with that name")
    return named or tools


def _openings(family: Family) -> tuple[str, ...]:
    found: list[str] = [spec.opening for spec in family.calls if spec.opening]
    return tuple(dict.fromkeys([*found, *filter(None, family.section)]))


def _tool_schema(tool: Tool, notes: list[str]) -> dict[str, Any]:
    schema, found = _ready(tool.schema or _ANY_OBJECT, True)
    if schema.keys() & {"anyOf", "oneOf"}:
        found = (*found, "which branch the arguments match is checked afterwards, not enforced")
    notes += [f"translate tools.input_schema: of `{tool.name}`, {note}" for note in found]
    return schema


def _format(schema: Mapping[str, Any], notes: list[str]) -> dict[str, Any] | None:
    prepared, found = _ready(schema, False)
    notes += [f"translate output_config.format: {note}" for note in found]
    return prepared


_KEPT_CHARACTERS: Final = 32 * 1024
"""Maximum characters of a schema that is cached; up to a thousand are."""


def _ready(schema: Mapping[str, Any], is_object: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    key = _key(schema)
    prepared = _prepared if len(key) <= _KEPT_CHARACTERS else _prepared.__wrapped__
    return prepared(key, is_object)


def _key(schema: Mapping[str, Any]) -> str:
    try:
        prepare_schema(schema, "check")
    except (SchemaTooLarge, RecursionError) as error:
        return f"!{error}"
    return json.dumps(schema)


@lru_cache(maxsize=1024)
def _prepared(key: str, is_object: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A schema that is known to compile, and the changes made to it."""
    if key.startswith("!"):
        return any_object(), (f"not constrained: {key[1:]}",)
    raw: dict[str, Any] = json.loads(key)
    prepared = prepare_schema(raw, "grammar", pattern_works)
    schema = dict(prepared.schema)
    if is_object:
        schema["type"] = "object"
    problem = _problem(schema)
    if not problem:
        return schema, prepared.notes
    plain = dict(prepare_schema(raw, "grammar", lambda _: False).schema)
    if is_object:
        plain["type"] = "object"
    if not _problem(plain):
        return plain, (
            *prepared.notes,
            f"patterns are not enforced: the grammar rejects them ({problem})",
        )
    refused = f"not constrained: the grammar rejects the schema ({_problem(plain)})"
    return any_object(), (*prepared.notes, refused)


def _problem(schema: Mapping[str, Any]) -> str:
    return grammar_problem(grammar_of_schema({**schema, "x-guidance": JSON_STYLE}))

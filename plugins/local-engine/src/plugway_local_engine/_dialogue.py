"""Parse a model's output into text, reasoning and tool calls, and constrain it with grammars.

One `Output` per request; it runs in the generation loop, so its work per token must be small.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from plugway_local_engine._grammar import Constraint
from plugway_local_engine._mask import GrammarTokenizer, TokenMask
from plugway_toolcalls import (
    CallArguments,
    CallEnd,
    CallError,
    CallStart,
    Family,
    OutputParser,
    Part,
    TextDelta,
    ThinkingDelta,
    Tool,
    check_arguments,
)

if TYPE_CHECKING:
    from plugway_local_engine._contract import Logits

Op = list[Any]
MAX_REWINDS: Final = 1
_LONGEST_MARKER: Final = 40
"""Tokens after the last character that may start a marker, after which none can be open."""


class Output:
    """Parses one reply while it is generated."""

    def __init__(
        self,
        family: Family,
        tools: Sequence[Tool],
        constraint: Constraint,
        tokenizer: Callable[[], GrammarTokenizer],
        *,
        thinking: bool = False,
        prefix: str = "",
        budget: int | None = None,
        tokens_of: Callable[[str], Sequence[int]] = lambda _: (),
    ) -> None:
        """`tokenizer` is called when the first grammar is needed. `prefix` is the client's prefill.

        `budget` is the maximum number of reasoning tokens; `tokens_of` tokenizes the marker that
        ends the reasoning then.
        """
        self._new_parser = lambda: OutputParser(family, tools, thinking=thinking)
        self._parser = self._new_parser()
        self._schemas = {tool.name: tool.schema for tool in tools}
        self._constraint = constraint
        self._tokenizer = tokenizer
        self._mask: TokenMask | None = None
        self._masked = constraint.mode == "free"
        """Whether no constraint has to be started: there is none, it is active, or it failed."""
        self._banned = self._ids(constraint.banned)
        self._triggers = _first_characters(family)
        self._held = ""
        self._alert = _LONGEST_MARKER
        self._call: list[str] = []
        self._call_at: int | None = None
        """Number of tokens of the reply when the current call started."""
        self._tokens = 0
        self._rewinds = 0
        self._faulty: list[Op] = []
        self.calls = 0
        """Number of tool calls in the reply."""
        self.done = False
        """Whether the reply ends here, whatever the model would add."""
        self.rewind: int | None = None
        """Number of generated tokens to go back to, because the call after them is invalid."""
        self._budget = budget
        self._tokens_of = tokens_of
        self._forced: list[int] = []
        """Tokens that must come next, whatever the model would choose."""
        self._prefix = prefix
        if prefix:
            self._parser.feed(prefix)
        self._constrain()

    @property
    def restricted(self) -> bool:
        """Whether logits must be changed before the next choice."""
        return self._mask is not None or self._banned is not None or bool(self._forced)

    def restrict(self, logits: Logits) -> None:
        """Mask the tokens that may not come next."""
        if self._forced:
            kept = logits[self._forced[0]]
            logits[:] = -np.inf
            logits[self._forced[0]] = kept
            return
        if self._banned is not None:
            logits[self._banned] = -np.inf
        if self._mask is not None and not self._mask.apply(logits):
            self._constraint.gave_up(self._mask)
            self._mask = None

    def feed(self, text: str, token: int) -> list[Op]:
        """Add the next token, and the text that is final with it."""
        self._tokens += 1
        if self._mask is not None and not self._mask.accept(token):
            self._mask = None
        if self._forced:
            del self._forced[0]
        elif self._budget is not None and self._parser.mode == "thinking":
            self._spend()
        if not text:
            return []
        self._held += text
        if self._calm(text):
            return []
        ops = self.drain()
        if self._call_is_over:
            ops += self._ops(self._parser.call_ended())
        self._constrain()
        return ops

    @property
    def _call_is_over(self) -> bool:
        """Whether the grammar of one call has ended, even if the reply may continue."""
        held = self._constraint.mode == "calls" and self._parser.mode == "call"
        return held and self._mask is not None and self._mask.stopped

    def _spend(self) -> None:
        """Count a reasoning token; the last one of the budget forces the end of reasoning."""
        assert self._budget is not None
        self._budget -= 1
        if self._budget <= 0:
            self._budget = None
            self._forced = list(self._tokens_of(self._parser.closing))

    def drain(self) -> list[Op]:
        """The operations for the text that was only collected so far."""
        if not self._held:
            return []
        held, self._held = self._held, ""
        return self._ops(self._parser.feed(held))

    def _calm(self, text: str) -> bool:
        """Whether the parser may get this text later, with more: no marker can start in it.

        Searching for markers takes longer than all other work per token.
        """
        if self._parser.mode not in ("text", "thinking") or not self._masked_or_waiting:
            return False
        if self._triggers.isdisjoint(text):
            self._alert -= 1
        else:
            self._alert = _LONGEST_MARKER
        return self._alert < 0

    @property
    def _masked_or_waiting(self) -> bool:
        """Whether no grammar for the whole reply has to be started first."""
        return self._masked or self._constraint.mode == "calls"

    def finish(self, text: str, *, cut: bool = False) -> list[Op]:
        """The last operations. `cut`: the model had not ended its reply itself, so an unclosed call
        is left out."""
        self._held += text
        ops = [*self.drain(), *self._ops(self._parser.finish(cut=cut))]
        self.rewind = None
        faulty, self._faulty = self._faulty, []
        notes: list[Op] = [["note", text] for text in dict.fromkeys(self._constraint.problems)]
        return [*faulty, *ops, *notes]

    def rewound(self, text: str, tokens: int) -> None:
        """The reply now ends after `tokens` tokens, whose text is `text`."""
        self._rewinds += 1
        self.rewind, self._faulty, self._call = None, [], []
        back, self._tokens = self._tokens - tokens, tokens
        self._held, self._alert = "", _LONGEST_MARKER
        self._parser = self._new_parser()
        self._parser.feed(self._prefix + text)
        if self._constraint.mode == "calls":
            self._mask, self._masked = None, False
        elif self._mask is not None and not self._mask.rollback(back):
            self._mask = None
        self._call_at = None
        self._constrain()

    def give_up(self) -> list[Op]:
        """Keep the model's output unchanged, because it cannot be decoded again."""
        self.rewind = None
        faulty, self._faulty = self._faulty, []
        return faulty

    # Grammar

    def _constrain(self) -> None:
        """Start a grammar if one is needed here."""
        constraint, mode = self._constraint, self._parser.mode
        if mode != "call":
            self._call_at = None
        elif self._call_at is None:
            self._call_at = self._tokens
        if constraint.mode == "whole" and not self._masked and mode != "thinking":
            self._mask, self._masked = constraint.whole(self._tokenizer()), True
        elif constraint.mode == "calls" and mode != "call":
            self._mask, self._masked = None, False
        elif constraint.mode == "calls" and not self._masked:
            pending = self._parser.pending
            assert pending is not None
            self._mask, self._masked = constraint.call(self._tokenizer(), pending), True

    def _ids(self, texts: Sequence[str]) -> Any:
        if not texts:
            return None
        special = self._tokenizer().special
        ids = [special[text] for text in texts if text in special]
        return np.array(ids, np.int64) if ids else None

    # Parts

    def _ops(self, parts: Sequence[Part]) -> list[Op]:
        ops: list[Op] = []
        for part in parts:
            if self.done:
                break
            match part:
                case TextDelta(text):
                    ops.append(["text", text])
                case ThinkingDelta(text):
                    ops.append(["thinking", text])
                case CallStart(name):
                    self._call = [name]
                case CallArguments(fragment):
                    self._call.append(fragment)
                case CallEnd():
                    ops += self._finish_call()
                case CallError(cut=True):
                    ops.append(["cut"])
                case CallError(text):
                    ops += self._or_again([["text", text]])
        return ops

    def _finish_call(self) -> list[Op]:
        name, arguments = self._call[0], "".join(self._call[1:])
        op: Op = ["tool", name, arguments]
        if check_arguments(self._schemas.get(name, {}), arguments):
            ops = self._or_again([op])
            if not ops:
                return []
        self.calls += 1
        # Another call that was parsed together with this one cannot be decoded again on its own.
        self._call_at = None
        self.done = self._constraint.single
        return [op]

    def _or_again(self, ops: list[Op]) -> list[Op]:
        """`ops`, or nothing if the call is decoded again first."""
        if self._rewinds >= MAX_REWINDS or self._call_at is None or self.rewind is not None:
            return ops
        self.rewind, self._faulty = self._call_at, ops
        return []


def _first_characters(family: Family) -> frozenset[str]:
    """Characters that can start anything but plain text; `{` and `[` start calls without marker."""
    markers = [*family.noise, *family.stops, *family.section, "{", "["]
    markers += [marker for pair in family.reasoning for marker in pair]
    markers += [spec.opening for spec in family.calls]
    if family.header is not None:
        markers += family.header.openings
    return frozenset(marker[0] for marker in markers if marker)


def schema_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON schema for the whole reply, if the client sent one."""
    for holder in (body.get("output_config"), {"format": body.get("output_format")}):
        wanted: Any = holder.get("format") if isinstance(holder, Mapping) else None  # pyright: ignore
        if isinstance(wanted, Mapping) and wanted.get("type") == "json_schema":  # pyright: ignore
            schema: Any = wanted.get("schema")  # pyright: ignore
            if isinstance(schema, Mapping):
                return schema  # pyright: ignore
    return None

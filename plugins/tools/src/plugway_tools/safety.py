"""Runs calls of held tools when nobody can be asked: rules before each call, a record after it.

1. After a result that may contain text from outside, no call of the same loop writes or runs: what
   a page says must not act.
2. The plugins that judge calls come next. `denied` is final. What they leave undecided runs only if
   the configuration grants it.
3. Each call leaves a line in the log `plugway.tools` (who, which tool, a hash of the arguments, the
   outcome, milliseconds, the size of the result) and one on the receipt; neither has any contents.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from plugway import Exchange, as_list, as_object
from plugway_tools._progress import record_verdict
from plugway_tools._protocols import (
    HoldsTools,
    JudgesCalls,
    ToolCall,
    ToolResult,
    ToolSpec,
    Verdict,
    failed,
)
from plugway_tools._recorded import RunCall, record_run
from plugway_tools._round import Called

Outcome = Literal["ran", "failed", "stopped", "refused", "not run"]
log = logging.getLogger("plugway.tools")
_HASH: Final = 16


@dataclass(frozen=True, slots=True)
class Held:
    """A tool that a request may use."""

    spec: ToolSpec
    holder: HoldsTools
    granted: bool = False
    """The configuration grants it to the caller: it runs if no rule denies the call."""
    roots: tuple[Path, ...] = ()
    """See `ToolCall.roots`."""
    trusted: bool = False
    """The user trusts its results, although `ToolSpec.outside` says that others may write them."""


class SafeCalls:
    """The calls of one loop."""

    def __init__(
        self,
        exchange: Exchange,
        judges: Sequence[tuple[str, JudgesCalls]],
        note: Callable[[str], None],
        *,
        outside: str = "",
    ) -> None:
        """`judges` with their names; `note` writes on the receipt. `outside` names the source of
        content from outside that the conversation has already."""
        self._exchange = exchange
        self._judges = judges
        self._note = note
        self._outside = outside
        self._recorded: set[str] = set()

    async def run(self, held: Held, call: Called) -> ToolResult:
        """The result of a call, which may be a refusal. Raises what the holder raises."""
        spec = held.spec
        arguments = call.arguments or {}
        made = ToolCall(call.id, call.name, arguments, self._exchange, held.roots)
        if refusal := self._refusal(held, made):
            self.record(call, failed(refusal), "refused")
            return failed(f"Not run: {refusal}.")
        began = time.monotonic()
        outcome: Outcome = "failed"
        result = failed("")
        try:
            result = await held.holder.run_tool(made)
            outcome = "failed" if result.is_error else "ran"
        except asyncio.CancelledError:
            outcome = "stopped"
            raise
        finally:
            if spec.outside and not held.trusted:
                self._outside = self._outside or f"`{spec.name}`"
            self.record(call, result, outcome, time.monotonic() - began)
        return result

    def record(
        self, call: Called, result: ToolResult, outcome: Outcome = "not run", seconds: float = 0.0
    ) -> None:
        """Record a call, once. Call it for each result: the loop itself refuses some calls."""
        if call.id in self._recorded:
            return
        self._recorded.add(call.id)
        ms, size = round(seconds * 1000, 1), _size(result)
        self._note(f"`{call.name[:64]}` {outcome} ({ms:g} ms, {size:,} characters)")
        made = RunCall(call.name[:64], outcome, _hash(call.arguments), ms, size)
        record_run(self._exchange, made)
        fields = {
            "request_id": self._exchange.id,
            "caller": self._exchange.caller.name,
            "tool": made.name,
            "arguments": made.arguments,
            "outcome": outcome,
            "ms": ms,
            "size": size,
        }
        log.info("tool `%s`: %s", call.name[:64], outcome, extra=fields)

    def _refusal(self, held: Held, call: ToolCall) -> str:
        """Why the call is not run, as a clause; empty if it is."""
        spec = held.spec
        if self._outside and spec.effect != "read":
            return (
                f"{self._outside} brought text that others may have written, and after that no "
                "tool of this request may write or run anything. Say what you wanted to do, so "
                "that the user can ask for it in a request of its own"
            )
        verdict = self._verdict(call, spec)
        if self._judges:
            record_verdict(self._exchange, spec.name, verdict)
        if verdict.kind == "denied":
            return verdict.reason
        if verdict.kind == "undecided" and not held.granted:
            return f"nobody granted it and no rule allows it ({verdict.reason})"
        return ""

    def _verdict(self, call: ToolCall, spec: ToolSpec) -> Verdict:
        """The strictest verdict: a denial counts before anything else."""
        verdicts = [judge.judge_call(call, spec) for _, judge in self._judges]
        for kind in ("denied", "allowed"):
            for verdict in verdicts:
                if verdict.kind == kind:
                    return verdict
        return verdicts[0] if verdicts else Verdict("undecided", "no plugin judges calls")


def outside_in(messages: Any) -> str:
    """The source of content from outside in a conversation, as text: results of tools. Empty if
    there is none."""
    for message in map(as_object, as_list(messages)):
        for block in map(as_object, as_list(message.get("content"))):
            if str(block.get("type")).endswith("tool_result"):
                return "an earlier tool of the conversation"
    return ""


def _hash(arguments: Mapping[str, Any] | None) -> str:
    raw = orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(raw).hexdigest()[:_HASH]


def _size(result: ToolResult) -> int:
    return sum(
        len(str(block.get("text") or as_object(block.get("source")).get("data") or ""))
        for block in result.content
    )

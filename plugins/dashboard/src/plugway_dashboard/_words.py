"""What an exchange does now, in words, and what it has done, as JSON."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from plugway import Exchange, Outcome, Usage
from plugway_dashboard._running import Running
from plugway_local_models import Progress, TellsProgress
from plugway_tools import RunningTool, asking_since, own_usages, running_tools, verdicts_of

Phase = Literal["preparing", "waiting", "loading", "queued", "reading", "writing", "tool"]

_CHARACTERS_PER_TOKEN: Final = 4
_RATE_SECONDS: Final = 1.0
"""Shortest time from which a rate is computed."""
_MOST_FAILURE: Final = 200
_TWICE: Final = re.compile(r"^(\d{3}) refused with status \1\b")
"""The status and the words of an upstream's refusal, which repeat it."""
_PAST: Final = {
    "set": "set",
    "add": "added",
    "remove": "removed",
    "drop": "dropped",
    "emulate": "emulated",
}
_CHANGE: Final = re.compile(rf"({'|'.join(_PAST)}) (header:\S+|\S+?): (.+)", re.DOTALL)
log = logging.getLogger("plugway.dashboard")


class Doing(NamedTuple):
    """What an exchange does now."""

    phase: Phase
    target: str = ""
    what: str = ""
    """More than the phase says; may be empty while it waits."""
    read: int = 0
    of: int = 0
    """Tokens of the prompt that are read, while they are."""
    written: int | None = None
    """Tokens of the reply; None if they are not counted."""
    since: float | None = None
    """When it began, if that is not when the attempt began or had content (monotonic)."""

    @property
    def words(self) -> str:
        """A short text for people."""
        match self.phase:
            case "waiting":
                return f"waiting for {self.target}" + (self.what and f" ({self.what})")
            case "loading":
                return f"waiting for {self.target}: {self.what}"
            case "queued":
                return f"{self.what} at {self.target}"
            case _:
                return self.what


def doing(running: Running, now: float) -> Doing:
    """What it does at `now` (monotonic)."""
    attempt, failed = running.attempt, _failure(running)
    if attempt is None:
        return Doing("preparing", what=f"next {failed}" if failed else "preparing the request")
    if tools := running_tools(running.exchange):
        return _in_tools([*tools.values()], attempt.target, now)
    known, target = _known(running) or Progress(), attempt.target
    if known.loading:
        return Doing("loading", target, f"loading the model {known.loading}")
    if known.ahead is not None:
        others = "1 request" if known.ahead == 1 else f"{known.ahead} requests"
        return Doing("queued", target, f"queued behind {others}")
    if known.read < known.of:
        what = f"reading the prompt: {known.read:,} of {known.of:,} tokens"
        return Doing("reading", target, what, known.read, known.of)
    if (since := asking_since(running.exchange)) is not None:
        return Doing("waiting", target, "asked again, with the results of tools", since=since)
    if running.first is None:
        return Doing("waiting", target, failed)
    return _writing(running, running.first, known, now)


def running_data(running: Running, now: float) -> dict[str, Any]:
    """A running exchange as JSON-ready data; times in seconds."""
    exchange, attempt = running.exchange, running.attempt
    state = doing(running, now)
    first = running.first
    tools = running_tools(exchange).values()
    since = state.since or (running.since if first is None else first)
    return {
        "request_id": exchange.id,
        "caller": exchange.caller.name,
        "session_id": exchange.session_id,
        "agent_id": exchange.agent_id,
        "parent_agent_id": exchange.parent_agent_id,
        "model_asked": exchange.model_asked,
        "client": exchange.client[:100],
        "target": attempt.target if attempt else None,
        "zone": attempt.backend.zone if attempt else None,
        "attempts": len(exchange.attempts) + (attempt is not None and first is None),
        "phase": state.phase,
        "state": state.words,
        "prompt": running.prompt,
        "read": state.read,
        "of": state.of,
        "written": state.written,
        "seconds": round(now - exchange.started, 1),
        "phase_seconds": round(now - since, 1),
        "tools": [{"name": one.name, "seconds": round(now - one.since, 1)} for one in tools],
        "first_content_seconds": None if first is None else round(first - exchange.started, 2),
    }


def _in_tools(tools: Sequence[RunningTool], target: str, now: float) -> Doing:
    since = min(one.since for one in tools)
    names = ", ".join(f"`{name}`" for name in list(dict.fromkeys(one.name for one in tools))[:3])
    kind = "the tool" if len(tools) == 1 else f"{len(tools)} tools:"
    what = f"running {kind} {names} for {now - since:.0f} s"
    return Doing("tool", target, what, since=since)


def _writing(running: Running, first: float, known: Progress, now: float) -> Doing:
    target = running.attempt.target if running.attempt else ""
    if not known.written and running.wrote is None:
        return Doing("writing", target, "writing")
    tokens = known.written or (running.wrote or 0) // _CHARACTERS_PER_TOKEN
    what = f"writing: {'' if known.written else 'about '}{tokens:,} tokens"
    if now - first >= _RATE_SECONDS:
        what += f", {tokens / (now - first):.0f} tokens/s"
    return Doing("writing", target, what, written=tokens)


def _failure(running: Running) -> str:
    """`attempt 2: the first failed with ...`; empty if none has failed just before."""
    attempts = running.exchange.attempts
    if not attempts or attempts[-1].result == "answered":
        return ""
    which = "first" if len(attempts) == 1 else "last"
    failed = _TWICE.sub(r"\1", attempts[-1].result)[:_MOST_FAILURE]
    return f"attempt {len(attempts) + 1}: the {which} failed with {failed}"


def _known(running: Running) -> Progress | None:
    """What the engine says, if it tells."""
    attempt = running.attempt
    if attempt is None or not isinstance(attempt.backend, TellsProgress):
        return None
    try:
        return attempt.backend.progress_of(attempt)
    except Exception:  # another plugin's code; what it does is shown without its progress
        log.exception("`%s` failed to tell how far a request is", attempt.backend.name)
        return None


def sentence(entry: Mapping[str, Any]) -> str:
    """An entry of a receipt as a sentence."""
    plugin, what = entry.get("plugin"), str(entry.get("what"))
    if found := _CHANGE.match(what):
        action, field, because = found.groups()
        return f"{plugin} {_PAST[action]} {field}: {because}"
    return f"{plugin}: {what}"


def waiting_line(running: Running, now: float) -> str:
    """The line of the log for an exchange that waits at `now` (monotonic)."""
    state = doing(running, now)
    target = state.target or running.exchange.model_asked
    seconds = now - running.exchange.started
    return f"waits {int(seconds)} s for {target}: {state.what or 'no content yet'}"


def exchange_data(exchange: Exchange, outcome: Outcome) -> dict[str, Any]:
    """One exchange as JSON-ready data: receipt, outcome and times in seconds, without content."""
    usage = outcome.usage if own_usages(exchange, outcome) else Usage()
    served = exchange.served_by
    return {
        **exchange.summary(),
        "parent_agent_id": exchange.parent_agent_id,
        "endpoint": exchange.endpoint,
        "client": exchange.client[:100],
        "ended": round(time.time(), 3),
        "outcome": outcome.kind,
        "status": outcome.status,
        "error": outcome.error[:500],
        "served_by": served.target if served else None,
        "zone": served.backend.zone if served else None,
        "seconds": round(outcome.seconds, 4),
        "first_content_seconds": outcome.first_content_seconds
        and round(outcome.first_content_seconds, 4),
        "stop_reason": outcome.stop_reason,
        "verdicts": [one._asdict() for one in verdicts_of(exchange)],
        "usage": {
            "input": usage.input_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_creation": usage.cache_creation_tokens,
            "output": usage.output_tokens,
        },
    }

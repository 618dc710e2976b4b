"""The choice: what fits, what is fast enough, what is cheapest. Pure functions.

Order: endpoints that fit the conversation and work; of those, the ones that answer within the
patience as measured; of those, the cheapest, then the fastest. If none measured is fast enough,
one without measurements comes before one that is known to be slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from plugway_endpoints import Advice, Endpoint, Needs
from plugway_recommend._speeds import Speed


@dataclass(frozen=True, slots=True)
class Candidate:
    """An endpoint with all that is known about it."""

    endpoint: Endpoint
    speed: Speed
    seconds: float | None
    """Expected time of the next reply; None without measurements."""
    dollars: float | None
    """Expected cost of the next reply; None if no price is known."""
    failing: bool
    here: bool
    """It serves the conversation now."""


def choose(
    candidates: Sequence[Candidate], needs: Needs, patience: float, answer_tokens: int
) -> Advice:
    """The best of the candidates, with the reason and a line for each other."""
    out = {c.endpoint.id: why_out(c, needs, answer_tokens) for c in candidates}
    fit = [c for c in candidates if not out[c.endpoint.id]]
    lines = [f"`{id_}`: {why}" for id_, why in out.items() if why]
    if not fit:
        reason = f"No configured endpoint fits {_conversation(needs)}."
        return Advice(None, reason, tuple(lines))
    fit.sort(key=lambda c: (*_rank(c, patience), _lacks_thinking(c, needs), c.endpoint.id))
    best, others = fit[0], fit[1:]
    lines = [f"`{c.endpoint.id}`: {_known(c)}" for c in others] + lines
    return Advice(best.endpoint, _reason(best, others, needs, patience), tuple(lines))


def why_out(candidate: Candidate, needs: Needs, answer_tokens: int) -> str:
    """Why an endpoint does not fit; empty if it does.

    What a backend does not state about itself does not count against it.
    """
    info = candidate.endpoint.info
    window = info.context_tokens
    if window and needs.tokens + answer_tokens > window:
        return f"its window of {window:,} tokens is too small for {needs.tokens:,}"
    if needs.tools and info.extra.get("side_requests_only"):
        return "it is for titles and small chats, not for conversations with tools"
    if info.capabilities:
        wanted = (("tools", needs.tools), ("images", needs.images))
        missing = [what for what, asked in wanted if asked and what not in info.capabilities]
        if missing:
            return f"it does not support {' and '.join(missing)}, which the conversation needs"
    if candidate.failing:
        return f"its last {candidate.speed.failures} requests failed"
    return ""


def _rank(candidate: Candidate, patience: float) -> tuple[object, ...]:
    seconds = candidate.seconds
    grade = 1 if seconds is None else 0 if seconds <= patience else 2
    dollars = candidate.dollars
    price = (dollars is None, dollars or 0.0)
    time = float("inf") if seconds is None else seconds
    unknown_window = not candidate.endpoint.info.context_tokens
    if grade == 2:
        return (grade, time, *price)
    return (grade, unknown_window, *price, time, not candidate.here)


def _lacks_thinking(candidate: Candidate, needs: Needs) -> bool:
    """It lacks thinking, which clients always request, so this alone rules nothing out."""
    able = candidate.endpoint.info.capabilities
    return needs.thinking and bool(able) and "thinking" not in able


def _reason(best: Candidate, others: Sequence[Candidate], needs: Needs, patience: float) -> str:
    info = best.endpoint.info
    window = f" in its window of {info.context_tokens:,}" if info.context_tokens else ""
    parts = [f"{_conversation(needs)} fits{window}"]
    numbers = _numbers(best)
    parts.append(numbers or "it has not been measured yet")
    if info.context_tokens and (passed_over := next(filter(_free_but_unknown, others), None)):
        parts.append(
            f"`{passed_over.endpoint.id}` costs nothing, but its window is unknown: set it "
            "under `windows` of `context-guard`"
        )
    if _lacks_thinking(best, needs):
        parts.append("it does not support thinking, which the client requests")
    slower = [c for c in others if c.seconds is not None and c.seconds > patience]
    if best.seconds is not None and best.seconds > patience:
        parts.append("no other endpoint is known to be faster")
    elif slower:
        parts.append(f"`{slower[0].endpoint.id}` would take {_time(slower[0].seconds or 0)}")
    dearer = [c for c in others if (c.dollars or 0) > (best.dollars or 0)]
    if dearer and not slower:
        parts.append(f"`{dearer[0].endpoint.id}` would cost {_money(dearer[0].dollars or 0)}")
    verb = "Stay with" if best.here else "Use"
    return f"{verb} `{best.endpoint.id}`: {'; '.join(parts)}."


def _conversation(needs: Needs) -> str:
    about = "" if needs.counted else "about "
    having = [w for w, has in (("tools", needs.tools), ("images", needs.images)) if has]
    extra = f" with {' and '.join(having)}" if having else ""
    return f"a conversation of {about}{needs.tokens:,} tokens{extra}"


def _free_but_unknown(candidate: Candidate) -> bool:
    """It is free, but it is unknown whether the conversation fits."""
    return candidate.dollars == 0 and not candidate.endpoint.info.context_tokens


def _known(candidate: Candidate) -> str:
    """What is known of an endpoint that was not chosen."""
    numbers = _numbers(candidate) or "not measured yet"
    known = candidate.endpoint.info.context_tokens
    return numbers if known else f"{numbers}; its window is unknown"


def _numbers(candidate: Candidate) -> str:
    parts: list[str] = []
    speed = candidate.speed
    if candidate.seconds is not None:
        speeds = [f"{speed.prefill:,.0f} tokens/s in"] if speed.prefill else []
        speeds.append(f"{speed.decode:,.0f} out")
        parts.append(f"a reply takes about {_time(candidate.seconds)} ({', '.join(speeds)})")
    elif speed.first_seconds or speed.prefill:
        first = f"after about {_time(speed.first_seconds)}" if speed.first_seconds else ""
        read = f"at {speed.prefill:,.0f} tokens/s in" if speed.prefill else ""
        heard = " or ".join(filter(None, (first, read)))
        parts.append(f"its first words come {heard}; its replies were too short to time the rest")
    if candidate.dollars is not None:
        parts.append(f"it costs {_money(candidate.dollars)}")
    return " and ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:,.0f} s"


def _money(dollars: float) -> str:
    if not dollars:
        return "nothing"
    return f"${dollars:.4f}" if dollars < 0.01 else f"${dollars:.2f}"

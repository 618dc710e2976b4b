"""The options: what a user writes."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class JudgeOptions(Options):
    """A model that is asked about calls that the rules leave open."""

    model: str = Field(min_length=1)
    """The model's id, as clients see it: `INSTANCE/MODEL`, or what the router knows."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=120)
    """How long all questions about one answer may take together."""
    allow_zones: tuple[str, ...] = ()
    """Zones besides the conversation's own and this machine that the user's words and the calls may
    be sent to."""


class AutoModeOptions(Options):
    """Options of `auto-mode`."""

    trust: tuple[str, ...] = ()
    """Commands of the project that may run unasked, such as `pytest` or `npm test`: the words that
    a command begins with. They never make a known harmful command run."""
    harmless: tuple[str, ...] = ()
    """Further commands that only read, such as `kubectl get *`; what is known to be harmful stays
    so."""
    harmful: tuple[str, ...] = ()
    """Further commands that are never to run unasked, such as `terraform apply *`."""
    judge: JudgeOptions | None = None
    """A model that is asked about the rest. Without one, the rest gets no verdict."""
    ask_user: bool = True
    """Have interactive sessions ask their user about a call that got no verdict. Without it such a
    call is not run, and nobody is asked. Print mode cannot ask."""
    trusted_backends: tuple[str, ...] = ()
    """Backends whose own verdicts are passed on, besides Anthropic's: gateways and servers that you
    run and that answer `safeguards` themselves."""

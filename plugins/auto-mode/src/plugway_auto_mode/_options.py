"""The options, as a user writes them."""

from __future__ import annotations

from pydantic import Field

from plugway import Options


class JudgeOptions(Options):
    """Options of `judge`."""

    model: str = Field(min_length=1)
    """Id of the judging model, as clients see it: `INSTANCE/MODEL`, or a name of the router."""
    timeout_seconds: float = Field(default=30.0, gt=0, le=120)
    """Time limit for all questions about one reply."""
    allow_zones: tuple[str, ...] = ()
    """Zones that the user's words and the calls may be sent to, besides this machine and the
    conversation's own zone."""


class AutoModeOptions(Options):
    """Options of `auto-mode`."""

    trust: tuple[str, ...] = ()
    """Commands of the project that may run without asking, such as `pytest` or `npm test`: the
    first words of a command. They cannot allow commands that are known to be harmful."""
    harmless: tuple[str, ...] = ()
    """More commands that only read, such as `kubectl get *`; they cannot allow commands that are
    known to be harmful."""
    harmful: tuple[str, ...] = ()
    """More commands that never run without asking, such as `terraform apply *`."""
    judge: JudgeOptions | None = None
    """A model that judges the remaining calls. Without one, they get no verdict."""
    ask_user: bool = True
    """Let interactive sessions ask their user about a call without a verdict. If false, such a
    call is rejected without asking. Print mode cannot ask."""
    trusted_backends: tuple[str, ...] = ()
    """Backends other than Anthropic's whose own verdicts are passed on: gateways and servers that
    you run and that answer `safeguards` themselves."""

"""What a request of the running gateway waits for, as its plugin `dashboard` says."""

from __future__ import annotations

from typing import Final, NamedTuple

from plugway import LocalGateway, PlugwayError, as_list, as_object

RUNNING: Final = f"/dashboard/exchanges?after={10**18 - 1}"
"""What runs, without what has ended."""
_LONGEST: Final = 120


class Waiting(NamedTuple):
    """The request that has waited longest for its first content."""

    state: str
    """Such as `reading the prompt: 12,400 of 48,000 tokens`."""
    phase: str
    """A word for it, which stays the same while numbers change."""
    seconds: float
    others: int
    """Number of other requests that wait."""

    @property
    def words(self) -> str:
        """It, in words."""
        more = f", and {self.others} more" if self.others else ""
        return f"{self.state}, {self.seconds:.0f} s{more}"


def waiting(gateway: LocalGateway, session: str | None = None) -> Waiting | None:
    """What waits, in one conversation or in all; None if nothing does, or if that is unknown."""
    try:
        document = as_object(gateway.ask("GET", RUNNING))
    except PlugwayError:
        return None  # without `dashboard`
    found = [
        item
        for item in map(as_object, as_list(document.get("running")))
        if item.get("first_content_seconds") is None
        and session in (None, item.get("session_id"))
        and isinstance(item.get("seconds"), int | float)
    ]
    if not found:
        return None
    longest = max(found, key=lambda item: item["seconds"])
    state = "".join(c for c in str(longest.get("state", ""))[:_LONGEST] if c.isprintable())
    phase = f"{longest.get('phase')} {longest.get('attempts')}"
    return Waiting(state, phase, longest["seconds"], len(found) - 1)

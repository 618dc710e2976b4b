"""Explain why a prompt was or was not reused: where it changed, and how much was lost.

The notes contain none of the conversation's text, because they are recorded.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from plugway_local_engine._slots import SlotTable, common_prefix

if TYPE_CHECKING:
    from plugway_local_engine._contract import Tokens
    from plugway_local_engine._job import Job
    from plugway_local_engine._prefix import Found
    from plugway_local_engine._states import SavedState

_WORTH_TELLING: Final = 256


def explain_reuse(
    slots: SlotTable, states: Sequence[SavedState], job: Job, found: Found
) -> list[str]:
    """Notes for the receipt: the source of the reused prefix, and a miss of this conversation."""
    notes: list[str] = []
    total = len(job.prompt)
    if found.length:
        notes.append(
            f"prefix: {found.length:,} of {total:,} tokens reused ({_SOURCES[found.source]})"
        )
    nearest = _nearest(slots, states, job)
    if nearest is None:
        return notes
    common = common_prefix(nearest, job.prompt)
    lost = len(nearest) - found.length
    if lost < _WORTH_TELLING or common == total:
        return notes
    note = f"prefix: {lost:,} tokens of this conversation are computed again"
    if common < len(nearest):
        note += f": it differs from token {common:,} of {len(nearest):,} on, {_place(job, common)}"
    if found.length < common:
        note += f"; the model can only continue from token {found.length:,}"
    return [*notes, note]


_SOURCES: Final = {
    "slot": "live",
    "copy": "shared with another request",
    "memory": "from memory",
    "disk": "from disk",
    "none": "nowhere",
}


def _nearest(slots: SlotTable, states: Sequence[SavedState], job: Job) -> Tokens | None:
    """The tokens of this conversation: same owner, and either much in common or as long."""
    best: tuple[int, Tokens] | None = None
    known = [(s.owner, s.content) for s in slots.slots] + [(s.owner, s.tokens) for s in states]
    for owner, content in known:
        if len(content) < _WORTH_TELLING or owner != job.owner:
            continue
        common = common_prefix(content, job.prompt)
        # A shorter request of the same session, such as one for a title, is not a miss.
        if 2 * common < len(content) and len(job.prompt) < 0.8 * len(content):
            continue
        if best is None or common > best[0]:
            best = (common, content)
    return best[1] if best else None


def _place(job: Job, token: int) -> str:
    """The place of a prompt token in the request, without its text."""
    ended = bisect.bisect_right(job.messages, token)
    if not ended:
        return "in the tools, the system prompt or the first message"
    return f"after {ended} of {len(job.messages)} texts of the messages"

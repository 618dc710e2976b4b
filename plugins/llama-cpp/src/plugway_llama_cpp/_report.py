"""Says why a prompt was or was not reused: what changed, at which token, how much was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from plugway_llama_cpp._slots import Slot, SlotTable, common_prefix

if TYPE_CHECKING:
    from plugway_llama_cpp._binding import Model, Tokens
    from plugway_llama_cpp._job import Job
    from plugway_llama_cpp._prefix import Found

_WORTH_TELLING: Final = 256
_CONTEXT: Final = 12


def explain_reuse(slots: SlotTable, job: Job, found: Found, model: Model) -> list[str]:
    """Notes for the receipt: where the beginning comes from, and a miss of this conversation."""
    notes: list[str] = []
    total = len(job.prompt)
    if found.length:
        notes.append(
            f"prefix: {found.length:,} of {total:,} tokens reused ({_SOURCES[found.source]})"
        )
    nearest = _nearest(slots, job)
    if nearest is None:
        return notes
    common = common_prefix(nearest.content, job.prompt)
    lost = nearest.length - found.length
    if lost < _WORTH_TELLING or common == total:
        return notes
    note = f"prefix: {lost:,} tokens of this conversation are computed again"
    if common < nearest.length:
        was = _text(model, nearest.content[common:])
        now = _text(model, job.prompt[common:])
        note += f": at token {common:,} it says `{now}` where it said `{was}`"
    if found.length < common:
        note += f"; the model can only go on from token {found.length:,}"
    return [*notes, note]


_SOURCES: Final = {
    "slot": "live",
    "copy": "shared with another request",
    "memory": "from memory",
    "disk": "from disk",
    "none": "nowhere",
}


def _nearest(slots: SlotTable, job: Job) -> Slot | None:
    """The slot that held this conversation: same owner, and either much in common or as long."""
    best: tuple[int, Slot] | None = None
    for slot in slots.slots:
        if slot.length < _WORTH_TELLING or slot.owner != job.owner:
            continue
        common = common_prefix(slot.content, job.prompt)
        # A shorter request of the same session, such as one for a title, is no miss.
        if 2 * common < slot.length and len(job.prompt) < 0.8 * slot.length:
            continue
        if best is None or common > best[0]:
            best = (common, slot)
    return best[1] if best else None


def _text(model: Model, tokens: Tokens) -> str:
    if len(tokens) and tokens[0] < 0:
        return "(an image)"
    data = b"".join(model.piece(int(token)) for token in tokens[:_CONTEXT] if token >= 0)
    text = data.decode("utf-8", "replace").replace("\n", "\\n")
    return text[:40]

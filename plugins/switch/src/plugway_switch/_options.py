"""What a user may set."""

from __future__ import annotations

from plugway import Options


class SwitchOptions(Options):
    """Options of `switch`."""

    sentences: bool = True
    """Understand sentences such as `use my local model` too, not only the line `@plugway …`."""
    allow_zones: tuple[str, ...] = ()
    """Zones that a conversation may be switched into although it has never been there, `*` for any.
    This machine (`local`) and zones that have served the conversation need no consent."""
    warm: bool = True
    """After a switch to a backend on this machine, have it load the model and read the conversation
    while the user types."""

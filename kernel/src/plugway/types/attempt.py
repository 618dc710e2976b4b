"""One attempt of an exchange: what a backend gets in addition to the request."""

from __future__ import annotations

from typing import Any, Final

from plugway.types.backend import Backend
from plugway.types.exchange import Exchange
from plugway.types.request import MessagesRequest

_FIELDS: Final = ("backend", "model", "number", "first_event_seconds", "last", "exchange")


class Attempt:
    """One attempt of an exchange on one backend and model. Immutable; `replace` makes a copy."""

    __slots__ = ("target", *_FIELDS)

    def __init__(
        self,
        backend: Backend,
        model: str,
        number: int = 1,
        first_event_seconds: float | None = None,
        last: bool = True,
        exchange: Exchange | None = None,
    ) -> None:
        self.backend = backend
        self.model = model
        """The backend's own name of the model."""
        self.target = f"{backend.name}/{model}"
        """`instance/model`, as in routes, logs and errors."""
        self.number = number
        """1 for the first attempt of the exchange."""
        self.first_event_seconds = first_event_seconds
        """Time limit for the first content event; None for no limit."""
        self.last = last
        """No other target is left after this one."""
        self.exchange = exchange or Exchange(MessagesRequest(b"{}"))
        """The exchange, with its caller, conversation, subagent and receipt. A backend must keep
        data of a conversation by `session_id` and share it only within `caller.share`. By default,
        as in tests, an empty exchange of the owner."""

    def note(self, *lines: str) -> None:
        """Record on the receipt how the backend changed the request for its own API. Lines that are
        there already, as after a retry, are not added again."""
        self.exchange.note_once(self.backend.name, lines, stage="send")

    def replace(self, **changes: Any) -> Attempt:
        """A copy with some fields changed."""
        return Attempt(**({name: getattr(self, name) for name in _FIELDS} | changes))

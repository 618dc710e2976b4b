"""One try of an exchange on one backend and model: what a backend is told beside the request."""

from __future__ import annotations

from typing import Any, Final

from plugway.types.backend import Backend
from plugway.types.exchange import Exchange
from plugway.types.request import MessagesRequest

_FIELDS: Final = ("backend", "model", "number", "first_event_seconds", "last", "exchange")


class Attempt:
    """One try of an exchange on one backend and model. Immutable: `replace` makes another."""

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
        """`instance/model`: how routes, logs and errors name it."""
        self.number = number
        """1 for the first attempt of the exchange."""
        self.first_event_seconds = first_event_seconds
        """Limit on the wait for the first content event; None for the server's own."""
        self.last = last
        """No other target is left after this one."""
        self.exchange = exchange or Exchange(MessagesRequest(b"{}"))
        """The exchange: its caller, conversation, subagent and receipt. What a backend keeps of a
        conversation is kept under `session_id`, and for nobody but `caller.share`. Without one, as
        in a test, an empty one of the gateway's owner."""

    def note(self, *lines: str) -> None:
        """Put on the receipt what the backend did to the request on the way to its own API; a line
        that stands there already, as after a repeated send, is not added again."""
        name, receipt = self.backend.name, self.exchange.receipt
        for what in lines:
            if ("send", name, what) not in receipt:
                self.exchange.note(name, what, stage="send")

    def replace(self, **changes: Any) -> Attempt:
        """A copy with some fields changed."""
        return Attempt(**({name: getattr(self, name) for name in _FIELDS} | changes))

"""Shared by dialects whose requests some backends relay as they came."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Final

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    Exchange,
    MessagesRequest,
    Original,
    Relays,
    Reply,
    StateKey,
)
from plugway_wire.errors import client_status
from plugway_wire.protocols import implements

NOT_TRANSLATED: Final = "not translated: "
"""Prefix of the note on a request that only a server of the client's own API can handle."""
_KEPT: Final = frozenset(("retry-after", "retry-after-ms", "x-should-retry"))
"""Headers of an error that clients act on."""


def relays(request: MessagesRequest, attempt: Attempt) -> bool:
    """Whether the backend relays the client's bytes unchanged."""
    return implements(backend := attempt.backend, Relays) and backend.relays(request, attempt)


def is_translatable(original: Original) -> bool:
    """Whether the Messages API can express the whole request."""
    return not any(note.startswith(NOT_TRANSLATED) for note in original.notes)


def loses_only(losses: Iterable[str], rejected: Collection[str]) -> bool:
    """Whether translation loses nothing, apart from fields that the server rejects anyway."""
    notes = (note.partition(": ")[0].partition(" ") for note in losses)
    return all(
        action in ("emulate", "translate") or (action == "drop" and name in rejected)
        for action, _, name in notes
    )


class RelayedTargets:
    """Remembers which target received a client's bytes, to return its errors unchanged."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._target: StateKey[str] = StateKey(f"{plugin}.relayed")

    def add(self, attempt: Attempt, exchange: Exchange) -> None:
        """The target of `attempt` is about to receive them."""
        exchange.state[self._target] = attempt.target
        note = f"`{attempt.target}` receives the prompt as the client wrote it"
        exchange.note(self._plugin, note, stage="route")

    def error(
        self,
        failure: BackendError,
        attempt: Attempt,
        exchange: Exchange,
        is_own: Callable[[bytes], bool],
    ) -> Reply | None:
        """The upstream's error unchanged, unless it rejected the gateway's key.

        `is_own` recognizes an error of the client's API.
        """
        if exchange.state.get(self._target) != attempt.target or failure.status in (401, 403):
            return None
        if not isinstance(failure, BackendRefused) or not is_own(failure.body):
            return None
        kept = tuple(line for line in failure.headers if line[0] in _KEPT)
        headers = (*kept, ("content-type", "application/json"))
        return Reply.whole(client_status(failure.status), failure.body, headers=headers)

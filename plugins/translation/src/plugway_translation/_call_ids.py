"""Makes tool call ids unique within a conversation. Pure functions.

Clients identify a call by its id, and the Messages API rejects a request in which two calls have
the same id ("`tool_use` ids must be unique"). Yet some servers restart the numbers in each reply
(`Bash:0` of Kimi K2, `call_0`), or send no ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from plugway import as_list, as_object


def ids_of_calls(messages: Iterable[Any]) -> set[str]:
    """The ids of all calls in the conversation."""
    return {id_ for message in messages for id_ in _ids_in(message)}


class FreshIds:
    """Assigns ids to the calls of one reply that no earlier call has."""

    def __init__(self, back: Callable[[str], str], used: Iterable[str] = ()) -> None:
        """`back` converts a server's id to a Messages API id (`IdCodec.back`); `used` are the ids
        in the conversation so far."""
        self._back = back
        self._used = set(used)

    def of(self, call_id: str) -> str | None:
        """The id for a new call with the server's id `call_id`; None if `call_id` is empty, so that
        an `Emitter` creates one. Call it once for each call."""
        if not call_id:
            return None
        found = _free(self._back(call_id), self._used)
        self._used.add(found)
        return found


def _ids_in(message: Any) -> list[str]:
    blocks = map(as_object, as_list(as_object(message).get("content")))
    return [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]


def _free(id_: str, used: set[str]) -> str:
    """`id_`, with a numeric suffix if it is used."""
    found, number = id_, 1
    while found in used:
        number += 1
        found = f"{id_}-{number}"
    return found

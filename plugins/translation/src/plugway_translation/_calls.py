"""Ids of tool calls that stand for one call each, in the whole of a conversation. Pure functions.

Clients keep what they know of a call by its id, and the Messages API refuses a request in which two
calls have the same ("`tool_use` ids must be unique"). Servers number their calls anew in each
answer all the same (`Bash:0` of Kimi K2, `call_0`), or give them no id at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from plugway import as_list, as_object


def ids_of_calls(messages: Iterable[Any]) -> set[str]:
    """The ids of all calls in the conversation."""
    return {id_ for message in messages for id_ in _ids_in(message)}


class FreshIds:
    """Gives the calls of one answer ids that no call of the conversation has."""

    def __init__(self, back: Callable[[str], str], used: Iterable[str] = ()) -> None:
        """`back` makes an id of the Messages API of one of the server's (`IdCodec.back`); `used`
        are the ids of the conversation so far."""
        self._back = back
        self._used = set(used)

    def of(self, call_id: str) -> str | None:
        """The id for the call that the server calls so, once for each call; None where it has none
        of its own, for an `Emitter` to make one."""
        if not call_id:
            return None
        found = _free(self._back(call_id), self._used)
        self._used.add(found)
        return found


def _ids_in(message: Any) -> list[str]:
    blocks = map(as_object, as_list(as_object(message).get("content")))
    return [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]


def _free(id_: str, used: set[str]) -> str:
    """`id_`, or with a number behind it where it is used."""
    found, number = id_, 1
    while found in used:
        number += 1
        found = f"{id_}-{number}"
    return found

"""Ids of tool calls that stand for one call each, in the whole of a conversation. Pure functions.

Clients keep what they know of a call by its id, and the Messages API refuses a request in which two
calls have the same ("`tool_use` ids must be unique"). Servers number their calls anew in each
answer all the same (`Bash:0` of Kimi K2, `call_0`), or give them no id at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from plugway import as_list, as_object

Block = Mapping[str, Any]


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


def unique_calls(messages: Sequence[Any]) -> Sequence[Any]:
    """The messages with an id of its own for each call, and for its result; themselves where that
    holds already. The same messages give the same ids, so that cached prefixes hold."""
    ids = [id_ for message in messages for id_ in _calls_in(message)]
    if len(ids) == len(set(ids)):
        return messages
    used, taken = set(ids), set[str]()
    found: list[Any] = []
    at = 0
    while at < len(messages):
        end = at + 1
        while end < len(messages) and as_object(messages[end]).get("role") != "assistant":
            end += 1
        found += _step(messages[at:end], used, taken)
        at = end
    return found


def _step(messages: Sequence[Any], used: set[str], taken: set[str]) -> list[Any]:
    """An assistant's turn and what follows it, up to the next one."""
    calls = _calls_in(messages[0])
    results = Counter(_results_in(messages[1:]))
    names: dict[str, list[str]] = {}
    """The new ids of the calls of each id, in their order."""
    for id_, times in Counter(calls).items():
        # Where two calls beside each other share a result, they stay one: translators know that.
        kept = times if results[id_] == times else 1
        for _ in range(kept):
            new = id_ if id_ not in taken else _free(id_, used)
            used.add(new)
            taken |= {id_, new}
            names.setdefault(id_, []).append(new)
    if all(new == [id_] for id_, new in names.items()):
        return list(messages)
    first = _renamed(messages[0], "tool_use", "id", names)
    return [first, *_told(messages[1:], names)]


def _told(messages: Sequence[Any], names: Mapping[str, list[str]]) -> list[Any]:
    """The turns after the calls: the counts of results go on from one to the next."""
    left = {id_: list(new) for id_, new in names.items()}
    return [_taking(message, "tool_result", "tool_use_id", left) for message in messages]


def _renamed(message: Any, kind: str, key: str, names: Mapping[str, list[str]]) -> Any:
    return _taking(message, kind, key, {id_: list(new) for id_, new in names.items()})


def _taking(message: Any, kind: str, key: str, left: Mapping[str, list[str]]) -> Any:
    """The message with the next of the new ids in each block of `kind`; the last one stays."""
    fields = as_object(message)
    content = fields.get("content")
    if not isinstance(content, list):
        return message
    blocks: list[Any] = []
    for item in as_list(content):
        block = as_object(item)
        new = left.get(str(block.get(key))) if block.get("type") == kind else None
        if new:
            item = {**block, key: new.pop(0) if len(new) > 1 else new[0]}
        blocks.append(item)
    return {**fields, "content": blocks}


def _calls_in(message: Any) -> list[str]:
    return _ids_in(message) if as_object(message).get("role") == "assistant" else []


def _ids_in(message: Any) -> list[str]:
    blocks = map(as_object, as_list(as_object(message).get("content")))
    return [str(block.get("id")) for block in blocks if block.get("type") == "tool_use"]


def _results_in(messages: Iterable[Any]) -> Iterable[str]:
    for message in messages:
        for item in as_list(as_object(message).get("content")):
            if (block := as_object(item)).get("type") == "tool_result":
                yield str(block.get("tool_use_id"))


def _free(id_: str, used: set[str]) -> str:
    """`id_`, or with a number behind it where it is used."""
    found, number = id_, 1
    while found in used:
        number += 1
        found = f"{id_}-{number}"
    return found

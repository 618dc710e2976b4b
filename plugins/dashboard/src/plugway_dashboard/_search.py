"""Searching exchanges by words: the page does the same with those that it has (`haystack`)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from plugway import as_list, as_object

MAX_WORDS: Final = 12
_MAX_WORD: Final = 200


class Query(NamedTuple):
    """What exchanges must fit."""

    words: tuple[str, ...] = ()
    """Each occurs in `searched`."""
    failed: bool = False
    """Only those that did not complete."""
    caller: str | None = None
    """Only those of this caller."""


def query_of(text: str, *, failed: bool, caller: str | None) -> Query:
    """The query that somebody typed."""
    words = (_day(word) or word for word in text.lower().split()[:MAX_WORDS])
    return Query(tuple(word[:_MAX_WORD] for word in words), failed, caller)


def _day(word: str) -> str:
    """`today` and `yesterday` as words that are searched; empty for others."""
    if word not in ("today", "yesterday"):
        return ""
    day = date.today() - timedelta(days=word == "yesterday")
    return f"day:{day.isoformat()}"


def searched(item: Mapping[str, Any]) -> str:
    """The text in which words are searched: a line for each field, as `status:529`, so that a word
    occurs anywhere, and one with the name of a field at its beginning."""
    return "\n".join(f"{name}:{value}" for name, value in _fields(item) if value).lower()


def _fields(item: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "model", item["model_asked"]
    yield "target", item["served_by"]
    yield "caller", item["caller"]
    yield "outcome", item["outcome"]
    yield "status", item["status"]
    yield "error", item["error"]
    yield "day", time.strftime("%Y-%m-%d", time.localtime(item["ended"]))
    yield "conversation", item["session_id"]
    yield "agent", item["agent_id"]
    yield "request", item["request_id"]
    for target in as_list(as_object(item["route"]).get("targets")):
        yield "target", target
    for attempt in item["attempts"]:
        yield "target", attempt["target"]
        yield "error", attempt["result"]
    for one in item.get("verdicts", ()):
        yield "verdict", f"{one['kind']} {one['tool']}"

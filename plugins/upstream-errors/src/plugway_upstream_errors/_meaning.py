"""Interprets a failure: its kind, its numbers, how long to wait. Reads the table `wording.toml`.

`_sentences` and the plugins build the messages for clients.
"""

from __future__ import annotations

import re
import time
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from plugway import BackendError, BackendRefused, Headers
from plugway_upstream_errors._unwrap import Facts, unwrap, unwrap_text

_NAMED_IN_TEXT: Final = re.compile(r"[Ii]nvalid '([^'\n]{1,200})':")
"""Where OpenAI names a rejected field, besides `param`."""
_GROUPS: Final = {"<N>": "prompt", "<M>": "limit", "<C>": "answer", "<T>": "total"}
_NUMBER: Final = r"(?P<{}>\d[\d,]{{0,14}})"


@dataclass(frozen=True, slots=True)
class KindRule:
    """How a kind is reported to the client."""

    status: int
    permanent: bool = False
    """A retry cannot succeed."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Wording:
    """A row of the table."""

    kind: str
    of: str
    match: re.Pattern[str] | None = None
    code: re.Pattern[str] | None = None
    statuses: frozenset[int] = frozenset()
    place: re.Pattern[str] | None = None
    """The rejected field; the row applies only to it."""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Meaning:
    """The interpretation of a failure. Numbers are tokens; 0 if not reported."""

    kind: str
    """A kind of the table, or `other`."""
    status: int
    text: str
    """The upstream's message; empty if there is none, or only a web page."""
    permanent: bool = False
    remedy: str = ""
    prompt: int = 0
    limit: int = 0
    answer: int = 0
    retry_after: float | None = None


def _table() -> tuple[Mapping[str, KindRule], tuple[Wording, ...]]:
    found = tomllib.loads(
        files("plugway_upstream_errors").joinpath("wording.toml").read_text("utf-8")
    )
    kinds = {name: KindRule(**rule) for name, rule in found["kinds"].items()}
    return kinds, tuple(_row(row, kinds) for row in found["wording"])


def _row(row: Mapping[str, Any], kinds: Mapping[str, KindRule]) -> Wording:
    match = row.get("match")
    for mark, name in _GROUPS.items():
        match = match and match.replace(mark, _NUMBER.format(name))
    return Wording(
        kind=row["kind"],
        of=row["of"],
        match=re.compile(match, re.IGNORECASE | re.DOTALL) if match else None,
        code=re.compile(row["code"], re.IGNORECASE) if "code" in row else None,
        statuses=frozenset(row.get("statuses", ())),
        place=re.compile(row["place"]) if "place" in row else None,
        remedy=row.get("remedy") or kinds[row["kind"]].remedy,
    )


KINDS, WORDINGS = _table()

_BY_STATUS: Final[Mapping[int, str]] = {
    401: "auth",
    402: "quota",
    403: "forbidden",
    413: "too_large",
    424: "overloaded",
    429: "rate_limit",
    501: "unsupported",
    503: "overloaded",
    529: "overloaded",
}


def meaning_of(failure: BackendError) -> Meaning:
    """Interpret `failure`. Never raises."""
    body = failure.body if isinstance(failure, BackendRefused) else b""
    facts = unwrap(body) if body else unwrap_text(failure.message)
    if failure.permanent and body:  # the backend's own message is more specific
        facts.texts.insert(0, failure.message)
    meaning = read(failure.status, facts, failure.headers)
    if meaning.retry_after is None and failure.retry_after is not None:
        meaning = replace(meaning, retry_after=failure.retry_after)
    return replace(meaning, permanent=True) if failure.permanent else meaning


def read(status: int, facts: Facts, headers: Headers = ()) -> Meaning:
    """Interpret a response by its status, body and headers."""
    if status < 400:  # an error within a response that started with success
        code = facts.numbers.get("code", 0)
        status = code if 400 <= code < 600 else 502
    wait = facts.retry_after if facts.retry_after is not None else retry_after(headers)
    row, match = _row_of(status, "\n".join(facts.texts), tuple(facts.codes), tuple(facts.places))
    if row is None:
        return _meaning(_kind_by_status(status, facts), status, facts, wait, "")
    found = _meaning(row.kind, status, facts, wait, row.remedy)
    return replace(found, **_numbers(match, facts)) if found.kind in _COUNTED else found


@lru_cache(maxsize=32)
def _row_of(
    status: int, text: str, codes: tuple[str, ...], places: tuple[str, ...]
) -> tuple[Wording | None, re.Match[str] | None]:
    """The matching row and its match. Cached, because every plugin that learns from a failure asks
    for the same one."""
    places = (*places, *_NAMED_IN_TEXT.findall(text))
    for row in WORDINGS:
        if row.statuses and status not in row.statuses:
            continue
        if row.place and not any(row.place.fullmatch(place) for place in places):
            continue
        match = row.match.search(text) if row.match else None
        if match or (row.code and any(row.code.fullmatch(code) for code in codes)):
            return row, match
    return None, None


_COUNTED: Final = frozenset(("overflow", "output_limit"))


def _kind_by_status(status: int, facts: Facts) -> str:
    if status == 404:
        named = "model" in facts.text.lower()
        return "model_not_found" if named else "route_not_found"
    return _BY_STATUS.get(status, "other")


def _meaning(kind: str, status: int, facts: Facts, wait: float | None, remedy: str) -> Meaning:
    rule = KINDS.get(kind)
    if rule is None:
        return Meaning(kind, status, facts.text, retry_after=wait)
    seen = 402 if kind == "quota" and status == 402 else rule.status
    return Meaning(kind, seen, facts.text, rule.permanent, remedy or rule.remedy, retry_after=wait)


def _numbers(match: re.Match[str] | None, facts: Facts) -> dict[str, int]:
    """Tokens of prompt, limit and reply, from the text or from fields of the body."""
    groups = match.groupdict() if match else {}
    found = {name: _integer(groups.get(name)) for name in ("prompt", "limit", "answer")}
    found["prompt"] = found["prompt"] or max(0, facts.numbers.get("n_prompt_tokens", 0))
    found["limit"] = found["limit"] or max(0, facts.numbers.get("n_ctx", 0))
    return found


def _integer(text: str | None) -> int:
    return int(text.replace(",", "")) if text else 0


def retry_after(headers: Headers) -> float | None:
    """Seconds to wait as sent by the server: `retry-after-ms`, or `retry-after` in either form."""
    lines = dict(headers)
    for seconds in _waits(lines):
        if 0 <= seconds < 1e9:
            return seconds
    return None


def _waits(lines: Mapping[str, str]) -> Iterator[float]:
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            yield float(lines.get(name, "")) / unit
        except ValueError:
            continue
    try:
        moment = parsedate_to_datetime(lines.get("retry-after", "")).timestamp()
        yield max(0.0, moment - time.time())
    except (ValueError, OverflowError, OSError):
        return

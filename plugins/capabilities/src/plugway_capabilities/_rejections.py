"""Learns facts from errors, by the table `rejections.toml`. Pure functions.

`plugway-upstream-errors` parses error bodies and output limits.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

from plugway import BackendRefused
from plugway_capabilities._facts import LEAST, MAX_ITEMS, MAX_NUMBER, NUMBERS, is_length
from plugway_upstream_errors import meaning_of, unwrap

_TEACHING: Final = frozenset((400, 404, 413, 422, 500, 502))
"""Statuses whose messages may describe the request; some servers use 500 for that, and 502 is an
error inside a response with status 200."""
_NAME: Final = (
    r"[A-Za-z_$][\w$-]{0,60}(?:\[\d{1,5}\])?(?:\.[A-Za-z_$][\w$-]{0,60}(?:\[\d{1,5}\])?){0,6}"
)
_MARKS: Final = {
    "<F>": rf"(?P<field>{_NAME})",
    "<G>": r"(?P<instead>[A-Za-z_]\w{0,60})",
    "<L>": rf"(?P<list>{_NAME}(?:, ?{_NAME}){{0,30}})",
    "<M>": r"(?P<number>\d[\d,]{0,14})",
    "<P>": r"(?P<place>[\w.\[\]]{1,200})",
    "<V>": r"(?P<values>(?:(?:, | |and |or )*['\"`][\w.-]{1,40}['\"`]){1,30})",
}
_QUOTED: Final = re.compile(r"['\"`]([\w.-]{1,40})['\"`]")
_INDEX: Final = re.compile(r"\[\d{1,5}\]|(?<=\.)\d{1,5}\.")
_UPPER: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_NEEDED: Final = frozenset(("model", "messages", "input", "contents", "tools", "stream", "body"))
"""Fields that every request needs: errors about them teach nothing."""
USER_FIELDS: Final = frozenset(("user", "safety_identifier", "prompt_cache_key", "metadata"))
"""Fields that identify the user, for which a hash is equivalent."""
_QUOTING: Final = frozenset(("rejected_keywords", "rejected_fields", "rejected_betas"))
"""What a text may list in quotes."""
_LIMITS: Final = frozenset(("max_tokens", "max_completion_tokens", "max_output_tokens"))


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row of the table."""

    of: str
    learns: str
    match: re.Pattern[str]
    value: str | int | list[str] = ""
    snake: bool = False
    exclusive: bool = False


def _row(row: dict[str, Any]) -> Rejection:
    pattern: str = row.pop("match")
    for mark, group in _MARKS.items():
        pattern = pattern.replace(mark, group)
    return Rejection(match=re.compile(pattern, re.IGNORECASE), **row)


REJECTIONS: Final = tuple(
    _row(row)
    for row in tomllib.loads(
        files("plugway_capabilities").joinpath("rejections.toml").read_text("utf-8")
    )["rejection"]
)


def lessons(status: int, body: str | bytes) -> dict[str, Any]:
    """The fields of `Facts` that an error teaches; empty if none. Never raises.

    Context windows are not learned: the same server may load a larger one later.
    """
    if status not in _TEACHING:
        return {}
    raw = body if isinstance(body, bytes) else body.encode("utf-8", "replace")
    facts = unwrap(raw)
    text = "\n".join(facts.texts)
    for row in REJECTIONS:
        found = [
            value
            for match in row.match.finditer(text)
            for value in _values(row, match, facts.places)
        ]
        if found and (taught := _taught(row, found)):
            return taught
    meaning = meaning_of(BackendRefused(status, raw))
    if meaning.kind == "output_limit":
        return _number("max_output_tokens", meaning.limit)
    if meaning.kind == "unsupported":
        names = [_named(place) for place in facts.places]
        return _fields([name for name in names if name])
    return {}


def _number(name: str, limit: int) -> dict[str, Any]:
    return {name: limit} if LEAST.get(name, 1) <= limit <= MAX_NUMBER else {}


def _taught(row: Rejection, found: list[Any]) -> dict[str, Any]:
    match row.learns:
        case "rejected_fields":
            return _fields(found)
        case "rejected_keywords" | "rejected_inputs" | "rejected_betas":
            return {row.learns: frozenset(found[:MAX_ITEMS])}
        case "allowed_values":
            return {row.learns: dict(found)}
        case "length_limits":
            return {row.learns: dict(found[:MAX_ITEMS])}
        case "tool_id_limit" if "a-z" in row.match.pattern:
            limit = min(found)
            return {"tool_id_limit": limit, "tool_id_pattern": f"[a-zA-Z0-9]{{{limit}}}"}
        case _:
            return {row.learns: min(found) if row.learns in NUMBERS else found[0]}


def _fields(names: list[str]) -> dict[str, Any]:
    kept = [name for name in names if name.partition(".")[0] not in _NEEDED or "." in name]
    return {"rejected_fields": frozenset(kept[:MAX_ITEMS])} if kept else {}


def _values(row: Rejection, match: re.Match[str], places: Sequence[str]) -> list[Any]:
    """The values of one match: names, a number, or a field with its values.

    `places` are fields that the body names separately.
    """
    groups = match.groupdict()
    if row.learns == "allowed_values":
        if isinstance(row.value, list):
            return [(row.value[0], tuple(row.value[1:]))]
        name = str(groups.get("field") or next(iter(places), row.value))
        return [(_named(name), tuple(_QUOTED.findall(groups["values"])))]
    if row.learns == "length_limits":
        name = _named(str(groups.get("place") or next(iter(places), "")))
        most = _integer(groups["number"])
        return [(name, most)] if _can_be_shorter(name) and is_length(most) else []
    if row.learns in _QUOTING and groups.get("values"):
        return _QUOTED.findall(groups["values"])
    if isinstance(row.value, list):
        return list(row.value)
    if row.value:
        return [row.value]
    if row.learns in NUMBERS:
        number = _integer(groups["number"]) - row.exclusive
        return [number] if LEAST.get(row.learns, 1) <= number <= MAX_NUMBER else []
    if row.learns == "output_limit_field":
        return [groups["instead"]] if groups["instead"] in _LIMITS else []
    names = (groups.get("list") or groups.get("field") or "").split(",")
    place = _named(groups.get("place") or "")
    paths = [f"{place}.{_named(name)}" if place else _named(name) for name in names]
    return [_UPPER.sub("_", name).lower() if row.snake else name for name in paths if name]


def _integer(text: str) -> int:
    return int(text.replace(",", ""))


def _can_be_shorter(name: str) -> bool:
    """Whether a field's text can be shortened without changing the meaning."""
    root = name.partition(".")[0]
    described = root == "tools" and name.endswith(".description") and ".parameters." not in name
    return described or root in USER_FIELDS


def _named(place: str) -> str:
    """A field path without indexes: `messages[2].name` becomes `messages.name`."""
    found = _INDEX.sub("", place.strip().removeprefix("body.")).rstrip(".")
    root, _, last = found.rpartition(".")
    return root if last.isdigit() else found

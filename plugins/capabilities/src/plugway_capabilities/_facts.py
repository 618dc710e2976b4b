"""What is known of a model at a provider, and the packaged table of it. Pure functions.

What is learnt on top is the business of `_rejections`; keeping it, of `_store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

import yaml

from plugway import as_list, as_object

MAX_NUMBER: Final = 100_000_000
"""Larger ones are no limit of any model."""
LEAST: Final = {"max_output_tokens": 16, "tool_id_limit": 6, "tool_name_limit": 16}
"""Smaller numbers are no limit of any server: what they allow says nothing any more."""
LEAST_LENGTH: Final = 16
"""The same for the characters of a text."""
MAX_ITEMS: Final = 64
"""Fields, values and keywords that are kept of one model."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model at a provider takes. 0 and empty mean: not known.

    Field names are those of the provider's own API, parts of a field with a dot
    (`generationConfig.topK`).
    """

    context_tokens: int = 0
    """Tokens of prompt and answer together."""
    max_output_tokens: int = 0
    """Tokens of the longest answer that may be asked for."""
    output_limit_field: str = ""
    """The field that carries that number, where it is not the usual one."""
    rejected_fields: frozenset[str] = frozenset()
    """Fields that end a request with an error."""
    rejected_keywords: frozenset[str] = frozenset()
    """Keywords of JSON Schema that do so in the schema of a tool."""
    rejected_inputs: frozenset[str] = frozenset()
    """Any of `image`, `document`."""
    allowed_values: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )
    """Field -> the values that it may have."""
    length_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Field -> most characters of its text; a path has no indexes (`tools.description`)."""
    reasoning_field: str = ""
    """Where thinking stands in an answer: `reasoning_content` or `reasoning`."""
    reasoning_back: str = ""
    """`required` or `rejected`: whether earlier thinking goes back in that field."""
    tool_id_limit: int = 0
    """Characters of the id of a tool call."""
    tool_id_pattern: str = ""
    """Regular expression on the whole of such an id."""
    tool_name_limit: int = 0
    """Characters of a tool's name."""
    tools_limit: int = 0
    """Tools in one request."""
    images_limit: int = 0
    """Images in one request."""
    stop_limit: int = 0
    """Stop sequences in one request."""
    turn_order: str = ""
    """`strict`: nothing of a user may follow results of tools, and roles alternate."""
    prefill: str = ""
    """`rejected`: the last turn has to be the user's."""
    schema_depth: int = 0
    """Objects and arrays inside of each other in the schema of a tool."""
    schema_patterns: str = ""
    """Which patterns a schema may have: `linear` or `anchored` (`Patterns` of the package
    plugway-translation)."""
    schema_count: int = 0
    """Largest `minLength`, `maxLength`, `minItems` and `maxItems` in a schema."""
    schema_form: str = ""
    """`object`: one object as the root, without `anyOf` beside it; `typed`: a type in each part,
    too."""

    def updated(self, newer: Mapping[str, Any]) -> Facts:
        """These facts with `newer` over them: numbers and words replaced, lists grown."""
        changes: dict[str, Any] = {}
        for name, value in checked(newer).items():
            if name in SETS:
                value = getattr(self, name) | value
            elif name in MAPS:
                value = {**getattr(self, name), **value}
            changes[name] = value
        return replace(self, **changes)


NAMES: Final = frozenset(f.name for f in fields(Facts))
SETS: Final = frozenset(("rejected_fields", "rejected_keywords", "rejected_inputs"))
MAPS: Final = frozenset(("allowed_values", "length_limits"))
NUMBERS: Final = frozenset(f.name for f in fields(Facts) if f.default == 0)


def checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """The members of `found` that are fields of `Facts` and hold what these may hold."""
    kept: dict[str, Any] = {}
    for name in NAMES & found.keys():
        value = _checked(name, found[name])
        if value is not None:
            kept[name] = value
    return kept


def _checked(name: str, value: Any) -> Any:
    if name in NUMBERS:
        return value if type(value) is int and LEAST.get(name, 1) <= value <= MAX_NUMBER else None
    if name in SETS:
        return frozenset(sorted(map(str, as_list(_list(value))))[:MAX_ITEMS])
    if name == "allowed_values":
        members = list(as_object(value).items())[:MAX_ITEMS]
        return {key: tuple(map(str, as_list(_list(values)))) for key, values in members}
    if name == "length_limits":
        members = list(as_object(value).items())[:MAX_ITEMS]
        return {str(key): n for key, n in members if is_length(n)}
    return value if isinstance(value, str) and value else None


def is_length(value: Any) -> bool:
    """Whether a number can be the most characters of a text."""
    return type(value) is int and LEAST_LENGTH <= value <= MAX_NUMBER


def _list(value: Any) -> Any:
    """The list that a file has for what is a set or a tuple here."""
    return list(cast("Any", value)) if isinstance(value, frozenset | tuple) else value


def known_facts(provider: str, model: str) -> Facts:
    """What the packaged table says; patterns are held against names in lower case."""
    facts = Facts()
    provider, model = provider.lower(), model.lower()
    for row in _table():
        if (
            _fits(row.get("provider"), provider)
            and _fits(row.get("model", "*"), model)
            and not _fits(row.get("except", ()), model)
        ):
            facts = facts.updated(row)
    return facts


def _fits(patterns: Any, name: str) -> bool:
    several = [patterns] if isinstance(patterns, str) else cast("Sequence[str]", patterns)
    return any(fnmatchcase(name, pattern) for pattern in several)


@cache
def _table() -> tuple[Mapping[str, Any], ...]:
    text = files("plugway_capabilities").joinpath("facts.yaml").read_text("utf-8")
    return tuple(as_object(row) for row in as_list(yaml.safe_load(text)))

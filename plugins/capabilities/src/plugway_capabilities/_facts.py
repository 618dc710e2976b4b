"""Facts about a model at a provider, and the packaged table. Pure functions.

`_rejections` learns further facts; `_store` stores them.
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
"""Larger numbers are not a model's limit."""
LEAST: Final = {"max_output_tokens": 16, "tool_id_limit": 6, "tool_name_limit": 16}
"""Smaller numbers are not a server's limit."""
LEAST_LENGTH: Final = 16
"""Smaller length limits of texts are ignored, too."""
MAX_ITEMS: Final = 64
"""Maximum fields, values and keywords stored per model."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a model at a provider supports. 0 and empty mean unknown.

    Field names are those of the provider's API; nested fields use dots
    (`generationConfig.topK`).
    """

    context_tokens: int = 0
    """Context window: tokens of prompt and reply."""
    max_output_tokens: int = 0
    """Maximum output tokens that may be requested."""
    output_limit_field: str = ""
    """The field for the output limit, if not the usual one."""
    rejected_fields: frozenset[str] = frozenset()
    """Fields that cause an error."""
    rejected_keywords: frozenset[str] = frozenset()
    """JSON Schema keywords that cause an error in a tool's schema."""
    rejected_inputs: frozenset[str] = frozenset()
    """Rejected media: `image`, `document`."""
    rejected_betas: frozenset[str] = frozenset()
    """Rejected values of the header `anthropic-beta`; `*` for all."""
    allowed_values: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict[str, tuple[str, ...]]
    )
    """Field -> allowed values."""
    length_limits: Mapping[str, int] = field(default_factory=dict[str, int])
    """Field -> maximum characters; paths have no indexes (`tools.description`)."""
    reasoning_field: str = ""
    """The field with thinking in replies: `reasoning_content` or `reasoning`."""
    reasoning_back: str = ""
    """`required` or `rejected`: whether to send earlier thinking back in that field."""
    tool_id_limit: int = 0
    """Maximum characters of a tool call's id."""
    tool_id_pattern: str = ""
    """Regular expression that the whole id must match."""
    tool_name_limit: int = 0
    """Maximum characters of a tool's name."""
    tools_limit: int = 0
    """Maximum tools in a request."""
    images_limit: int = 0
    """Maximum images in a request."""
    stop_limit: int = 0
    """Maximum stop sequences in a request."""
    turn_order: str = ""
    """`strict`: roles alternate, and no user text follows tool results."""
    prefill: str = ""
    """`rejected`: the last turn must be the user's."""
    schema_depth: int = 0
    """Maximum nesting of objects and arrays in a tool's schema."""
    schema_patterns: str = ""
    """Supported patterns in schemas: `linear` or `anchored` (`Patterns` of the package
    plugway-translation)."""
    schema_count: int = 0
    """Maximum `minLength`, `maxLength`, `minItems` and `maxItems` in a schema."""
    schema_form: str = ""
    """`object`: the root must be one object without `anyOf` beside it; `typed`: also, every
    subschema needs a type."""

    def updated(self, newer: Mapping[str, Any]) -> Facts:
        """These facts updated by `newer`: numbers and texts are replaced, lists extended."""
        changes: dict[str, Any] = {}
        for name, value in checked(newer).items():
            if name in SETS:
                value = getattr(self, name) | value
            elif name in MAPS:
                value = {**getattr(self, name), **value}
            changes[name] = value
        return replace(self, **changes)


NAMES: Final = frozenset(f.name for f in fields(Facts))
SETS: Final = frozenset(
    ("rejected_fields", "rejected_keywords", "rejected_inputs", "rejected_betas")
)
MAPS: Final = frozenset(("allowed_values", "length_limits"))
NUMBERS: Final = frozenset(f.name for f in fields(Facts) if f.default == 0)


def checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """The valid fields of `Facts` in `found`."""
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
    """Whether a number is a plausible length limit of a text."""
    return type(value) is int and LEAST_LENGTH <= value <= MAX_NUMBER


def _list(value: Any) -> Any:
    """Read a list from a file as a set or a tuple."""
    return list(cast("Any", value)) if isinstance(value, frozenset | tuple) else value


NOTHING_KNOWN: Final = Facts()


def known_facts(provider: str, model: str) -> Facts:
    """The facts in the packaged table; patterns match lower-case names."""
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

"""Check the arguments of a complete call against the client's schema.

The caller is responsible for repairs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from itertools import islice
from typing import Any, Final, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for  # pyright: ignore[reportUnknownVariableType]
from referencing import Registry
from referencing.exceptions import Unresolvable

from plugway import as_object
from plugway_toolcalls._patterns import matches
from plugway_toolcalls._references import SchemaTooLarge
from plugway_toolcalls._schema import prepare_schema

Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]

MAX_PROBLEMS: Final = 10
MAX_REFERENCES: Final = 10_000
"""Maximum references that one check follows."""
_MAX_WORDS: Final = 200


def check_arguments(schema: Mapping[str, Any], arguments: str | Mapping[str, Any]) -> list[str]:
    """The problems of `arguments`, worded for a model; empty if there are none.

    A schema that cannot be used is not a problem of the arguments: the result is then empty.
    """
    if isinstance(arguments, str):
        try:
            value: Any = json.loads(arguments)
        except (ValueError, RecursionError) as error:
            return [f"the arguments are not valid JSON: {error}"]
    else:
        value = dict(arguments)
    if not isinstance(value, dict):
        return ["the arguments must be a JSON object"]
    _followed.set([])
    try:
        validator = _validator(prepare_schema(schema, "check").schema)
        errors = validator.iter_errors(as_object(value))
        return [_in_words(error) for error in islice(errors, MAX_PROBLEMS)]
    except _UNUSABLE:
        return []


class _TooManyReferences(Exception):
    """Nested references take exponential time."""


_UNUSABLE: Final = (
    SchemaTooLarge,
    _TooManyReferences,
    RecursionError,
    Unresolvable,
    # The exceptions of the library for a keyword with an unexpected value.
    AttributeError,
    TypeError,
    LookupError,
    ArithmeticError,
)


_followed: Final = ContextVar[list[Any]]("followed")
"""Number of references that the current check has followed."""


def _validator(schema: dict[str, Any]) -> Validator:
    checker = _checker(validator_for(schema, default=Draft202012Validator))
    # An empty registry, because the library would otherwise fetch remote references.
    return checker(schema, registry=Registry[Any]())


@cache
def _checker(base: Any) -> Callable[..., Validator]:
    """The validators of one draft, with our own keywords. Creating them takes 2 ms."""
    follow = cast("Keyword", base.VALIDATORS["$ref"])

    def reference(validator: Any, ref: Any, instance: Any, of: Any) -> Any:
        followed = _followed.get()
        followed.append(ref)
        if len(followed) > MAX_REFERENCES:
            raise _TooManyReferences
        return follow(validator, ref, instance, of)

    make = cast("Callable[..., Any]", extend)
    return make(base, {"pattern": _pattern, "$ref": reference})


def _pattern(validator: Any, pattern: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    both = isinstance(instance, str) and isinstance(pattern, str)
    if both and matches(pattern, instance) is False:
        yield ValidationError(f"does not match the pattern {pattern!r}")


def _in_words(error: ValidationError) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    message = error.message
    if len(message) > _MAX_WORDS:
        message = f"does not satisfy `{error.validator}`: {str(error.validator_value)[:_MAX_WORDS]}"
    return f"`{path.lstrip('.')}`: {message}" if path else message

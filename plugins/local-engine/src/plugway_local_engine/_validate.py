"""Checks the arguments of a finished call against the client's schema.

Mending them is the business of whoever asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.protocols import Validator
from jsonschema.validators import extend, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from plugway_local_engine._patterns import matches
from plugway_local_engine._schema import SchemaTooLarge, prepare_schema

MAX_PROBLEMS: Final = 10
_MAX_WORDS: Final = 200


def check_arguments(schema: Mapping[str, Any], arguments: str | Mapping[str, Any]) -> list[str]:
    """What is wrong with `arguments`, in words a model understands; empty: nothing.

    A schema that cannot be used at all is no fault of the arguments: it finds nothing.
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
    try:
        prepared = prepare_schema(schema, "check").schema
        validator = _validator(prepared)
        return [_in_words(error) for error in _some(validator.iter_errors(value))]
    except SchemaTooLarge:
        return []
    except RecursionError:
        return []
    except Unresolvable:
        return []


def _validator(schema: dict[str, Any]) -> Validator:
    base = validator_for(schema, default=Draft202012Validator)
    kind = extend(base, {"pattern": _pattern})
    # An empty registry: the library would fetch remote references otherwise.
    return kind(schema, registry=Registry())


def _pattern(
    validator: Validator, pattern: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if (
        isinstance(instance, str)
        and isinstance(pattern, str)
        and matches(pattern, instance) is False
    ):
        yield ValidationError(f"does not match the pattern {pattern!r}")


def _some(errors: Iterator[ValidationError]) -> Iterator[ValidationError]:
    for _, error in zip(range(MAX_PROBLEMS), errors, strict=False):
        yield best_match([error]) or error


def _in_words(error: ValidationError) -> str:
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.absolute_path)
    message = error.message
    if len(message) > _MAX_WORDS:
        message = f"does not satisfy `{error.validator}`: {str(error.validator_value)[:_MAX_WORDS]}"
    return f"`{path.lstrip('.')}`: {message}" if path else message

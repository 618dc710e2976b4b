"""Validates plain values as typed options, with every mistake as a `Problem` at its position.

Used for the `server` section and for the options of plugins; reads no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Generic, NamedTuple, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from plugway.config.document import Document, Place, did_you_mean
from plugway.config.key_store import store_command
from plugway.config.secrets import is_reference, resolve
from plugway.types.errors import Problem
from plugway.types.options import Options

OptionsT = TypeVar("OptionsT", bound=Options)


class Built(NamedTuple, Generic[OptionsT]):
    """Options, or the problems that prevent them."""

    options: OptionsT | None
    problems: Sequence[Problem]


def build_options(
    model: type[OptionsT],
    values: object,
    document: Document,
    path: Place,
    *,
    instance: str = "",
    plain_secrets: bool = False,
) -> Built[OptionsT]:
    """Resolve the secrets in `values`, which are at `path`, and validate the result.

    Secrets in plain text are errors unless `plain_secrets`; the proposed fix stores them under the
    name `instance`.
    """
    plain = () if plain_secrets else plain_secrets_in(model, values, path)
    resolution = resolve(values, document, path)
    problems = [_plain_secret(document, place, instance) for place in plain] + resolution.problems
    try:
        options = model.model_validate(resolution.value)
    except ValidationError as error:
        for detail in error.errors(include_url=False, include_input=False, include_context=False):
            place = _place(detail, values, path)
            if place not in resolution.failed:
                problem = _validation_problem(detail, model, document, place, len(path))
                reason, fix = resolution.redact(problem.reason), resolution.redact(problem.fix)
                problems.append(Problem(problem.where, problem.path, reason, fix))
        return Built(None, problems)
    return Built(None if problems else options, problems)


def plain_secrets_in(annotation: object, value: object, path: Place) -> Iterator[Place]:
    """Places where the file has plain text for a secret type."""
    members = list(_members(annotation))
    if isinstance(value, str):
        kinds = [member for member in members if isinstance(member, type)]
        secret = any(issubclass(kind, SecretStr | SecretBytes) for kind in kinds)
        if value and secret and str not in kinds:
            yield path
    elif isinstance(value, Mapping) and not is_reference(cast("object", value)):
        for key, item in cast("Mapping[str, object]", value).items():
            for inner in _inside(members, key):
                yield from plain_secrets_in(inner, item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[object]", value)):
            for inner in _inside(members, index):
                yield from plain_secrets_in(inner, item, (*path, index))


def _members(annotation: object) -> Iterator[object]:
    """The members of a union, including those in aliases and `Annotated`."""
    annotation = getattr(annotation, "__value__", annotation)
    if get_origin(annotation) in (Union, UnionType):
        for argument in get_args(annotation):
            yield from _members(argument)
    elif get_origin(annotation) is Annotated:
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def _inside(members: Sequence[object], key: str | int) -> Iterator[object]:
    """The annotations that may apply to `key` of a value of one of these types."""
    for member in members:
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if key in (name, field.alias, field.validation_alias):
                    yield field.annotation
        elif arguments := get_args(member):
            yield from arguments[1:] if isinstance(key, str) else arguments


def _plain_secret(document: Document, place: Place, instance: str) -> Problem:
    name = instance or "NAME"
    return document.problem(
        place,
        "a secret is in plain text in the file",
        f"replace it with `{{$env: NAME}}`, or run `{store_command(name)}` "
        f"and write `{{$keyring: {name}}}`",
    )


def _place(detail: ErrorDetails, values: object, path: Place) -> Place:
    """The place of an error: its location without parts that are not keys (branches of unions)."""
    place: list[str | int] = list(path)
    current = values
    location = detail["loc"]
    for index, part in enumerate(location):
        last = index == len(location) - 1
        inner = _item(current, part)
        if inner is not _MISSING:
            current = inner
        elif not (last and detail["type"] == "missing"):
            continue
        place.append(part)
    return tuple(place)


_MISSING = object()


def _item(value: object, key: str | int) -> object:
    if isinstance(value, Mapping):
        return cast("Mapping[str | int, object]", value).get(key, _MISSING)
    items = cast("list[object]", value) if isinstance(value, list) else []
    return items[key] if isinstance(key, int) and 0 <= key < len(items) else _MISSING


def _validation_problem(
    detail: ErrorDetails, model: type[BaseModel], document: Document, place: Place, root: int
) -> Problem:
    kind, name = detail["type"], str(place[-1]) if len(place) > root else ""
    fields = _fields_at(model, place[root:-1])
    if kind == "extra_forbidden":
        known = ", ".join(f"`{field}`" for field in fields) or "none"
        hint = did_you_mean(name, list(fields)) or f"options here: {known}"
        return document.problem(place, "unknown option", hint)
    if kind == "missing":
        description = (fields.get(name) or "").split("\n\n")[0].replace("\n", " ")
        return document.problem(place, "required, but missing", description)
    return document.problem(place, _reason(detail["msg"]))


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> dict[str, str | None]:
    """Names and descriptions of the options that are allowed at `path`."""
    annotations: list[object] = [model]
    for part in path:
        members = [member for annotation in annotations for member in _members(annotation)]
        annotations = list(_inside(members, part))
    return {
        field.alias or name: field.description
        for annotation in annotations
        for member in _members(annotation)
        if isinstance(member, type) and issubclass(member, BaseModel)
        for name, field in member.model_fields.items()
    }


def _reason(message: str) -> str:
    message = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    return message.removeprefix("Input ") if message.startswith("Input should") else message

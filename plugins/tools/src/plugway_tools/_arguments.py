"""Arguments of tools of our own: a pydantic model, as a JSON schema and as an error in words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from plugway import RequestRejected
from plugway_tools._protocols import ToolCall, ToolResult, ToolSpec, failed, unknown_tool

ArgumentsT = TypeVar("ArgumentsT", bound=BaseModel)


def schema_of(arguments: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, without titles."""
    schema = arguments.model_json_schema()
    fields = {
        name: {key: value for key, value in field.items() if key != "title"}
        for name, field in schema.get("properties", {}).items()
    }
    required = {"required": schema["required"]} if "required" in schema else {}
    return {"type": "object", "properties": fields, "additionalProperties": False, **required}


def problems_of(arguments: type[BaseModel], error: ValidationError) -> tuple[str, str]:
    """The problems of the arguments, by name, and the names that there are; values are not
    repeated."""
    known = ", ".join(f"`{name}`" for name in arguments.model_fields) or "none"
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])[:100] or 'arguments'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False)[:5]
    ]
    return "; ".join(problems), known


def invalid_arguments(arguments: type[BaseModel], error: ValidationError) -> ToolResult:
    """The result of a call with these problems."""
    problems, known = problems_of(arguments, error)
    return failed(f"invalid arguments: {problems} (known: {known})")


async def run_with_arguments(
    call: ToolCall,
    on: Sequence[ToolSpec],
    kind: type[ArgumentsT],
    work: Callable[[ArgumentsT], Awaitable[ToolResult]],
) -> ToolResult:
    """The result of `work` with the arguments of a call. Also a result: a tool that is not among
    those that are `on`, arguments that are not valid, and a `RequestRejected` or `OSError`."""
    names = [spec.name for spec in on]
    if call.name not in names:
        return unknown_tool(call.name, names)
    try:
        arguments = kind.model_validate(dict(call.arguments))
    except ValidationError as error:
        return invalid_arguments(kind, error)
    try:
        return await work(arguments)
    except (RequestRejected, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.message
        return failed(f"`{call.name}` failed: {reason or type(error).__name__}")

"""Loads Apple's SDK and describes a request in its terms. The only module that knows its classes.

The SDK is imported when an instance that runs in process is first used, never before.
Source: apple-fm-sdk 0.2.1 (PyPI), `core.py`, `session.py`, `tool.py`, `generation_schema.py`.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Optional

from plugway_apple_intelligence._plan import OfferedTool, Plan
from plugway_apple_intelligence._shape import Shape

MODULE: Final = "apple_fm_sdk"
LEAST_MACOS: Final = 26
_ALSO_26: Final = 16
"""What macOS 26 calls itself to programs that were built for an older one."""
INSTALL: Final = "pip install apple-fm-sdk==0.2.1"

_log = logging.getLogger("plugway.apple-intelligence")

_KEPT: Final[deque[list[Any]]] = deque(maxlen=64)
"""The tools of the last requests: a session that is slow to stop must not call freed memory."""
_SCALARS: Final[dict[str, type]] = {
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
}


def system() -> tuple[str, str]:
    """The operating system and its version: `("macOS", "26.1")`, `("Linux", "6.1")`."""
    name = platform.system()
    return ("macOS", platform.mac_ver()[0]) if name == "Darwin" else (name, platform.release())


def problem_here() -> str:
    """Why Apple's SDK cannot run on this machine; empty if nothing is known against it."""
    name, version = system()
    if name != "macOS":
        return (
            f"`in-process` needs a Mac with macOS {LEAST_MACOS} or newer; this machine runs {name}."
            " Use `run: fm-serve` or `run: apfel` with the `base_url` of a Mac"
        )
    major = version.partition(".")[0]
    if major.isdigit() and int(major) < LEAST_MACOS and int(major) != _ALSO_26:
        return (
            f"`in-process` needs macOS {LEAST_MACOS} or newer; this Mac has {version}. Update it, "
            "or use the `base_url` of another Mac"
        )
    if find_spec(MODULE) is None:
        return (
            f"Apple's SDK is not installed: run `{INSTALL}`. It is built on this Mac and needs "
            "Xcode 26 or newer"
        )
    return ""


def load() -> Any:
    """The SDK. Raises `ImportError` or `OSError` if it or its library cannot be loaded."""
    return import_module(MODULE)


class ToolTaken(Exception):
    """Ends a tool's call inside Apple's session, once the session is cancelled."""


def options_of(fm: Any, plan: Plan, room: int) -> Any:
    """`GenerationOptions` for a plan; `room` is the space for the reply, in tokens."""
    heat: dict[str, Any] = {} if plan.temperature is None else {"temperature": plan.temperature}
    return fm.GenerationOptions(maximum_response_tokens=max(1, min(plan.max_tokens, room)), **heat)


def tools_of(fm: Any, plan: Plan, taken: Callable[[str, str], Future[None]]) -> list[Any]:
    """The tools of a plan. `taken(name, arguments)` is called in another thread for each call; the
    call ends when the future that it returns is done."""
    base: Any = fm.Tool

    def made(offered: OfferedTool) -> Any:
        schema = schema_of(fm, offered.shape)

        class ClientTool(base):
            name = offered.sent
            description = offered.description
            arguments_schema = schema

            async def call(self, args: Any) -> str:
                await asyncio.wrap_future(taken(offered.name, args.to_json()))
                raise ToolTaken("the client runs this tool")

        return ClientTool()

    tools = [made(tool) for tool in plan.tools]
    _KEPT.append(tools)
    return tools


def schema_of(fm: Any, shape: Shape) -> Any:
    """The SDK's schema of an object; schemas of inner objects are its references."""
    inner = [_object_in(field) for field in shape.fields]
    nested = [schema_of(fm, found) for found in inner if found is not None]
    references = [*nested, *(one for made in nested for one in made.dynamic_nested_types)]
    return fm.GenerationSchema(
        _type(shape.title),
        shape.description or None,
        [_property(fm, field) for field in shape.fields],
        references,
    )


def _object_in(field: Shape) -> Shape | None:
    found = field.item if field.kind == "array" else field
    return found if found is not None and found.kind == "object" else None


def _type(title: str) -> type:
    """A class with that name: the SDK refers to inner objects by the name of their class."""
    return type(title, (), {})


def _property(fm: Any, field: Shape) -> Any:
    kind: Any = _python_type(field)
    # The SDK finds out by the text of the type, which for `X | None` says nothing.
    optional = Optional[kind] if field.optional else kind  # noqa: UP045
    property_type = import_module(f"{MODULE}.generation_property").Property
    return property_type(field.name, optional, field.description or None, _guides(fm, field))


def _python_type(field: Shape) -> Any:
    if field.kind == "array":
        item: Any = _python_type(field.item) if field.item else str
        return list[item]
    return _SCALARS.get(field.kind) or _type(field.title)


def _guides(fm: Any, field: Shape) -> list[Any]:
    guide = fm.GenerationGuide
    found: list[Any] = []
    if field.choices:
        found.append(guide.anyOf(list(field.choices)))
    if field.minimum is not None and field.maximum is not None:
        found.append(guide.range((field.minimum, field.maximum)))
    elif field.minimum is not None:
        found.append(guide.minimum(field.minimum))
    elif field.maximum is not None:
        found.append(guide.maximum(field.maximum))
    if field.item is not None and field.item.kind != "object":
        found += [guide.element(one) for one in _guides(fm, field.item)]
    if field.min_items is not None:
        found.append(guide.min_items(field.min_items))
    if field.max_items is not None:
        found.append(guide.max_items(field.max_items))
    return found


# ── sessions ─────────────────────────────────────────────────────────────────────────────────


def model_of(fm: Any, guardrails: str) -> Any:
    """The system's model."""
    kinds = fm.SystemLanguageModelGuardrails
    permissive = kinds.PERMISSIVE_CONTENT_TRANSFORMATIONS
    return fm.SystemLanguageModel(
        guardrails=permissive if guardrails == "permissive" else kinds.DEFAULT
    )


async def session_of(fm: Any, model: Any, plan: Plan, tools: list[Any]) -> Any:
    """A session with the conversation so far.

    The framework writes the first entry itself, with instructions and tools; only the entries after
    it are ours.
    """
    session = fm.LanguageModelSession(plan.instructions or None, model, tools)
    if not plan.history:
        return session
    written = await session.transcript.to_dict()
    transcript = dict(written["transcript"])
    entries = [*transcript.get("entries", ()), *plan.history]
    continued = {**written, "transcript": {**transcript, "entries": entries}}
    earlier = await fm.Transcript.from_dict(continued)
    return fm.LanguageModelSession.from_transcript(earlier, model, tools)


async def size_of(fm: Any, model: Any, *values: Any) -> int | None:
    """Tokens of texts and transcripts together; None if this macOS cannot count (before 26.4)."""
    try:
        return sum([int(await model.token_count(value)) for value in values])
    except fm.FoundationModelsError as error:  # there is no class of its own for "not supported"
        _log.debug("Apple's SDK does not count: %s", type(error).__name__)
        return None


def call_prompt(tool: OfferedTool) -> str:
    """The request for the arguments of one call."""
    about = f": {tool.description}" if tool.description else ""
    return f"Write the arguments for a call of the tool `{tool.sent}`{about}"

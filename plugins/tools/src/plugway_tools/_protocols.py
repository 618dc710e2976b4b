"""The protocols between plugins that hold tools, plugins that run them, and plugins that judge."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from plugway import Exchange
from plugway_tools._text import harmless

Effect = Literal["read", "write", "run"]
"""What a call can do: `read` changes nothing anywhere; `write` changes files or stored data on this
machine; `run` starts programs, or acts outside (sends, submits, clicks)."""


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that its holder is configured to offer."""

    name: str
    """Unique in the gateway: `<server>_<tool>`, at most 64 of `[A-Za-z0-9_-]`, as APIs require."""
    description: str
    input_schema: Mapping[str, Any]
    """JSON Schema of the arguments, an object."""
    effect: Effect
    outside: bool = True
    """Whether its results may contain text that somebody outside wrote: a web page, a file of
    unknown origin. After such a result, no call of the same loop may write or run."""
    parallel: bool = False
    """Whether it may run beside other calls of the same reply."""
    words: tuple[str, ...] = ()
    """Further words that a user may use for it, for retrieval."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call by a model."""

    id: str
    """The id of the model's call. A holder never runs two calls with the same id of an exchange."""
    name: str
    arguments: Mapping[str, Any]
    exchange: Exchange
    """The request that it belongs to: its caller and conversation."""
    roots: tuple[Path, ...] = ()
    """Folders that the call may use; empty for those in the holder's own configuration. A holder
    narrows its own folders to them and never widens them."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, as the content of a `tool_result` of the Messages API."""

    content: tuple[Mapping[str, Any], ...]
    """Blocks `text` and `image`; texts are `harmless`."""
    is_error: bool = False
    structured: Mapping[str, Any] | None = field(default=None, compare=False)
    """The result as data, if the tool returned data too; it is not sent to models."""

    @property
    def text(self) -> str:
        """Its texts, joined by line breaks."""
        return "\n".join(str(b.get("text")) for b in self.content if b.get("type") == "text")

    @classmethod
    def of(cls, text: str, *, is_error: bool = False) -> ToolResult:
        """A result of one text."""
        return cls(({"type": "text", "text": harmless(text)},), is_error)


def failed(reason: str) -> ToolResult:
    """The result of a call that failed; `reason` tells the model why, and what would help."""
    return ToolResult.of(reason, is_error=True)


def unknown_tool(name: str, on: Iterable[str]) -> ToolResult:
    """The result of a call of a tool that is not among those that are on."""
    names = ", ".join(f"`{one}`" for one in on) or "none"
    return failed(f"{name[:100]!r} is unknown or off; tools that are on: {names}")


@runtime_checkable
class HoldsTools(Protocol):
    """A plugin that has tools."""

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that its configuration allows. One that cannot be reached is left out; raises
        nothing."""
        ...

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call; it ends within the holder's time limit, and with the request's cancellation.
        Every failure is a result, also an unknown or disallowed tool and wrong arguments."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a call may run without asking anybody."""

    kind: Literal["allowed", "denied", "undecided"]
    reason: str
    """A sentence without its full stop, for the model and the receipt."""


@runtime_checkable
class JudgesCalls(Protocol):
    """A plugin with rules about calls."""

    def judge_call(self, call: ToolCall, spec: ToolSpec) -> Verdict:
        """The verdict of its rules. `denied` is final; a grant in the configuration decides an
        `undecided` call."""
        ...

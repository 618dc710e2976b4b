"""Token counts as reporting to the client: scaled usage, and the applied edits.

Exchanges without either are not changed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from plugway import EventStream, StreamEvent, as_object

_COUNTS: Final = frozenset(
    ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
)


@dataclass(frozen=True, slots=True)
class ReportedUsage:
    """The changes to the token counts of one exchange."""

    scale: float = 1.0
    applied: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def changes(self) -> bool:
        """Whether there is anything to change."""
        return self.scale != 1.0 or bool(self.applied)

    @property
    def described(self) -> str:
        """The changes, for the receipt."""
        scaled = (
            [f"usage is reporting as {self.scale:.3g} times its real value"]
            if self.scale != 1.0
            else []
        )
        return "; ".join(
            [*scaled, *(["applied context edits are reporting"] if self.applied else [])]
        )

    def usage(self, usage: Any) -> dict[str, Any]:
        """A `usage` object with its counts scaled, those of `cache_creation` included."""
        return {name: self._value(name, value) for name, value in as_object(usage).items()}

    def _value(self, name: str, value: Any) -> Any:
        if name == "cache_creation" and isinstance(value, dict):
            parts = as_object(value)
            return {key: self.tokens(part) for key, part in parts.items()}
        return self.tokens(value) if name in _COUNTS else value

    def tokens(self, value: Any) -> Any:
        """A scaled count; anything else unchanged."""
        if not isinstance(value, int) or isinstance(value, bool):
            return value
        return round(value * self.scale)

    def message(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """A complete message with changed counts."""
        new = dict(message)
        if self.scale != 1.0 and "usage" in message:
            new["usage"] = self.usage(message["usage"])
        return new | self._edits()

    def event(self, item: StreamEvent) -> StreamEvent:
        """An event of a stream; only the two with usage in them are changed."""
        if item.type == "message_start" and self.scale != 1.0:
            message = as_object(item.data.get("message"))
            if "usage" in message:
                message = {**message, "usage": self.usage(message["usage"])}
            return StreamEvent(item.type, {**item.data, "message": message})
        if item.type == "message_delta":
            data = dict(item.data) | self._edits()
            if "usage" in data:
                data["usage"] = self.usage(data["usage"])
            return StreamEvent(item.type, data)
        return item

    def _edits(self) -> dict[str, Any]:
        return {"context_management": {"applied_edits": self.applied}} if self.applied else {}


class ReportedStream:
    """A stream whose numbers are changed; it owns no resources."""

    def __init__(self, stream: EventStream, reporting: ReportedUsage) -> None:
        self._events = aiter(stream)
        self._reporting = reporting

    def __aiter__(self) -> AsyncIterator[StreamEvent]:
        """The events, as they come."""
        return self

    async def __anext__(self) -> StreamEvent:
        """The next event."""
        return self._reporting.event(await anext(self._events))

    async def aclose(self) -> None:
        """Does nothing: the kernel closes the inner stream."""


def prompt_tokens(usage: Any) -> int:
    """All tokens of a prompt that a `usage` object counts."""
    counts = as_object(usage)
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(counts[name] for name in names if isinstance(counts.get(name), int))

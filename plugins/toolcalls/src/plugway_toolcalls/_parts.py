"""The parts of a reply, and their conversion to events of the Messages API."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from plugway import Emitter, StreamEvent


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Visible text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """Reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStart:
    """Start of a tool call."""

    name: str


@dataclass(frozen=True, slots=True)
class CallArguments:
    """A piece of the arguments' JSON text."""

    fragment: str


@dataclass(frozen=True, slots=True)
class CallEnd:
    """The tool call is complete."""


@dataclass(frozen=True, slots=True)
class CallError:
    """Text that started like a call but is not one. Rewind to its start, or show `text`."""

    text: str
    """The complete text, including the opening marker."""
    reason: str
    cut: bool = False
    """Whether it is a call that was cut off: leave it out, and report that."""


Part = TextDelta | ThinkingDelta | CallStart | CallArguments | CallEnd | CallError


def merged(parts: Iterable[Part]) -> list[Part]:
    """The same parts with adjacent deltas of one kind joined."""
    result: list[Part] = []
    for part in parts:
        last = result[-1] if result else None
        match last, part:
            case (TextDelta(a), TextDelta(b)):
                result[-1] = TextDelta(a + b)
            case (ThinkingDelta(a), ThinkingDelta(b)):
                result[-1] = ThinkingDelta(a + b)
            case (CallArguments(a), CallArguments(b)):
                result[-1] = CallArguments(a + b)
            case _:
                result.append(part)
    return result


def to_events(parts: Iterable[Part], emitter: Emitter, *, signature: str = "") -> list[StreamEvent]:
    """The events for `parts`; `signature` signs the thinking blocks.

    A malformed call becomes the text that the model wrote, so nothing is lost. A call that was cut
    off is left out.
    """
    events: list[StreamEvent] = []
    for part in parts:
        match part:
            case CallError(cut=True):
                events += emitter.cut_call()
            case TextDelta(text) | CallError(text):
                events += emitter.text(text)
            case ThinkingDelta(text):
                events += emitter.thinking(text, signature=signature)
            case CallStart(name):
                events += emitter.tool_start(name)
            case CallArguments(fragment):
                events += emitter.tool_arguments(fragment)
            case CallEnd():
                events += emitter.close_block()
    return events

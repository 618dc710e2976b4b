"""Definition of a model family: data that describes the format of its replies.

`_output` parses a reply with this data, and `_grammar` writes a grammar.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CallKind = Literal["object", "arguments", "tags", "braces", "python"]
"""Format of name and arguments in a call.

- `object`: one JSON object (or a list of them) with the name and the arguments;
- `arguments`: the name first, then one JSON object;
- `tags`: the name first, then one tag per argument with the unescaped value;
- `braces`: the name first, then `{key:value}` with bare keys and marked strings;
- `python`: calls in Python syntax.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """The family's own format of a call after the opening marker, which the grammar enforces."""

    before: str
    """Text between the opening marker and the name."""
    between: str
    """Text between the name and the arguments."""
    after: str
    """Text from the arguments to the end of the call."""
    key: str = ""
    """Opening of an argument in tags; `{key}` stands for its name."""
    value_end: str = ""
    """End of an argument in tags; `{key}` stands for its name."""
    typed: str = ""
    """Opening of an argument that is not a string, if it differs; `{type}` stands for the JSON type
    of its value."""
    quote: str = '"'
    """Marks around strings, for a call in braces."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One format of calls."""

    kind: CallKind
    opening: str = ""
    """Start of a call; empty: a call may be at the start of a reply without a marker."""
    closing: str = ""
    """End of a call; empty: it ends with its JSON value."""
    outers: tuple[str, ...] = ()
    """Texts that may close the call after `closing`, or instead of it."""
    head: str = ""
    """Regular expression between opening and arguments, with a group `name`."""
    key: str = ""
    """Regular expression for the start of an argument in tags: groups `key` and maybe `typed`."""
    parameter_end: str = ""
    """End of an argument in tags; `{key}` stands for its name."""
    unclosed: bool = False
    """Whether models sometimes omit that text."""
    nested: bool = False
    """Whether a list or object in tags is written as nested tags, one per member or `item`."""
    cdata: bool = False
    """Whether a value in tags may be enclosed in `<![CDATA[` and `]]>`."""
    wrapped: bool = False
    """Whether a value in tags is on separate lines."""
    quote: str = ""
    """Marks around strings in braces."""
    shape: Shape | None = None
    """None: calls in this format are parsed but never enforced."""


@dataclass(frozen=True, slots=True)
class Header:
    """A message header, for families that route text to channels."""

    openings: tuple[str, ...]
    end: str
    call: str
    """Regular expression that finds the `name` of a call in a header."""
    thinking: str
    """Regular expression of a header before reasoning."""
    closing: str
    """End of a call."""
    begins: tuple[str, ...] = ()
    """Possible beginnings of a reply whose first header was opened by the prompt."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Lines that name who gets what follows, for families whose prompt ends within such a line.

    Only the name of a tool of the request makes such a line, because what it begins with is common
    in text.
    """

    opening: str
    """Start of the line, with which the prompt ends."""
    text: str
    """The name before text for the user."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A recorded reply and its expected blocks."""

    text: str
    blocks: tuple[tuple[str, ...], ...]
    """`("text", …)`, `("thinking", …)`, `("call", name, arguments as JSON)` or `("error", …)`."""
    thinking: bool = False
    """Whether the prompt had already opened the reasoning."""


@dataclass(frozen=True, slots=True)
class Family:
    """The format of one model family's replies."""

    name: str
    calls: tuple[CallFormat, ...]
    """The family's own format first, then others that its models use by mistake."""
    detect: tuple[tuple[str, ...], ...]
    """The family is detected if all texts of one of these occur in the chat template."""
    reasoning: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    """Opening and closing markers of reasoning."""
    noise: tuple[str, ...] = ()
    """Markers without meaning, such as those around a list of calls."""
    stops: tuple[str, ...] = ()
    """Texts that end a reply, besides the model's own end token."""
    section: tuple[str, str] = ("", "")
    """Markers around all calls of a reply."""
    separator: str = ""
    """Text between two calls."""
    header: Header | None = None
    recipients: Recipients | None = None
    call_id: Literal["nine", "indexed"] = "nine"
    """`nine` characters from a hash, or `functions.NAME:INDEX`."""
    samples: tuple[Sample, ...] = ()

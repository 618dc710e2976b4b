"""What a model family is: data that says how its replies are written.

Reading a reply with this data is `_output`'s business, writing a grammar `_grammar`'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

CallKind = Literal["object", "arguments", "tags", "braces", "python"]
"""How name and arguments stand in a call.

- `object`: one JSON object (or a list of them) that holds the name and the arguments;
- `arguments`: the name in front, then one JSON object;
- `tags`: the name in front, then one tag per argument with the value as it is;
- `braces`: the name in front, then `{key:value}` with bare keys and marked strings;
- `python`: calls as Python writes them.
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """How the family itself writes a call after the opening marker: what the grammar enforces."""

    before: str
    """Between the opening marker and the name."""
    between: str
    """Between the name and the arguments."""
    after: str
    """From the arguments to the end of the call."""
    key: str = ""
    """Opens one argument of a call in tags; `{key}` stands for its name."""
    value_end: str = ""
    """Closes one argument of a call in tags; `{key}` stands for its name."""
    typed: str = ""
    """Opens an argument that is not a string, where that is written differently; `{type}` stands
    for the JSON type of its value."""
    quote: str = '"'
    """Around strings, for a call in braces."""


@dataclass(frozen=True, slots=True)
class CallFormat:
    """One way in which calls are written."""

    kind: CallKind
    opening: str = ""
    """The text a call begins with; empty: a call may stand bare at the start of a reply."""
    closing: str = ""
    """The text a call ends with; empty: it ends with its JSON value."""
    outers: tuple[str, ...] = ()
    """Texts of which one may close the call after `closing`, or in place of it."""
    head: str = ""
    """Regular expression between opening and arguments, with a group `name`."""
    key: str = ""
    """Regular expression that begins one argument in tags: groups `key` and perhaps `typed`."""
    parameter_end: str = ""
    """The text that ends one argument in tags; `{key}` stands for its name."""
    unclosed: bool = False
    """Models forget that text at times."""
    nested: bool = False
    """In tags, a list or an object is more tags: one for each member, or `item`."""
    cdata: bool = False
    """A value in tags may stand in `<![CDATA[` and `]]>`."""
    wrapped: bool = False
    """A value in tags stands on lines of its own."""
    quote: str = ""
    """Around strings in braces."""
    shape: Shape | None = None
    """None: calls in this format are read but never enforced."""


@dataclass(frozen=True, slots=True)
class Header:
    """A message header, for families that route text by channels."""

    openings: tuple[str, ...]
    end: str
    call: str
    """Regular expression that finds the `name` of a call in a header."""
    thinking: str
    """Regular expression of a header in front of reasoning."""
    closing: str
    """The text that ends a call."""
    begins: tuple[str, ...] = ()
    """How a reply may begin whose first header was opened by the prompt."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A recorded reply and the blocks it stands for."""

    text: str
    blocks: tuple[tuple[str, ...], ...]
    """`("text", …)`, `("thinking", …)`, `("call", name, arguments as JSON)` or `("error", …)`."""
    thinking: bool = False
    """The prompt had already opened the reasoning."""


@dataclass(frozen=True, slots=True)
class Family:
    """How the replies of one family of models are written."""

    name: str
    calls: tuple[CallFormat, ...]
    """The family's own format first, then those that its models fall into."""
    detect: tuple[tuple[str, ...], ...]
    """The family is meant where all texts of one of these stand in the chat template."""
    reasoning: tuple[tuple[str, str], ...] = (("<think>", "</think>"),)
    """Opening and closing marker of reasoning."""
    noise: tuple[str, ...] = ()
    """Markers that carry nothing, such as those around a list of calls."""
    stops: tuple[str, ...] = ()
    """Texts that end a reply, beside the model's own end token."""
    section: tuple[str, str] = ("", "")
    """Around all calls of a reply."""
    separator: str = ""
    """Between two calls."""
    header: Header | None = None
    call_id: Literal["nine", "indexed"] = "nine"
    """`nine` characters from a hash, or `functions.NAME:INDEX`."""
    samples: tuple[Sample, ...] = ()

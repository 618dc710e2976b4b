"""The options: what a user writes.

What the written targets stand for is found out in `_table`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from plugway import Options


def _as_list(value: object) -> object:
    if not isinstance(value, str | list | tuple):
        raise ValueError("should be a target such as `INSTANCE/MODEL`, or a list of them")  # noqa: TRY004
    return [value] if isinstance(value, str) else value  # pyright: ignore[reportUnknownVariableType]


def _as_entry(value: object) -> object:
    return value if isinstance(value, dict | Entry) else {"targets": value}  # pyright: ignore[reportUnknownVariableType]


Targets = Annotated[
    tuple[str, ...], BeforeValidator(_as_list, json_schema_input_type=str | list[str])
]
"""`INSTANCE/MODEL` and so on, in fallback order; one alone may be written without a list."""


class Entry(Options):
    """Targets with what is to be said about them."""

    targets: Targets
    """Where it goes, in fallback order: `INSTANCE/MODEL`, `INSTANCE` or the name of an alias."""
    allow_zone_change: bool | None = None
    """Whether these targets may follow each other from one zone into another."""


AnyEntry = Annotated[
    Entry, BeforeValidator(_as_entry, json_schema_input_type=str | list[str] | Entry)
]


class When(Options):
    """Conditions of a rule; all that are given must hold."""

    model: str | None = None
    """Pattern for the model id that the client asked for."""
    session: str | None = None
    """`present`, `absent`, or a pattern for the id of the client's conversation."""
    agent: str | None = None
    """`present` for subagents, `absent` for the main conversation, or a pattern for the agent's
    id."""
    min_tokens: int | None = Field(default=None, ge=0)
    """Smallest size of the request, estimated: a token for four bytes, 1,600 for an image."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Largest size of the request, estimated."""
    has_tools: bool | None = None
    """Whether the request offers tools."""
    has_images: bool | None = None
    """Whether there is an image anywhere in the conversation."""
    has_thinking: bool | None = None
    """Whether the request asks for thinking."""
    header: dict[str, str] = Field(default={})
    """Header lines of the request with exactly these values."""
    text: str | None = Field(default=None, min_length=1)
    """Text that occurs in what the user typed last, in any case; tool results do not count."""

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, value: object) -> object:
        if value == {}:
            raise ValueError("should have a condition; unconditional rules belong in `models`")
        return value

    @model_validator(mode="after")
    def _sizes_fit(self) -> When:
        least, most = self.min_tokens, self.max_tokens
        if least is not None and most is not None and least > most:
            raise ValueError("should have a `min_tokens` that is not above `max_tokens`")
        return self


class Rule(Entry):
    """Targets for requests that fulfil conditions."""

    when: When
    """The conditions."""
    reason: str = ""
    """Why, in words: shown in the receipt and by `plugway explain`."""


class RouterOptions(Options):
    """Options of `router`."""

    models: dict[str, AnyEntry] = Field(default={})
    """Pattern for the model id that a client asks for -> targets in fallback order. An id without
    wildcards wins; otherwise the first pattern that fits."""
    aliases: dict[str, AnyEntry] = Field(default={})
    """Name of your own -> targets. Clients see it in the list of models as
    `anthropic/router/NAME`; other targets may name it."""
    rules: tuple[Rule, ...] = ()
    """Conditions -> targets; the first rule that holds wins over `models` and `aliases`."""
    allow_zone_change: bool = False
    """Whether a fallback may leave the zone of the first target (this machine, or a vendor) for
    another vendor's. Without it such targets are left out."""

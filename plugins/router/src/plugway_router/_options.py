"""The options, as a user writes them.

See `_table` for how targets are resolved.
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
"""`INSTANCE/MODEL` and so on, in fallback order; a single target needs no list."""


class Entry(Options):
    """Targets and their settings."""

    targets: Targets
    """In fallback order: `INSTANCE/MODEL`, `INSTANCE` or the name of an alias."""
    allow_zone_change: bool | None = None
    """Whether a fallback may go to another zone than the first target."""


AnyEntry = Annotated[
    Entry, BeforeValidator(_as_entry, json_schema_input_type=str | list[str] | Entry)
]


class When(Options):
    """Conditions of a rule; all that are set must hold."""

    model: str | None = None
    """Pattern for the model id that the client requests."""
    session: str | None = None
    """`present`, `absent`, or a pattern for the id of the client's conversation."""
    agent: str | None = None
    """`present` for subagents, `absent` for the main conversation, or a pattern for the agent's
    id."""
    min_tokens: int | None = Field(default=None, ge=0)
    """Minimum size of the request in estimated tokens: one per four bytes, 1,600 per image."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Maximum size of the request in estimated tokens."""
    has_tools: bool | None = None
    """Whether the request offers tools."""
    has_images: bool | None = None
    """Whether the conversation contains an image."""
    has_thinking: bool | None = None
    """Whether the request asks for thinking."""
    header: dict[str, str] = Field(default={})
    """Request headers with exactly these values."""
    text: str | None = Field(default=None, min_length=1)
    """Text that occurs in the user's last message, in any case; tool results are ignored."""

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
    """Targets for requests that meet conditions."""

    when: When
    """The conditions."""
    reason: str = ""
    """Reason that the receipt and `plugway explain` show."""


class RouterOptions(Options):
    """Options of `router`."""

    models: dict[str, AnyEntry] = Field(default={})
    """Pattern for the model id that a client requests -> targets in fallback order. An id without
    wildcards wins; otherwise the first pattern that matches."""
    aliases: dict[str, AnyEntry] = Field(default={})
    """Your own name -> targets. Clients see it in the list of models as
    `anthropic/router/NAME`; other targets may refer to it."""
    rules: tuple[Rule, ...] = ()
    """Conditions -> targets; the first rule that matches wins over `models` and `aliases`."""
    allow_zone_change: bool = False
    """Whether a fallback may leave the zone of the first target (this machine, or a vendor) for
    another vendor's. If false, such targets are left out."""

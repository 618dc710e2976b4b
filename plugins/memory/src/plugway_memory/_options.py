"""Options of the plugin, and sizes as people write them."""

from __future__ import annotations

import re
from typing import Final, Literal

from pydantic import Field, field_validator

from plugway import Options

_SIZE: Final = re.compile(
    r"(?P<number>\d{1,15}(?:\.\d{1,15})?)\s*(?P<unit>%|[KMGT]i?B|B)", re.IGNORECASE
)
_UNITS: Final = {"b": 1} | {
    f"{letter}{i}b": (1024 if i else 1000) ** power
    for power, letter in enumerate("kmgt", 1)
    for i in ("", "i")
}


class MemoryOptions(Options):
    """Options of `memory`."""

    reserve: str = "10%"
    """Memory that stays free for everything else, as a size such as `2 GiB`, or as a share of the
    machine's memory such as `10%`."""
    keep: tuple[str, ...] = ()
    """Patterns of the models that are never unloaded, as `INSTANCE/MODEL`; `*` matches any text."""
    wait_seconds: float = Field(default=300.0, ge=0, le=3_600)
    """How long a request waits for other models to become idle before it fails as overloaded."""
    order: Literal["lru", "smallest", "largest", "listed"] = "lru"
    """Which idle model is unloaded first: the least recently used, the smallest, the largest, or
    that of the backend listed last."""

    @field_validator("reserve", mode="before")
    @classmethod
    def _check_reserve(cls, value: object) -> str:
        text = "0 B" if value == 0 and type(value) is int else str(value)
        bytes_of(text, 0)
        return text

    @field_validator("keep")
    @classmethod
    def _check_keep(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for pattern in value:
            if not {"/", "*"}.intersection(pattern):
                raise ValueError(
                    f"expected INSTANCE/MODEL such as `ollama/{pattern or 'qwen3'}`, "
                    f"got {pattern!r}, which matches no model"
                )
        return value


def bytes_of(size: str, total: int) -> int:
    """The bytes of `2 GiB`, `500 MB` or, of `total`, `10%`.

    Raises:
        ValueError: it is not a size, or more than 90 percent.
    """
    match = _SIZE.fullmatch(size.strip())
    if match is None:
        raise ValueError(f"expected a size such as `2 GiB` or `10%`, got {size!r}")
    number, unit = float(match["number"]), match["unit"].lower()
    if unit != "%":
        return int(number * _UNITS[unit])
    if number > 90:
        raise ValueError(f"expected at most 90%, got {size!r}")
    return int(total * number / 100)


def size_text(size: int) -> str:
    """Bytes for people: `3.4 GiB`, `210 MiB`."""
    if abs(size) >= 1 << 30:
        return f"{size / (1 << 30):,.1f} GiB"
    return f"{size / (1 << 20):,.0f} MiB"

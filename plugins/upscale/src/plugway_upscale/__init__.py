"""Enlarges pictures; see README.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_upscale._plugin import Upscale

__all__ = ["Upscale"]


def __getattr__(name: str) -> Any:
    if name != "Upscale":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from plugway_upscale._plugin import Upscale  # a worker does not need it

    return Upscale

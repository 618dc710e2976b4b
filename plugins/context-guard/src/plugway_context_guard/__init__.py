"""Keeps prompts inside the real window of a model, and makes the client compact in time."""

from plugway_context_guard._options import ContextGuardOptions
from plugway_context_guard._plugin import ContextGuard

__all__ = ["ContextGuard", "ContextGuardOptions"]

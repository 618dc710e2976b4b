"""Choose the backend and model for a request: patterns, aliases, rules, fallback lists.

The kernel tries the targets one after the other.
"""

from plugway_router._options import Entry, RouterOptions, Rule, When
from plugway_router._plugin import Router

__all__ = ["Entry", "Router", "RouterOptions", "Rule", "When"]

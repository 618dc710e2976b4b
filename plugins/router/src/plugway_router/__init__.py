"""Which backend and model serve a request: patterns, aliases, rules, fallback lists.

Trying the targets one after the other is the kernel's business.
"""

from plugway_router._options import Entry, RouterOptions, Rule, When
from plugway_router._plugin import Router

__all__ = ["Entry", "Router", "RouterOptions", "Rule", "When"]

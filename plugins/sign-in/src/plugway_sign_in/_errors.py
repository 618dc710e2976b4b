"""Why somebody cannot sign in."""

from __future__ import annotations


class NotLetIn(Exception):
    """Somebody cannot sign in with the provider, in words for the page."""

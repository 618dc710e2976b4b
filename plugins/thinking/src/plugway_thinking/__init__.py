"""Remembers who made a thinking block, and gives it back to nobody else.

The signature that says so is `plugway-signature`'s; the request's field `thinking` is the business
of `field-policy`.
"""

from plugway_thinking._plugin import Thinking, ThinkingOptions

__all__ = ["Thinking", "ThinkingOptions"]

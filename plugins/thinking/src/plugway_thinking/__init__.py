"""Tracks which model produced a thinking block, and sends it back only to that model.

`plugway-signature` defines the signature; `field-policy` handles the request field `thinking`.
"""

from plugway_thinking._plugin import Thinking, ThinkingOptions

__all__ = ["Thinking", "ThinkingOptions"]

"""A backend without a model: it says what it received, or does what the prompt tells it to.

For the first run, for examples, and for tests of other plugins.
"""

from plugway_echo._plugin import Echo, EchoOptions

__all__ = ["Echo", "EchoOptions"]

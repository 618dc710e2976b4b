"""A backend without a model: it repeats what it received, or follows orders in the prompt.

For the first run, for examples, and for tests of other plugins.
"""

from plugway_echo._plugin import Echo, EchoOptions

__all__ = ["Echo", "EchoOptions"]

"""One arbiter for all models in this machine's memory."""

from plugway_memory._options import MemoryOptions
from plugway_memory._plugin import MemoryPlugin

__all__ = ["MemoryOptions", "MemoryPlugin"]

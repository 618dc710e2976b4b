"""What each request read from the prompt cache, and why not more."""

from plugway_cache_watch._options import CacheWatchOptions
from plugway_cache_watch._plugin import CacheWatch

__all__ = ["CacheWatch", "CacheWatchOptions"]

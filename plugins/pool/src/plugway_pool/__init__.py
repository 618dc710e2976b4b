"""One backend over many equal servers: a conversation stays with the server that has its cache."""

from plugway_pool._options import PoolOptions
from plugway_pool._plugin import Pool

__all__ = ["Pool", "PoolOptions"]

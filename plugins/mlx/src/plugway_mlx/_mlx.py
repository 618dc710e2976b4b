"""MLX and mlx-lm as values without types: the only module that imports them.

They are an optional extra, so types are checked without them. Only the worker process imports this
module.

Raises:
    ImportError: MLX or mlx-lm is not installed, or MLX lacks a backend for this system.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

mx: Any = import_module("mlx.core")
caches: Any = import_module("mlx_lm.models.cache")
models: Any = import_module("mlx_lm.utils")

Array = Any
"""An `mlx.core.array`, which may not be evaluated yet."""

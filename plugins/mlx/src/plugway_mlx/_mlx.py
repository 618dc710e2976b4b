"""MLX and mlx-lm as modules without types, imported on first use: the only place that imports them.

They are an optional extra, so types are checked, and all modules imported, without them.

`mx` is `mlx.core`, `caches` is `mlx_lm.models.cache`, `models` is `mlx_lm.utils`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

_MODULES: Final = {
    "mx": "mlx.core",
    "caches": "mlx_lm.models.cache",
    "models": "mlx_lm.utils",
}

Array = Any
"""An `mlx.core.array`, which may not be evaluated yet."""


def load() -> None:
    """Import all of them.

    Raises:
        ImportError: MLX or mlx-lm is not installed, or MLX lacks a backend for this system.
    """
    for module in _MODULES.values():
        import_module(module)


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = import_module(module)
    return found

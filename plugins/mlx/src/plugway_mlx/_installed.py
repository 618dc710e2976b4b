"""Whether MLX is installed, without importing it, and the one sentence that says what to do."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Final


def _how() -> str:
    if sys.platform == "darwin" and platform.machine() == "arm64":
        return "Install it with `pip install 'mlx<0.33' 'mlx-lm<0.33'`"
    if sys.platform == "linux":
        return "Install it with `pip install 'mlx[cpu]<0.33' 'mlx-lm<0.33'` (355 MB)"
    return "It runs on Macs with Apple silicon and on Linux; use `llama-cpp` here"


HOW_TO_INSTALL: Final = _how()
_BACKENDS: Final = ("mlx-cpu", "mlx-cuda-12", "mlx-cuda-13")
"""The packages of which `mlx` needs one on Linux."""


def missing_engine() -> str:
    """Why models cannot run here, and the fix; empty if MLX is installed."""
    if find_spec("mlx") is None or find_spec("mlx_lm") is None:
        return f"MLX is not installed. {HOW_TO_INSTALL}"
    if sys.platform == "linux" and not any(map(_is_installed, _BACKENDS)):
        return f"MLX is installed without a backend for Linux. {HOW_TO_INSTALL}"
    return ""


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True

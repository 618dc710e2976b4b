"""Local inference: GGUF models run by llama.cpp in a supervised process.

The gateway's process imports neither llama.cpp nor a model; a crash there fails only its requests.
The worker's process imports parts of this package, and starts faster without the plugin itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plugway_llama_cpp._options import LlamaCppOptions
    from plugway_llama_cpp._plugin import LlamaCpp

_LATER = {"LlamaCpp": "_plugin", "LlamaCppOptions": "_options"}

__all__ = ["LlamaCpp", "LlamaCppOptions"]


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)

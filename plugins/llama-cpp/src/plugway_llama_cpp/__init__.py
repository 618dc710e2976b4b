"""Local inference: GGUF models run by llama.cpp in a supervised process.

The gateway's process imports neither llama.cpp nor a model; a crash there fails only its requests.
"""

from plugway_llama_cpp._options import LlamaCppOptions
from plugway_llama_cpp._plugin import LlamaCpp

__all__ = ["LlamaCpp", "LlamaCppOptions"]

"""Models in this machine's memory, and how backends are asked for them: a library, not a plugin."""

from plugway_local_models._protocols import FreesCaches, HoldsModels, LoadedModel, MakesRoom
from plugway_local_models._servers import InUse, Loading, becomes, has_gpu_memory

__all__ = [
    "FreesCaches",
    "HoldsModels",
    "InUse",
    "LoadedModel",
    "Loading",
    "MakesRoom",
    "becomes",
    "has_gpu_memory",
]

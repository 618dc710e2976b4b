"""Models in this machine's memory, and how backends are asked for them: a library, not a plugin."""

from plugway_local_models._protocols import FreesCaches, HoldsModels, LoadedModel, MakesRoom

__all__ = ["FreesCaches", "HoldsModels", "LoadedModel", "MakesRoom"]

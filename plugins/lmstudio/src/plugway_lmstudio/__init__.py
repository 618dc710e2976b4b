"""LM Studio, with load state and the window that a model was loaded with."""

from plugway_lmstudio._plugin import LmStudio, LmStudioOptions

__all__ = ["LmStudio", "LmStudioOptions"]

"""Tools for clients that bring none; see the README."""

from plugway_toolbelt._options import ToolbeltOptions
from plugway_toolbelt._plugin import Toolbelt

__all__ = ["Toolbelt", "ToolbeltOptions"]

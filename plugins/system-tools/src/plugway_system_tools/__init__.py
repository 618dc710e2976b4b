"""Tools about this machine, for models; see the README."""

from plugway_system_tools._options import SystemToolsOptions
from plugway_system_tools._plugin import SystemTools

__all__ = ["SystemTools", "SystemToolsOptions"]

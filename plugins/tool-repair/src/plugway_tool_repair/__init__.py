"""Makes tool calls valid: in prose, with wrong arguments, after template leaks and empty turns."""

from plugway_tool_repair._plugin import ToolRepair, ToolRepairOptions

__all__ = ["ToolRepair", "ToolRepairOptions"]

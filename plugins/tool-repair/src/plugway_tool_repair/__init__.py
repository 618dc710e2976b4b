"""Repairs tool calls: calls in text, wrong arguments, template leaks, and empty turns."""

from plugway_tool_repair._plugin import ToolRepair, ToolRepairOptions

__all__ = ["ToolRepair", "ToolRepairOptions"]

"""The gateway's own MCP server: endpoints, models and usage as tools, at `/mcp`.

The tools are in `_tools`, the protocol in `_server`, and `_calls` identifies callers.
"""

from plugway_mcp._plugin import Mcp

__all__ = ["Mcp"]

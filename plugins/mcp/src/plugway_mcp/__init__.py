"""The gateway's own MCP server: endpoints, models and usage as tools, at `/mcp`.

The tools are in `_tools`, the protocol in `_server`, who is calling in `_calls`.
"""

from plugway_mcp._plugin import Mcp

__all__ = ["Mcp"]

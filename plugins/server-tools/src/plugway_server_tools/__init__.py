"""Tools that only Anthropic's servers run, and tools that Anthropic defines for clients to run.

See `_known` for the list of tools, `_plan` and `_history` for changes to a request, and `_rounds`
for changes to a reply.
"""

from plugway_server_tools._options import ServerToolsOptions
from plugway_server_tools._plugin import ServerTools

__all__ = ["ServerTools", "ServerToolsOptions"]

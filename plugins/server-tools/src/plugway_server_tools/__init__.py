"""Tools that only Anthropic's servers run, and tools that Anthropic defines for clients to run.

See `_known` for the list of tools, `_plan` and `_history` for changes to a request, `_calls` and
`_shown` for the reply, and `_search` and `_fetch` for what the gateway runs itself.
"""

from plugway_server_tools._options import ServerToolsOptions
from plugway_server_tools._plugin import ServerTools

__all__ = ["ServerTools", "ServerToolsOptions"]

"""Tools that only Anthropic's servers run, and those that Anthropic defines for clients to run.

Which tools there are is in `_known`; what becomes of a request, in `_plan` and `_history`; what
becomes of an answer, in `_rounds`.
"""

from plugway_server_tools._options import ServerToolsOptions
from plugway_server_tools._plugin import ServerTools

__all__ = ["ServerTools", "ServerToolsOptions"]

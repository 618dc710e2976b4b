"""Chat Completions and the Messages API, requests out, answers in. Pure functions, no I/O.

`request_of` translates a request, `ChatReader` an answer as it comes, `ChatApi` is both for the
backend. The other direction is that of the plugin `openai-api`.
"""

from plugway_openai_wire._policy import OUTPUT, TOOL
from plugway_openai_wire.chat._api import DIALECT, ChatApi
from plugway_openai_wire.chat._policy import FIELDS, Quirks, Target
from plugway_openai_wire.chat._reader import ChatReader
from plugway_openai_wire.chat._request import Translated, request_of
from plugway_openai_wire.chat._told import totals_in

__all__ = [
    "DIALECT",
    "FIELDS",
    "OUTPUT",
    "TOOL",
    "ChatApi",
    "ChatReader",
    "Quirks",
    "Target",
    "Translated",
    "request_of",
    "totals_in",
]

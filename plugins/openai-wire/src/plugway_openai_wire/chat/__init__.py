"""Translates Messages requests to Chat Completions and replies back. Pure functions, no I/O.

`request_of` translates a request, `ChatReader` reads a streamed reply, and `ChatApi` combines both
for the backend. The plugin `openai-api` translates in the other direction.
"""

from plugway_openai_wire._policy import OUTPUT, TOOL
from plugway_openai_wire.chat._api import ChatApi
from plugway_openai_wire.chat._outcome import totals_in
from plugway_openai_wire.chat._policy import FIELDS, Quirks, Target
from plugway_openai_wire.chat._reader import ChatReader
from plugway_openai_wire.chat._request import Translated, request_of

__all__ = [
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

"""Translates Messages requests to the Responses API and replies back. Pure functions, no I/O.

`ResponsesApi` combines both for the backend; `request_of` translates a request, `Reader` reads a
streamed reply. The plugin `openai-api` translates in the other direction.
"""

from plugway_openai_wire._policy import OUTPUT, TOOL
from plugway_openai_wire.responses._api import ResponsesApi
from plugway_openai_wire.responses._failure import failure_in, status_of
from plugway_openai_wire.responses._items import input_of, reasoning_item, reasoning_text
from plugway_openai_wire.responses._outcome import citation_of, totals_in
from plugway_openai_wire.responses._policy import FIELDS, Target
from plugway_openai_wire.responses._reader import Reader
from plugway_openai_wire.responses._request import Translated, request_of
from plugway_openai_wire.responses._stop import StopCut
from plugway_openai_wire.responses._writer import ReplyContext

__all__ = [
    "FIELDS",
    "OUTPUT",
    "TOOL",
    "Reader",
    "ReplyContext",
    "ResponsesApi",
    "StopCut",
    "Target",
    "Translated",
    "citation_of",
    "failure_in",
    "input_of",
    "reasoning_item",
    "reasoning_text",
    "request_of",
    "status_of",
    "totals_in",
]

"""The Responses API and the Messages API, requests out, answers in. Pure functions, no I/O.

`ResponsesApi` is what the backend works with; `request_of` translates a request, `Reader` an answer
as it comes. The other direction is that of the plugin `openai-api`.
"""

from plugway_openai_wire._policy import OUTPUT, TOOL
from plugway_openai_wire.responses._api import ResponsesApi
from plugway_openai_wire.responses._failure import failure_in, status_of
from plugway_openai_wire.responses._items import input_of, reasoning_item, reasoning_text
from plugway_openai_wire.responses._policy import FIELDS, Target
from plugway_openai_wire.responses._reader import Reader
from plugway_openai_wire.responses._request import Translated, request_of
from plugway_openai_wire.responses._stop import StopCut
from plugway_openai_wire.responses._teller import Reading
from plugway_openai_wire.responses._told import citation_of, totals_in

__all__ = [
    "FIELDS",
    "OUTPUT",
    "TOOL",
    "Reader",
    "Reading",
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

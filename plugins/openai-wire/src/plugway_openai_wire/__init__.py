"""Translates the Messages API to OpenAI's APIs and back: a library, not a plugin.

`chat` and `responses` translate; `OpenAIBackend` sends the requests and reads the responses.
Anything specific to one provider belongs in that provider's plugin.
"""

from plugway_openai_wire._address import address_problem
from plugway_openai_wire._api import Api, Call, Reader
from plugway_openai_wire._backend import Endpoint, OpenAIBackend
from plugway_openai_wire._carried import Carried
from plugway_openai_wire._events import EventList, TranslatedEvents
from plugway_openai_wire._models import models_of

__all__ = [
    "Api",
    "Call",
    "Carried",
    "Endpoint",
    "EventList",
    "OpenAIBackend",
    "Reader",
    "TranslatedEvents",
    "address_problem",
    "models_of",
]

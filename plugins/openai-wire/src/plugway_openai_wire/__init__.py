"""OpenAI's APIs from and to the Messages API: a library, not a plugin.

`chat` and `responses` translate; `OpenAIBackend` sends what they make and reads the answer through
them. What is particular to one provider belongs in its own plugin.
"""

from plugway_openai_wire._api import Api, Call, Reader
from plugway_openai_wire._backend import Endpoint, OpenAIBackend
from plugway_openai_wire._events import MadeEvents, TranslatedEvents
from plugway_openai_wire._models import models_of
from plugway_openai_wire._sse import Payloads

__all__ = [
    "Api",
    "Call",
    "Endpoint",
    "MadeEvents",
    "OpenAIBackend",
    "Payloads",
    "Reader",
    "TranslatedEvents",
    "models_of",
]

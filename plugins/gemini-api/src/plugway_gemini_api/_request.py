"""Translates a Gemini request into a Messages request. Pure functions.

`_policy` says how each field is treated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from plugway import InvalidRequest
from plugway_gemini_api._contents import Conversation, system_of
from plugway_gemini_api._fields import integer, named, object_at
from plugway_gemini_api._generation import (
    AT,
    config_of,
    form_of,
    sampling,
    settle,
    thinking,
)
from plugway_gemini_api._media import Attachments
from plugway_gemini_api._policy import REQUEST, apply
from plugway_gemini_api._tools import declared, names_of, offered
from plugway_translation import MediaPolicy, Notes

_PATH: Final = re.compile(r"/(?:v1(?:beta|alpha)?/)*(?:models/)?(?P<model>.+):[A-Za-z]+")


def model_of(path: str) -> str:
    """The model in a request's path. Raises `InvalidRequest`."""
    found = _PATH.fullmatch(path)
    if found is None:
        message = "the path must be /v1beta/models/MODEL:METHOD"
        raise InvalidRequest(message, retry=False, record=True)
    return found["model"]


def messages_request(
    given: Mapping[str, Any],
    model: str,
    notes: Notes,
    *,
    max_tokens: int,
    media: MediaPolicy = "placeholder",
) -> dict[str, Any]:
    """The Messages request for `model`; `max_tokens` is the default limit.

    Raises `InvalidRequest`.
    """
    body = named(given)
    apply(body, REQUEST, notes)
    functions = declared(body)
    names = names_of(functions)
    config = config_of(body)
    found: dict[str, Any] = {"model": model}
    found["max_tokens"] = integer(config, "maxOutputTokens", AT, 1) or max_tokens
    found["messages"] = Conversation(names, Attachments(notes, media), notes).of(body)
    found |= sampling(config, notes) | offered(body, functions, names, notes)
    form = form_of(config, notes)
    system = system_of(body, notes)
    if form.asked:
        system.append({"type": "text", "text": form.asked})
    if system:
        found["system"] = system
    found |= thinking(config, form, notes)
    settle(found, notes)
    return found


def counted(given: Mapping[str, Any]) -> dict[str, Any]:
    """The request to count tokens for (`CountTokensRequest`). Raises `InvalidRequest`."""
    body = named(given)
    inner = object_at(body, "generateContentRequest", "")
    return inner or body

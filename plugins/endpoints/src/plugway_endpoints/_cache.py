"""Explanations of what exchanges read from a prompt cache, as other plugins find them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class ExplainsCache(Protocol):
    """A plugin that explains prompt caches: `Gateway.find(ExplainsCache)`."""

    def cache_of(self, request_id: str) -> Mapping[str, Any] | None:
        """What an exchange read from the prompt cache, and why not more, as JSON-ready data; None
        if nothing is known about it.

        `line` is a sentence; `read`, `written`, `total` and `missed` are tokens; `miss` is whether
        more could have been read; `cause` is a word and `why` the clause for it, with further ones
        in `also`; `dollars` is what the miss costs, None if the price is unknown.
        """
        ...

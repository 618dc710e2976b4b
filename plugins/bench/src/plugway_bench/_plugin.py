"""The plugin: when each exchange reached its backend, got its first content, and ended.

`plugway bench` subtracts these times from its own, so that the gateway's share is measured within
one exchange, with every backend, and without sending anything twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from plugway import (
    Attempt,
    Bounded,
    Exchange,
    MessagesRequest,
    NoOptions,
    Outcome,
    Plugin,
    Reply,
    Send,
    hookimpl,
)

PATH: Final = "/bench/exchanges/{id}"
_MOST: Final = 1000


class Bench(Plugin[NoOptions]):
    """Tells `plugway bench` when each exchange reached its backend; list it last."""

    def __init__(self, options: NoOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._times: Bounded[str, dict[str, Any]] = Bounded(_MOST)

    @hookimpl
    def register_routes(self) -> Sequence[BaseRoute]:
        """The times of one exchange, on the clock of `time.monotonic`."""
        return [Route(PATH, self._tell, methods=["GET"])]

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Note when the backend is called and when its first content is there."""
        times = self._times.setdefault(exchange.id, {"attempts": 0})
        times |= {"attempts": times["attempts"] + 1, "sent": time.monotonic()}
        reply = await send(request, attempt)
        times["first"] = time.monotonic()
        return reply

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Note the end: the connection to the backend is closed, or free again."""
        if (times := self._times.get(exchange.id)) is not None:
            times |= {"ended": time.monotonic(), "outcome": outcome.kind}

    async def _tell(self, request: Request) -> JSONResponse:
        return JSONResponse(self._times.get(str(request.path_params["id"]), {}))

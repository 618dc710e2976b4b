"""A backend that always gives the same reply and records the requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import orjson

from plugway.plugins.hookspecs import hookimpl
from plugway.plugins.plugin import Plugin
from plugway.types.backend import Backend, ModelInfo
from plugway.types.exchange import Attempt
from plugway.types.options import NoOptions
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_testing._gateway import request_body
from plugway_wire.emitter import Emitter
from plugway_wire.events import StreamEvent


class PlainOptions(NoOptions):
    """No options."""


class PlainBackend(Plugin[PlainOptions]):
    """Plugin and backend in one: replies `plain answer`, and keeps the requests in `seen`."""

    zone = "local"

    def __init__(self, options: PlainOptions, *, name: str = "plain") -> None:
        super().__init__(options, name=name)
        self.seen: list[MessagesRequest] = []

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Register this object."""
        return [self]

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Return the fixed reply."""
        self.seen.append(request)
        emitter = Emitter(model=request.model)
        usage = {"input_tokens": 1, "output_tokens": 2}
        events = [
            *emitter.start(usage),
            *emitter.text("plain answer"),
            *emitter.finish("end_turn", usage),
        ]

        async def stream() -> AsyncIterator[StreamEvent]:
            for item in events:
                yield item

        return Reply.streamed(stream())

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        """Always one."""
        return 1

    async def models(self) -> Sequence[ModelInfo]:
        """One model."""
        return [ModelInfo("test-model", context_tokens=200_000)]

    def expected(self, fields: Mapping[str, Any]) -> bytes:
        """The bytes of a request that no plugin changed."""
        return orjson.dumps(request_body("hello", **fields))

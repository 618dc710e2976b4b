"""The backend: reads the last user turn and streams a reply made from it.

See `_script` for the orders that a prompt can contain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import anyio
from pydantic import Field

from plugway import (
    Attempt,
    Backend,
    BackendRefused,
    Emitter,
    MessagesRequest,
    ModelInfo,
    Options,
    Plugin,
    Reply,
    StreamEvent,
    hookimpl,
)
from plugway_echo._script import Script, count_tokens, read_script


class EchoOptions(Options):
    """Options of `echo`."""

    models: tuple[str, ...] = ("echo",)
    """Model names that the backend lists; it accepts any other name too."""
    context_tokens: int = Field(default=200_000, ge=1)
    """Context window that the backend reports, in tokens."""
    delay_seconds: float = Field(default=0.0, ge=0, le=600)
    """Seconds to wait before each piece of the reply."""


class EchoBackend:
    """Replies without a model."""

    zone = "local"

    def __init__(self, name: str, options: EchoOptions) -> None:
        self.name = name
        self._options = options

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """A stream made from the last user turn. Raises `BackendRefused` if the prompt orders an
        error."""
        script = read_script(request.body, attempt.model)
        if script.error:
            raise BackendRefused(script.error, script.error_body(), native=True)
        return Reply.streamed(self._events(request, script))

    async def _events(self, request: MessagesRequest, script: Script) -> AsyncIterator[StreamEvent]:
        emitter = Emitter(model=request.model)
        usage = {"input_tokens": count_tokens(request.body), "output_tokens": 0}
        for item in emitter.start(usage):
            yield item
        for piece in script.pieces:
            if script.delay or self._options.delay_seconds:
                await anyio.sleep(script.delay or self._options.delay_seconds)
            for item in emitter.text(piece):
                yield item
        for name, arguments in script.tool_calls:
            for item in (*emitter.tool_start(name), *emitter.tool_arguments(arguments)):
                yield item
        usage["output_tokens"] = max(1, sum(len(piece) for piece in script.pieces) // 4)
        reason = "tool_use" if script.tool_calls else "end_turn"
        for item in emitter.finish(reason, usage):
            yield item

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int:
        """Estimated tokens of the prompt: a quarter of its characters, because there is no
        tokenizer here."""
        return count_tokens(request.body)

    async def models(self) -> Sequence[ModelInfo]:
        """The configured names."""
        window = self._options.context_tokens
        return [
            ModelInfo(name, context_tokens=window, max_output_tokens=32_000, state="loaded")
            for name in self._options.models
        ]


class Echo(Plugin[EchoOptions]):
    """Registers one echo backend."""

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [EchoBackend(self.name, self.options)]

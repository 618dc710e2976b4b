"""The plugin: sorts thinking on the way to a target, and signs what comes back.

Who is Anthropic: a backend that says so (`SpeaksMessages.native`), or is named in the options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import orjson

from plugway import (
    Attempt,
    Backend,
    EventStream,
    Exchange,
    MessagesRequest,
    Options,
    Plugin,
    Reply,
    SpeaksMessages,
    StateKey,
    as_list,
    hookimpl,
)
from plugway_signature import session_hash, signature
from plugway_thinking._blocks import Elsewhere, Reader, for_reader, stamped, state_of
from plugway_thinking._layer import Sign, SignedStream

SIGNED: StateKey[bool] = StateKey("thinking.signed")
"""The whole reply was signed before it was replayed as a stream."""
_TOLD: StateKey[bool] = StateKey("thinking.told")
"""That a block was signed is on the receipt."""


class ThinkingOptions(Options):
    """Options of `thinking`."""

    elsewhere: Elsewhere = "drop"
    """What a backend gets of thinking that another model made: `drop` nothing, or the `text` of it
    in place of the block. Anthropic gets none in either case."""
    native: tuple[str, ...] = ()
    """Names of backends that are Anthropic although they do not say so, such as a gateway in front
    of it: their blocks stay as they are, and they get nobody else's."""


class Thinking(Plugin[ThinkingOptions]):
    """Gives thinking blocks back to the model that made them, and to no other."""

    outside: ClassVar[tuple[str, ...]] = (
        "field-policy",
    )  # which joins turns that become neighbours

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Backends that do not exist."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            (("native", index), f"there is no backend `{name}`; there are {known}")
            for index, name in enumerate(self.options.native)
            if name not in zones
        ]

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The conversation with the thinking that the target may see."""
        backend = attempt.backend
        native = self._is_native(backend)
        reader = Reader(backend.name, attempt.model, native, self.options.elsewhere)
        messages = as_list(request.body.get("messages"))
        result = for_reader(messages, reader)
        if result.messages is messages:
            return None
        return request.replace(because=result.because(), messages=result.messages)

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """A whole message with its thinking signed."""
        sign = self._signer(exchange)
        if (
            sign is None
            or reply.body is None
            or reply.status != 200
            or b"thinking" not in reply.body
        ):
            return None
        message = reply.parsed
        blocks = as_list(message.get("content"))
        if not blocks:
            return None
        exchange.state[SIGNED] = True
        body = orjson.dumps({**message, "content": stamped(blocks, sign)})
        return reply.replace(body=body)

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """A layer that signs, around the stream of anybody but Anthropic."""
        sign = self._signer(exchange)
        if sign is None or exchange.state.get(SIGNED):
            return None
        return SignedStream(stream, sign)

    def _is_native(self, backend: Backend) -> bool:
        if backend.name in self.options.native:
            return True
        return isinstance(backend, SpeaksMessages) and backend.native

    def _signer(self, exchange: Exchange) -> Sign | None:
        """Puts our signature over the maker's; None where the maker is Anthropic, or nobody."""
        attempt = exchange.served_by
        if attempt is None or self._is_native(attempt.backend):
            return None
        session = session_hash(exchange.session_id)
        name, model = attempt.backend.name, attempt.model
        told = "signed the thinking, so that it goes back to its maker"

        def sign(mark: object) -> str:
            if not exchange.state.get(_TOLD):
                exchange.state[_TOLD] = True
                exchange.note(self.name, told, stage="sign")
            return signature(name, model, state_of(mark), session)

        return sign

"""The plugin: filters thinking for each target, and signs the thinking in replies.

A backend is Anthropic if it reports that (`SpeaksMessages.native`), or is named in the options.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

import orjson

from plugway import (
    Attempt,
    Backend,
    BackendRefused,
    EventStream,
    Exchange,
    MessagesRequest,
    Options,
    Plugin,
    Reply,
    Send,
    SpeaksMessages,
    StateKey,
    as_list,
    hookimpl,
)
from plugway_signature import session_hash, signature
from plugway_thinking._blocks import Elsewhere, Recipient, for_recipient, stamped, state_of
from plugway_thinking._layer import Sign, SignedStream
from plugway_thinking._refused import Rejected, rejects_blocks, requires_blocks, unthinking
from plugway_wire.pieces import Mark
from plugway_wire.protocols import implements

SIGNED: StateKey[bool] = StateKey("thinking.signed")
"""Whether the complete reply was signed before it was replayed as a stream."""
_THINKING: Final = Mark(b'thinking"', b"\\u00")
"""Of the type of a block, which a client may write with escapes."""
_MOST_TARGETS: Final = 100
_NOTED: StateKey[bool] = StateKey("thinking.noted")
"""Whether the receipt notes that a block was signed."""


class ThinkingOptions(Options):
    """Options of `thinking`."""

    elsewhere: Elsewhere = "drop"
    """What to send of another model's thinking: `drop` it, or its `text` instead of the block.
    Anthropic gets neither."""
    native: tuple[str, ...] = ()
    """Names of backends that are Anthropic but do not report it, e.g. a gateway in front of it:
    their blocks stay unchanged, and they get no others."""


class Thinking(Plugin[ThinkingOptions]):
    """Sends thinking blocks back only to the model that produced them."""

    outside: ClassVar[tuple[str, ...]] = (
        "field-policy",
    )  # these merge turns that become neighbors

    def __init__(self, options: ThinkingOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._rejected: defaultdict[tuple[str, str], Rejected] = defaultdict(Rejected)
        """By backend and model."""

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report backends that do not exist."""
        known = ", ".join(f"`{name}`" for name in zones) or "none"
        return [
            (("native", index), f"unknown backend `{name}`; there are {known}")
            for index, name in enumerate(self.options.native)
            if name not in zones
        ]

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """The conversation with the thinking that the target may receive."""
        if not _THINKING.may_be_in(request, "messages"):
            return None
        return self._filtered(request, attempt)

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Send the request again without the thinking that the server rejects.

        The client would send it with every further request, so the conversation could not go on.
        If that is refused with the same words, they were not about the thinking: an error may quote
        the conversation.
        """
        new: list[bytes] = []
        while True:
            try:
                return await send(request, attempt)
            except BackendRefused as refusal:
                adapted = self._adapted(request, attempt, refusal, new)
                if adapted is request:
                    raise
                exchange.note(self.name, "retried after a refusal of the thinking")
                request = adapted

    def _adapted(
        self, request: MessagesRequest, attempt: Attempt, refusal: BackendRefused, new: list[bytes]
    ) -> MessagesRequest:
        """The request without what the server rejects; the same object if that is nothing. `new`:
        the signatures that the attempt has added to the rejected ones."""
        if requires_blocks(refusal) and "thinking" in request.fields:
            return unthinking(request)
        if not rejects_blocks(refusal):
            return request
        if len(self._rejected) >= _MOST_TARGETS:
            self._rejected.clear()
        rejected = self._rejected[attempt.backend.name, attempt.model]
        if new:
            rejected.forget(new)
            return request
        new += rejected.add(as_list(request.get("messages")))
        return self._filtered(request, attempt) or request

    def _filtered(self, request: MessagesRequest, attempt: Attempt) -> MessagesRequest | None:
        backend = attempt.backend
        native = self._is_native(backend)
        target = backend.name, attempt.model
        rejected = self._rejected.get(target, ())
        recipient = Recipient(*target, native, self.options.elsewhere, rejected)
        messages = as_list(request.get("messages"))
        result = for_recipient(messages, recipient)
        if result.messages is messages:
            return None
        return request.replace(because=result.because(), messages=result.messages)

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> Reply | None:
        """Sign the thinking of a complete message."""
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
        """Wrap the stream to sign its thinking, unless it is Anthropic's."""
        sign = self._signer(exchange)
        if sign is None or exchange.state.get(SIGNED):
            return None
        return SignedStream(stream, sign)

    def _is_native(self, backend: Backend) -> bool:
        if backend.name in self.options.native:
            return True
        return implements(backend, SpeaksMessages) and backend.native

    def _signer(self, exchange: Exchange) -> Sign | None:
        """A function that wraps a signature; None if the block is Anthropic's or unknown."""
        attempt = exchange.served_by
        if attempt is None or self._is_native(attempt.backend):
            return None
        name, model = attempt.backend.name, attempt.model
        note = "signed the thinking, so that only its model gets it back"

        def sign(mark: object) -> str:
            if not exchange.state.get(_NOTED):
                exchange.state[_NOTED] = True
                exchange.note(self.name, note, stage="sign")
            return signature(name, model, state_of(mark), session_hash(exchange.session_id))

        return sign

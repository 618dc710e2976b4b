"""What a plugin sees of the gateway that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from plugway.types.attempt import Attempt
from plugway.types.backend import Backend, Caller, ModelInfo
from plugway.types.errors import Headers, RequestRejected, StreamInterrupted
from plugway.types.exchange import Exchange
from plugway.types.ids import new_id
from plugway.types.json import as_object, loaded
from plugway.types.request import MessagesRequest

if TYPE_CHECKING:
    from plugway.http.snapshot import Snapshot

T = TypeVar("T")


class Gateway:
    """The running gateway under one configuration; a reload makes another."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.predecessor: Gateway | None = None
        """While this one starts after a reload (`lifespan`): the gateway that it replaces, so that
        a plugin can take over what outlives a configuration. None otherwise."""

    def find(self, kind: type[T]) -> list[tuple[str, T]]:
        """The plugins and backends that are of `kind`, by their names, in the order of the
        configuration. `kind` is a protocol (`runtime_checkable`) or a class: how one plugin finds
        what another offers, without knowing which that is."""
        found: dict[int, tuple[str, object]] = {id(p): (p.name, p) for p in self._snapshot.plugins}
        found |= {id(b): (name, b) for name, b in self.backends.items()}
        return [(name, one) for name, one in found.values() if isinstance(one, kind)]

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by instance name, in the order of the configuration."""
        return self._snapshot.backends

    @property
    def config_path(self) -> Path | None:
        """The configuration file; None where the default stack runs without one."""
        return self._snapshot.config.path

    @property
    def address(self) -> str:
        """The base URL that clients on this machine use."""
        return self._snapshot.config.server.address

    async def models(self, caller: Caller | None = None) -> Sequence[ModelInfo]:
        """The models of all backends, under the ids that clients see; those that `caller` may use,
        where it is given."""
        return await self._snapshot.listed(caller)

    async def plan(
        self, request: MessagesRequest, *, caller: Caller | None = None
    ) -> Sequence[Attempt]:
        """The attempts that would be made for a request, in order, without making any.

        Raises:
            PlugwayError: nothing serves it, or a plugin failed.
        """
        exchange = Exchange(request, caller=caller, endpoint="explain")
        pipeline = self._snapshot.exchanges.pipeline
        await pipeline.hooks.identify(request, exchange)
        request = await pipeline.hooks.transform_request(request, exchange)
        return await pipeline.plan(request, exchange)

    async def ask(
        self, request: MessagesRequest, *, caller: Caller | None = None
    ) -> Mapping[str, Any]:
        """Run an exchange of the plugin's own through the whole pipeline; the finished message.

        Raises:
            RequestRejected: with the status and sentence that a client would have seen.
            StreamInterrupted: the answer broke off.
        """
        asked = _Asked(request)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/messages",
            "query_string": request.query.encode("latin-1"),
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers],
            "plugway.caller": caller or Caller(),
            "plugway.request_id": new_id("req"),
            "extensions": {"plugway": asked},
        }
        await self._snapshot.exchanges.serve("messages", scope, _nothing, _nothing)
        return asked.message()


class _Asked:
    """The way to a client that is the gateway itself: it never leaves, and wants whole answers."""

    def __init__(self, request: MessagesRequest) -> None:
        whole = request.replace(because="its answer is wanted whole", stream=False)
        self._raw = whole.raw
        self._status = 0
        self._answer = b""
        self._cut = False

    def whole_body(self) -> bytes:
        """The request."""
        return self._raw

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Keep the answer."""
        self._status, self._answer = status, body

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Nobody leaves."""
        return bool

    def cut(self) -> None:
        """The answer breaks off."""
        self._cut = True

    def message(self) -> Mapping[str, Any]:
        """The answer; raises where it is a failure."""
        if self._cut or not self._status:
            raise StreamInterrupted("the answer broke off")
        answer = loaded(self._answer)
        if self._status < 400:
            return answer
        message = as_object(answer.get("error")).get("message") or f"status {self._status}"
        record = f"it was answered with status {self._status}"
        raise RequestRejected(str(message), status=self._status, record=record)


async def _nothing(*_: object) -> Any:
    """Neither received from nor sent to: all passes through the channel."""
    raise AssertionError("an exchange that is asked for is answered whole")

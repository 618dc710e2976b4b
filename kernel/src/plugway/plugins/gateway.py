"""The gateway as plugins see it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from plugway.types.backend import Backend, Caller, ModelInfo
from plugway.types.exchange import Attempt, Exchange
from plugway.types.request import MessagesRequest
from plugway_wire.errors import Headers, RequestRejected, StreamInterrupted
from plugway_wire.ids import new_id
from plugway_wire.json import as_object, loaded

if TYPE_CHECKING:
    from plugway.http.snapshot import Snapshot

T = TypeVar("T")


class Gateway:
    """The running gateway with one configuration; a reload creates another."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.predecessor: Gateway | None = None
        """The gateway that this one replaces, while it starts after a reload (`lifespan`), so that
        a plugin can take over its state; otherwise None."""

    def find(self, kind: type[T]) -> list[tuple[str, T]]:
        """The plugins and backends that are instances of `kind`, with their names, in the order of
        the configuration. `kind` is a class or a `runtime_checkable` protocol, so a plugin can find
        a feature without knowing which plugin provides it."""
        found: dict[int, tuple[str, object]] = {id(p): (p.name, p) for p in self._snapshot.plugins}
        found |= {id(b): (name, b) for name, b in self.backends.items()}
        return [(name, one) for name, one in found.values() if isinstance(one, kind)]

    @property
    def backends(self) -> Mapping[str, Backend]:
        """The backends by instance name, in the order of the configuration."""
        return self._snapshot.backends

    @property
    def config_path(self) -> Path | None:
        """The configuration file; None if the default stack runs without one."""
        return self._snapshot.config.path

    @property
    def address(self) -> str:
        """The base URL that clients on this machine use."""
        return self._snapshot.config.server.address

    async def models(self, caller: Caller | None = None) -> Sequence[ModelInfo]:
        """The models of all backends under the ids that clients see; if `caller` is given, only
        those it may use."""
        return await self._snapshot.listed(caller)

    async def plan(
        self, request: MessagesRequest, *, caller: Caller | None = None
    ) -> Sequence[Attempt]:
        """The attempts that would be made for a request, in order; nothing is sent.

        Raises `PlugwayError`: no backend serves it, or a plugin failed.
        """
        exchange = Exchange(request, caller=caller, endpoint="explain")
        pipeline = self._snapshot.exchanges.pipeline
        await pipeline.hooks.identify(request, exchange)
        request = await pipeline.hooks.transform_request(request, exchange)
        return await pipeline.plan(request, exchange)

    async def ask(
        self, request: MessagesRequest, *, caller: Caller | None = None
    ) -> Mapping[str, Any]:
        """Run the plugin's own request through the whole pipeline; returns the finished message.

        Raises:
            RequestRejected: with the status and message that a client would get.
            StreamInterrupted: the reply was cut off.
        """
        client = _InternalClient(request)
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/messages",
            "query_string": request.query.encode("latin-1"),
            "headers": [(n.encode("latin-1"), v.encode("latin-1")) for n, v in request.headers],
            "plugway.caller": caller or Caller(),
            "plugway.request_id": new_id("req"),
            "extensions": {"plugway": client},
        }
        await self._snapshot.exchanges.serve("messages", scope, _unused, _unused)
        return client.message()


class _InternalClient:
    """The `Channel` of a request from a plugin: never disconnects, and wants a whole reply."""

    def __init__(self, request: MessagesRequest) -> None:
        whole = request.replace(because="a whole reply is required", stream=False)
        self._raw = whole.raw
        self._status = 0
        self._body = b""
        self._cut = False

    def whole_body(self) -> bytes:
        """The body of the request."""
        return self._raw

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Keep the reply."""
        self._status, self._body = status, body

    def on_leave(self, leave: Callable[[], None]) -> Callable[[], object]:
        """Ignore `leave`: this client never disconnects."""
        return bool

    def cut(self) -> None:
        """Mark the reply as incomplete."""
        self._cut = True

    def message(self) -> Mapping[str, Any]:
        """The message of the reply. Raises `RequestRejected` or `StreamInterrupted`."""
        if self._cut or not self._status:
            raise StreamInterrupted("the reply was cut off")
        reply = loaded(self._body)
        if self._status < 400:
            return reply
        message = as_object(reply.get("error")).get("message") or f"status {self._status}"
        record = f"the gateway replied with status {self._status}"
        raise RequestRejected(str(message), status=self._status, record=record)


async def _unused(*_: object) -> Any:
    raise AssertionError("a plugin's own exchange uses its channel only")

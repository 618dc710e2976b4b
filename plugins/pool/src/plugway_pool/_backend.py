"""The backend: sends each request to one of the servers, and to another one if that fails early.

The plugin of each server translates and reads; see `PoolOptions.kind`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Exchange,
    Headers,
    MessagesRequest,
    ModelInfo,
    Reply,
    StateKey,
)
from plugway_embeddings import Embedded, Embeds, Wanted
from plugway_openai_wire import OpenAIBackend
from plugway_pool._conversation import conversation_of
from plugway_pool._members import Members
from plugway_pool._options import Member
from plugway_pool._server import Server, merged

TRIES: Final = 2
"""Servers that one attempt tries."""
_SHOWN: Final = 5

T = TypeVar("T")


@dataclass(slots=True)
class Visit:
    """What the pool knows about one exchange."""

    key: bytes
    """The conversation."""
    failed: list[Server] = field(default_factory=list[Server])
    """Servers that failed for it."""
    server: Server | None = None
    """The one that sends the reply."""
    waited: Server | None = None
    """The one whose response was waited for last."""


class PoolBackend:
    """Equal servers as one backend."""

    def __init__(self, name: str, zone: str, members: Members, template: Member, way: str) -> None:
        """`template` is the plugin of a server, never opened, for what all have in common; `way`
        describes the servers before they are opened."""
        self.name = name
        self.zone = zone
        self.members = members
        self.template = template
        self._way = way
        self._visits: StateKey[Visit] = StateKey(f"pool.{name}")

    @property
    def way(self) -> str:
        """The servers, as text."""
        addresses = [server.address for server in self.members.active]
        return described(addresses) if addresses else self._way

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """The reply of the conversation's server, or of another one if that fails before it.

        Raises:
            BackendError: both failed; if none can be reached, it names all servers.
        """
        visit = self.visit(request, attempt.exchange)
        visit.server = None
        server, reply, end = await self._first(
            visit, attempt, lambda server: server.backend.send(request, attempt)
        )
        visit.server = server
        how = self.members.place(visit.key, server)
        attempt.exchange.note(self.name, f"server {server.address}: {how}", stage="route")
        if reply.body is not None:
            end()
            return reply
        close = reply.close

        async def ended() -> None:
            end()
            await close()

        return reply.replace(close=ended)

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """The count of the conversation's server."""
        visit = self.visit(request, attempt.exchange)
        return await self._once(
            visit, attempt, lambda server: server.backend.count(request, attempt)
        )

    async def models(self) -> Sequence[ModelInfo]:
        """The models of all servers. Raises `BackendUnavailable` if none lists any."""
        servers = self.members.active
        asked = [server for server in servers if server.health.available] or servers
        found = await asyncio.gather(*map(_models_of, asked))
        lists = [models for models in found if models is not None]
        if not lists:
            raise self._none_left()
        return merged(lists)

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL and the headers at the server that would be chosen, for `explain`."""
        return self.backend_for(request, attempt).backend.addressed(request, attempt)

    # ── for the plugin ───────────────────────────────────────────────────────────────────────

    def visit(self, request: MessagesRequest, exchange: Exchange) -> Visit:
        """What is known about an exchange."""
        found = exchange.state.get(self._visits)
        if found is None:
            found = exchange.state[self._visits] = Visit(conversation_of(request, exchange))
        return found

    def key_of(self, exchange: Exchange) -> bytes | None:
        """The conversation of an exchange; None if no request was made for it."""
        found = exchange.state.get(self._visits)
        return found.key if found else None

    def visited(self, exchange: Exchange) -> Server | None:
        """The server that sends the reply to an exchange; None if there is none."""
        found = exchange.state.get(self._visits)
        return found.server if found else None

    def broken(self, exchange: Exchange, failure: BackendError) -> bool:
        """The server's reply failed before content, or did not begin in time; whether another
        server may be tried now."""
        visit = exchange.state.get(self._visits)
        is_late = isinstance(failure, BackendTimeout)
        server = visit and (visit.server or (visit.waited if is_late else None))
        if visit is None or server is None or server in visit.failed:
            return False
        server.failed(time.monotonic(), failure)
        visit.failed.append(server)
        self._note(exchange, server, failure)
        return not is_late and len(visit.failed) < TRIES and len(self.members.active) > 1

    def backend_for(self, request: MessagesRequest, attempt: Attempt) -> Member:
        """The plugin of the server that would be chosen; of none in particular without servers."""
        visit = self.visit(request, attempt.exchange)
        server = self.members.choose(visit.key, attempt.model, visit.failed)
        return server.member if server else self.template

    # ── helpers ──────────────────────────────────────────────────────────────────────────────

    async def _once(
        self, visit: Visit, attempt: Attempt, call: Callable[[Server], Awaitable[T]]
    ) -> T:
        _, found, end = await self._first(visit, attempt, call)
        end()
        return found

    async def _first(
        self, visit: Visit, attempt: Attempt, call: Callable[[Server], Awaitable[T]]
    ) -> tuple[Server, T, Callable[[], None]]:
        """The result of the first server that has one, and a function that ends the request."""
        failures: list[tuple[Server, BackendError]] = []
        if all(server in visit.failed for server in self.members.active):
            visit.failed.clear()  # the request is sent again, and there are no others
        for _ in range(max(1, TRIES - len(visit.failed))):
            server = self.members.choose(visit.key, attempt.model, visit.failed)
            if server is None:
                break
            end, visit.waited = server.begin(), server
            try:
                found = await call(server)
            except BackendError as failure:
                end()
                if not _may_move(failure):
                    raise
                visit.failed.append(server)
                failures.append((server, failure))
                self._note(attempt.exchange, server, failure)
            except BaseException:
                end()
                raise
            else:
                _blame(failures)
                return server, found, end
        _blame(failures)
        last = failures[-1][1] if failures else None
        if last is None or isinstance(last, BackendUnavailable):
            raise self._none_left(permanent=last is not None and last.permanent) from last
        raise last

    def _note(self, exchange: Exchange, server: Server, failure: BackendError) -> None:
        what = f"server {server.address} failed: {failure.record[:200]}"
        exchange.note(self.name, what, stage="route")

    def _none_left(self, *, permanent: bool = False) -> BackendUnavailable:
        text = f"no server of the pool serves the request ({self.members.described()})"
        return BackendUnavailable(text, permanent=permanent)


class MessagesPool(PoolBackend):
    """Servers of the Messages API."""

    @property
    def native(self) -> bool:
        """Whether the servers are Anthropic's own API."""
        return bool(getattr(self.template.backend, "native", False))

    @property
    def kind(self) -> str:
        """The kind of server."""
        return str(getattr(self.template.backend, "kind", ""))


class EmbeddingPool(PoolBackend):
    """Servers that may support embeddings."""

    async def embed(self, wanted: Wanted, attempt: Attempt) -> Embedded:
        """The vectors of one server."""

        async def embedded(server: Server) -> Embedded:
            assert isinstance(server.backend, Embeds)
            return await server.backend.embed(wanted, attempt)

        visit = Visit(attempt.exchange.id.encode())  # no prompt cache: any server will do
        return await self._once(visit, attempt, embedded)


class EngineMessagesPool(EmbeddingPool, MessagesPool):
    """Inference engines with the Messages API, and embeddings."""


class ChatPool(EmbeddingPool):
    """Servers of OpenAI's Chat Completions."""

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body that would be sent, for `explain`."""
        return self._chat(request, attempt).translated(request, attempt)

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether the client's bytes would be relayed (`plugway.Relays`)."""
        return self._chat(request, attempt).relays(request, attempt)

    def losses(self, request: MessagesRequest, attempt: Attempt) -> Sequence[str]:
        """The losses of the client's request that are losses here too (`plugway.Relays`)."""
        return self._chat(request, attempt).losses(request, attempt)

    def _chat(self, request: MessagesRequest, attempt: Attempt) -> OpenAIBackend:
        backend = self.backend_for(request, attempt).backend
        assert isinstance(backend, OpenAIBackend)
        return backend


def described(addresses: Sequence[str]) -> str:
    """A list of servers, as text."""
    shown = ", ".join(addresses[:_SHOWN]) + (", ..." if len(addresses) > _SHOWN else "")
    return f"at {len(addresses)} servers: {shown}"


async def _models_of(server: Server) -> Sequence[ModelInfo] | None:
    try:
        return await server.models()
    except BackendError as failure:
        server.health.reason = failure.record
        return None


def _may_move(failure: BackendError) -> bool:
    """Whether another server may do better: this one cannot be reached, fails, is full, lacks the
    model, or does not know the key."""
    status = failure.status
    return (status >= 500 and status != 501) or status in (401, 403, 404, 429)


def _blame(failures: Sequence[tuple[Server, BackendError]]) -> None:
    """Count failures against the servers, unless the request is at fault: two servers that both
    respond with an error."""
    if len(failures) > 1 and all(isinstance(f, BackendRefused) for _, f in failures):
        return
    for server, failure in failures:
        if failure.status not in (404, 429):
            server.failed(time.monotonic(), failure)

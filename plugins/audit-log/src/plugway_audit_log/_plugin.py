"""The plugin: one record per exchange, start, reload and stop. It changes no request and no reply.

See `_writer` for the queue, and `_chain` for the format.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import anyio.to_thread

from plugway import (
    Attempt,
    EventStream,
    Exchange,
    Gateway,
    MessagesRequest,
    Outcome,
    Plugin,
    PlugwayError,
    Reply,
    RequestRejected,
    StateKey,
    Usage,
    hookimpl,
)
from plugway_audit_log._appender import now
from plugway_audit_log._bodies import Bodies
from plugway_audit_log._chain import MISSING, Signer
from plugway_audit_log._folder import folder_of, open_signer
from plugway_audit_log._options import AuditLogOptions
from plugway_audit_log._record import record_of
from plugway_audit_log._writer import Writer
from plugway_prices import DOLLAR, LONG, TellsPrices, choices_of, prices_in
from plugway_tools import own_usages

_FULL: Final = "too many records wait to be written"


class _Place(NamedTuple):
    """An exchange whose record has a place."""

    writer: Writer
    request: MessagesRequest


class AuditLog(Plugin[AuditLogOptions]):
    """Records who used which model, in an append-only log with signed checkpoints."""

    def __init__(self, options: AuditLogOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.writer: Writer | None = None
        """Writes the log while the gateway runs; other configurations may use it too."""
        self._prices: TellsPrices | None = None
        self._place: StateKey[_Place] = StateKey(f"{self.name}.place")
        self._bodies: StateKey[Bodies] = StateKey(f"{self.name}.bodies")

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report a missing library and an invalid key."""
        if find_spec("cryptography") is None:
            return [((), MISSING)]
        if (key := self.options.signing_key) is not None:
            try:
                Signer(key.get_secret_value())
            except PlugwayError as error:
                return [(("signing_key",), str(error))]
        return ()

    # ── the exchange ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        """Reserve a place for the record.

        Raises:
            RequestRejected: the log cannot be written (503).
        """
        writer = self.writer
        if writer is None or exchange.endpoint == "explain":
            return
        refuses = self.options.if_unavailable == "refuse"
        if refuses and (writer.problem or not writer.has_room):
            raise _unavailable(writer.problem or _FULL)
        if writer.has_room:
            writer.reserved += 1
            exchange.state[self._place] = _Place(writer, request)
        if self.options.bodies:
            exchange.state[self._bodies] = Bodies(request, self.options.body_bytes)

    @hookimpl
    def transform_response(self, reply: Reply, exchange: Exchange) -> None:
        """Keep a whole reply, if bodies are recorded."""
        bodies = exchange.state.get(self._bodies)
        if bodies is not None:
            bodies.keep(reply)

    @hookimpl
    def transform_stream(self, stream: EventStream, exchange: Exchange) -> EventStream | None:
        """Follow a stream, if bodies are recorded."""
        bodies = exchange.state.get(self._bodies)
        return None if bodies is None else bodies.follow(stream)

    @hookimpl
    def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Queue the record."""
        place = exchange.state.get(self._place)
        if place is None:
            if self.writer is not None and exchange.endpoint != "explain":
                self.writer.put(record_of(exchange, outcome, _nothing, _nothing))
            return
        place.writer.reserved -= 1
        bodies = exchange.state.get(self._bodies)
        members = _nothing if bodies is None else bodies.members
        cost = _nothing
        usages = own_usages(exchange, outcome)
        if exchange.served_by is not None and any(map(any, usages)):
            cost = partial(self._cost, exchange.served_by, place.request, usages)
        place.writer.put(record_of(exchange, outcome, cost, members), reserved=True)

    def _cost(
        self, served: Attempt, request: MessagesRequest, usages: Sequence[Usage]
    ) -> Mapping[str, Any]:
        """The price of what the reply says was used; empty if no price is known."""
        if self._prices is None:
            return {}
        at, choices = datetime.now(UTC), choices_of(request)
        price = self._prices.price_of(served.backend, served.model, at, choices)
        if price is None:
            return {}
        nano = sum(price.cost(usage, long=LONG in choices) for usage in usages)
        return {"cost_usd": f"{Decimal(nano) / DOLLAR:f}"}

    # ── the lifespan ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    @asynccontextmanager
    async def lifespan(self, gateway: Gateway) -> AsyncGenerator[None]:
        """Open the log, or take over that of the configuration before."""
        folder, key = folder_of(self.options.folder), self.options.signing_key
        seed = None if key is None else key.get_secret_value()
        signer = await anyio.to_thread.run_sync(open_signer, folder, seed)
        about = partial(self._about, gateway, await _digest(gateway.config_path))
        writer = self._predecessor(gateway)
        if writer is not None and (writer.folder, writer.signer.public) == (folder, signer.public):
            writer.put(partial(about, "reload", now()), reserved=True)
        else:
            writer = await self._opened(folder, signer)
            writer.put(partial(about, "start", now(), clean=writer.clean), reserved=True)
        writer.begin(self.options)
        self.writer, self._prices = writer, prices_in(gateway)
        try:
            yield
        finally:
            if writer.end(self.options):
                undone = partial(dict[str, Any], kind="reload-undone", time=now())
                writer.put(undone, reserved=True)
            if not writer.owners:
                await self._closed(writer)

    async def _opened(self, folder: Path, signer: Signer) -> Writer:
        try:
            writer = await anyio.to_thread.run_sync(Writer, folder, signer, self.options, self.log)
        except OSError as error:
            raise PlugwayError(f"cannot open the audit log in {folder}: {error.strerror}") from None
        writer.start()
        return writer

    async def _closed(self, writer: Writer) -> None:
        """Write what is left, also if the gateway is stopped at once."""
        with anyio.CancelScope(shield=True):
            stop = partial(dict[str, Any], kind="stop", time=now())
            await anyio.to_thread.run_sync(writer.close, stop)

    def _predecessor(self, gateway: Gateway) -> Writer | None:
        if gateway.predecessor is None:
            return None
        found = gateway.predecessor.find(AuditLog)
        return next((plugin.writer for name, plugin in found if name == self.name), None)

    def _about(
        self, gateway: Gateway, config: str, kind: str, time: str, **more: Any
    ) -> Mapping[str, Any]:
        """The record of a start or a reload."""
        plugins = [name for name, _ in gateway.find(cast("type[object]", Plugin))]
        return {
            "kind": kind,
            "time": time,
            "version": version("plugway"),
            "python": sys.version.partition(" ")[0],
            "config": str(gateway.config_path or ""),
            "config_sha256": config,
            "plugins": plugins,
            "if_unavailable": self.options.if_unavailable,
            "bodies": self.options.bodies,
            **more,
        }


async def _digest(path: Path | None) -> str:
    """SHA-256 of the configuration file; empty if there is none."""
    if path is None:
        return ""
    try:
        return hashlib.sha256(await anyio.Path(path).read_bytes()).hexdigest()
    except OSError:
        return ""


def _unavailable(why: str) -> RequestRejected:
    return RequestRejected(
        f"The gateway cannot write its audit log ({why}), and serves nothing without it. Its "
        "operator finds the details in the gateway's log.",
        status=503,
        record=True,
    )


def _nothing() -> Mapping[str, Any]:
    return {}

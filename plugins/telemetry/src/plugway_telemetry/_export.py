"""Sends spans and metrics to a collector: OTLP over HTTP, in batches, without ever waiting for it
in an exchange.

https://opentelemetry.io/docs/specs/otlp/#otlphttp: paths, statuses that may be retried, and
`partial_success`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

import anyio
import anyio.to_thread

from plugway import BackendError, Upstream
from plugway_telemetry import _names as names
from plugway_telemetry._otlp import metrics_request, spans_request
from plugway_telemetry._store import Store
from plugway_telemetry._wire import rejected

MAX_WAITING: Final = 4096
"""Most spans that wait; beyond that the oldest is dropped."""
MAX_BATCH: Final = 512
"""Most spans in one request; that many are sent at once."""
POST_SECONDS: Final = 10.0
"""Time limit of one request."""
MAX_RESPONSE: Final = 64 * 1024
LONGEST_PAUSE: Final = 30.0
"""Longest time between two attempts while the collector is unavailable."""
LOG_SECONDS: Final = 60.0
"""Shortest time between two warnings."""
_HINTS: Final = {
    401: " - check `credential`",
    403: " - check `credential`",
    404: " - it does not take {0}: set `{0}: false`, or correct `endpoint`",
}
_RETRYABLE: Final = frozenset((429, 502, 503, 504))
_HEADERS: Final = (("content-type", "application/x-protobuf"), ("accept", "application/x-protobuf"))


class _Failed(Exception):
    def __init__(
        self, reason: str, *, retry: bool, pause: float = 0.0, too_large: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry = retry
        self.pause = pause
        self.too_large = too_large


class Exporter:
    """Sends to one collector. Make one per lifespan, and run `run_spans` and `run_metrics`."""

    def __init__(
        self,
        upstream: Upstream,
        resource: Mapping[str, str],
        store: Store,
        log: logging.Logger,
        *,
        headers: Mapping[str, str],
        span_seconds: float,
        metric_seconds: float,
        drain: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`drain` is called before spans or metrics are sent, so that everything that has ended is
        among them."""
        self._upstream = upstream
        self._resource = resource
        self._store = store
        self._log = log
        self._lines = (*_HEADERS, *headers.items())
        self._span_seconds = span_seconds
        self._metric_seconds = metric_seconds
        self._drain = drain
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._wake = anyio.Event()
        self._next_warning = 0.0
        self._dropped = 0
        self._is_down = False
        self._batch = MAX_BATCH
        """Spans in one request: fewer once the collector said that a request was too large."""

    def add(self, spans: list[bytes]) -> None:
        """Queue encoded spans."""
        self._waiting.extend(spans)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._drop("traces", 1)
        if len(self._waiting) >= MAX_BATCH:
            self._wake.set()

    async def run_spans(self) -> None:
        """Send spans until cancelled."""
        while True:
            with anyio.move_on_after(self._span_seconds):
                await self._wake.wait()
            self._wake = anyio.Event()
            await self.send_spans()

    async def run_metrics(self, owner: object) -> None:
        """Send metrics until cancelled, while `owner` is the newest instance."""
        while True:
            await anyio.sleep(self._metric_seconds)
            if self._store.owners[-1] is owner:
                await self.send_metrics()

    async def send_spans(self, *, once: bool = False) -> None:
        """Send everything that waits. While the collector is unavailable, spans keep waiting,
        unless this is `once`."""
        self._drain()
        pause = 1.0
        while self._waiting:
            size = min(self._batch, len(self._waiting))
            batch = [self._waiting.popleft() for _ in range(size)]
            try:
                await self._post("/v1/traces", spans_request(self._resource, batch), "traces")
            except _Failed as failure:
                if failure.too_large and size > 1:
                    self._batch = size // 2
                    self._put_back(batch)
                    continue
                if not failure.retry:
                    self._drop("traces", len(batch))
                    self._warn(str(failure))
                    continue
                self._put_back(batch)
                self._is_down = True
                self._warn(str(failure))
                if once:
                    return
                await anyio.sleep(min(LONGEST_PAUSE, max(pause, failure.pause)))
                pause = min(LONGEST_PAUSE, pause * 2)
            except BaseException:
                self._put_back(batch)  # cancelled: `flush` sends them
                raise
            else:
                pause = 1.0

    async def send_metrics(self) -> None:
        """Send all metrics once; the next export has the same sums, so a failure loses little."""
        self._drain()
        body = await anyio.to_thread.run_sync(metrics_request, self._resource, self._store)
        try:
            await self._post("/v1/metrics", body, "metrics")
        except _Failed as failure:
            self._drop("metrics", 1)
            self._warn(str(failure))

    async def flush(self, seconds: float, *, traces: bool, metrics: bool) -> None:
        """Send what waits, for at most `seconds`; what is left is dropped."""
        self._drain()
        try:
            with anyio.move_on_after(seconds):
                if traces:
                    await self.send_spans(once=True)
                if metrics:
                    await self.send_metrics()
        finally:
            if self._waiting:
                self._drop("traces", len(self._waiting))
                self._waiting.clear()
            if self._dropped:
                self._next_warning = 0.0
                self._warn("there was no time left before the gateway stopped or was reloaded")

    async def _post(self, path: str, body: bytes, signal: str) -> None:
        """Raises `_Failed`."""
        try:
            async with asyncio.timeout(POST_SECONDS):
                response = await self._upstream.request(
                    "POST", path, body=body, headers=self._lines
                )
                try:
                    status = response.status
                    content = await response.read(MAX_RESPONSE)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise _Failed(f"no response within {POST_SECONDS:g} s", retry=True) from None
        except BackendError as error:
            reason = error.record.replace("`base_url`", "`endpoint`")
            raise _Failed(reason, retry=not error.permanent) from None
        if status >= 300:
            pause = _seconds(dict(response.headers).get("retry-after", ""))
            hint = _HINTS.get(status, "").format(signal)
            raise _Failed(
                f"it sent status {status}{hint}",
                retry=status in _RETRYABLE,
                pause=pause,
                too_large=status == 413,
            )
        if lost := rejected(content):
            self._drop(signal, lost)
            self._warn(f"it rejected {lost} items of a request")
        if self._is_down:
            self._is_down = False
            self._log.info("the collector is available again")

    def _put_back(self, batch: list[bytes]) -> None:
        self._waiting.extendleft(reversed(batch))
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._drop("traces", 1)

    def _drop(self, signal: str, number: int) -> None:
        self._dropped += number
        self._store.number(names.DROPPED, signal).add(number)

    def _warn(self, reason: str) -> None:
        """Log a failure, at most once a minute."""
        now = self._clock()
        if now < self._next_warning:
            return
        self._next_warning = now + LOG_SECONDS
        self._log.warning(
            "cannot export to the collector at %s: %s; dropped since the last such line: %d",
            self._upstream.base_url,
            reason,
            self._dropped,
        )
        self._dropped = 0


def _seconds(value: str) -> float:
    """A `Retry-After` in seconds; 0 for a date."""
    return float(value) if value.isascii() and value.isdigit() and len(value) < 8 else 0.0

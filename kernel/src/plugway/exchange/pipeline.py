"""The stages of one exchange, in the order in which they happen.

    transform_request → answer → resolve_route → plan_attempts
        per attempt: prepare_attempt → around_attempt → Backend.send → first content event
    → normalize_failure (if all failed) → transform_response

`exchange/run` writes the reply to the client, `plugins/hooks` calls the hooks, and `exchange/dry`
has the stages without inference.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from plugway.config.document import did_you_mean
from plugway.exchange.dialect import record_translation
from plugway.exchange.failures import Failed, failure_reply, report_priority
from plugway.exchange.grants import within_grants
from plugway.exchange.relay import primed, with_model
from plugway.exchange.validate import validate_blocks
from plugway.exchange.writer import Resources
from plugway.plugins.contain import Contained, unwound
from plugway.plugins.hooks import Hooks
from plugway.types.backend import Backend, Translates
from plugway.types.exchange import Attempt, AttemptRecord, Exchange, Route
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_http.cancel import Deadline
from plugway_wire.errors import BackendError, BackendTimeout, Forbidden, NoRoute

MAX_ATTEMPTS = 3
"""Failed sends for one request, including retries by plugins, after which no other target is tried;
the client itself retries ten times."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an exchange; times are in seconds."""

    first_event_seconds: float = 120.0
    first_event_local_seconds: float = 1800.0
    ping_seconds: float = 10.0
    idle_seconds: float = 300.0
    stalled_client_seconds: float = 120.0
    max_streams: int = 512


class Pipeline:
    """The stages of an exchange, with one set of plugins and backends."""

    def __init__(self, hooks: Hooks, backends: Mapping[str, Backend], limits: Limits) -> None:
        self.hooks = hooks
        self.backends = backends
        self.limits = limits
        self._translating = {b.name for b in backends.values() if isinstance(b, Translates)}

    async def run(
        self, request: MessagesRequest, exchange: Exchange, resources: Resources
    ) -> Reply:
        """The reply for the client; a stream has reached its first content event.

        Raises:
            RequestRejected: a plugin or backend refused the request.
            HookError: a plugin failed.
        """
        request = await self.hooks.transform_request(request, exchange)
        reply = await self.hooks.answer(request, exchange)
        if reply is None:
            attempts = await self.plan(request, exchange)
            reply = await self._first_answer(attempts, request, exchange, resources)
        else:
            record_translation(request, exchange)
            by = next((e.plugin for e in reversed(exchange.receipt) if e.stage == "answer"), "")
            reply = await primed(reply, resources, by)
        if reply.dialect:
            return reply
        return await self.hooks.transform_response(reply, exchange)

    async def plan(self, request: MessagesRequest, exchange: Exchange) -> Sequence[Attempt]:
        """The attempts to make, in order; at least one.

        Raises:
            NoRoute: no backend serves the model.
            Forbidden: a limited caller may not use the model, whether it exists or not.
        """
        if exchange.caller.limited:
            attempts = await self._granted(request, exchange)
        else:
            attempts = await self._planned(request, exchange)
        return _numbered(attempts[:MAX_ATTEMPTS])

    async def _granted(self, request: MessagesRequest, exchange: Exchange) -> Sequence[Attempt]:
        """The planned attempts for which a limited caller has a grant."""
        caller = exchange.caller
        with suppress(NoRoute):
            granted: list[Attempt] = []
            for attempt in await self._planned(request, exchange):
                if caller.may_use(attempt.target):
                    granted.append(attempt)
                else:
                    what = f"skipped `{attempt.target}`: not allowed for `{caller.name}`"
                    exchange.note("kernel", what, stage="route")
            if granted:
                return granted
        may = f"`{caller.name}` may not use model `{request.model}`"
        raise Forbidden(may, status=400, retry=False, record=True)

    async def _planned(self, request: MessagesRequest, exchange: Exchange) -> Sequence[Attempt]:
        route = await self.hooks.resolve_route(request, exchange)
        if route is None:
            route = self.direct_route(request.model)
            exchange.note("kernel", route.reason, stage="route")
        exchange.route = route
        attempts: Sequence[Attempt] = [
            self._attempt(target, number, number == len(route.targets), exchange)
            for number, target in enumerate(route.targets, start=1)
        ]
        attempts = await self.hooks.plan_attempts(attempts, request, exchange)
        if not attempts:
            message = f"no target is left for model `{request.model}`"
            raise NoRoute(message, retry=False, record=True)
        return attempts

    def _attempt(
        self, target: tuple[str, str], number: int, last: bool, exchange: Exchange
    ) -> Attempt:
        name, model = target
        backend = self.backends.get(name)
        if backend is None:
            raise NoRoute(
                f"the route names the backend `{name}`, which does not exist; "
                f"available: {_listed(self.backends)}",
                retry=False,
                record=True,
            )
        seconds: float = getattr(self.limits, _first_event_setting(backend))
        return Attempt(backend, model, number, seconds, last, exchange)

    def direct_route(self, model: str) -> Route:
        """The route of an id that names its backend, `anthropic/<instance>/<model>` or
        `<instance>/<model>`, or of any other id if there is only one backend.

        An id of the first form is never sent to another backend: a request meant for this machine
        must not leave it because its backend was removed.

        Raises `NoRoute`: no backend serves the model.
        """
        inner = model.removeprefix("anthropic/")
        name, _, rest = (inner if "/" in inner else model).partition("/")
        if name in self.backends and rest:
            return Route(((name, rest),), f"`{model}` names its backend")
        names_another = inner != model and rest
        if len(self.backends) == 1 and not names_another:
            (only,) = self.backends
            return Route(((only, model),), f"`{only}` is the only backend")
        hint = did_you_mean(name, list(self.backends))
        raise NoRoute(
            f"model: {model}. No backend serves it; {hint and f'{hint} '}write "
            f"`anthropic/<backend>/<model>` with one of {_listed(self.backends)}, "
            "or add the `router` plugin",
            retry=False,
            record=True,
        )

    async def _first_answer(
        self,
        attempts: Sequence[Attempt],
        request: MessagesRequest,
        exchange: Exchange,
        resources: Resources,
    ) -> Reply:
        failures: list[Failed] = []
        for attempt in attempts:
            try:
                return await self._try(attempt, request, exchange, resources)
            except BackendError as failure:
                failure.backend = attempt.backend.name
                failures.append(Failed(unwound(failure), attempt))
                failed_sends = len(exchange.attempts) - exchange.answers
                if not failure.try_next or failed_sends >= MAX_ATTEMPTS:
                    break
        return await self.error_reply(min(failures, key=report_priority), exchange)

    async def _try(
        self,
        attempt: Attempt,
        request: MessagesRequest,
        exchange: Exchange,
        resources: Resources,
    ) -> Reply:
        """Send to one target, inside the `around_attempt` hooks."""
        prepared = await self.prepare(request, attempt, exchange)
        send = partial(self._send, exchange=exchange, resources=resources)
        around = self.hooks.around_attempt(send, exchange)
        reply = await around(prepared, attempt)
        exchange.served_by = attempt
        return reply

    async def prepare(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest:
        """The request as `attempt` sends it, with the backend's own model name."""
        if exchange.caller.limited:
            request = within_grants(request, exchange)
        if request.model != attempt.model:
            because = f"the model name at {attempt.target}"
            request = request.replace(model=attempt.model, because=because)
        if attempt.backend.name in self._translating and request.original is None:
            validate_blocks(request.body)
        return await self.hooks.prepare_attempt(request, attempt, exchange)

    async def _send(
        self,
        request: MessagesRequest,
        attempt: Attempt,
        exchange: Exchange,
        resources: Resources,
    ) -> Reply:
        """Call `Backend.send`, wait for the first content event, and record the attempt."""
        if request.original is not None:
            record_translation(request, exchange, attempt)
        began = time.monotonic()
        result = "cancelled"
        try:
            with (
                Deadline(attempt.first_event_seconds),
                Contained(attempt.backend.name, "send", TimeoutError),
            ):
                reply = _checked(await attempt.backend.send(request, attempt))
                reply = await primed(reply, resources, attempt.backend.name)
            if attempt.model != exchange.model_asked and not reply.dialect:
                reply = with_model(reply, exchange.model_asked)
            result = "answered"
        except TimeoutError:
            seconds = attempt.first_event_seconds
            setting = _first_event_setting(attempt.backend)
            error = BackendTimeout(
                f"`{attempt.target}` sent no content within {seconds:g} s - check its log; "
                f"`server.{setting}` sets how long a prompt may take"
            )
            result = str(error)
            raise error from None
        except BackendError as error:
            result = f"{error.status} {error.record[:200]}"
            raise
        finally:
            seconds = time.monotonic() - began
            exchange.attempts.append(AttemptRecord(attempt.target, result, seconds))
        return reply

    async def error_reply(self, failed: Failed, exchange: Exchange) -> Reply:
        """The reply that reports a failure to the client."""
        error, attempt = failed.error, failed.attempt
        exchange.served_by = attempt
        reply = await self.hooks.normalize_failure(error, attempt, exchange)
        if reply is not None:
            return reply
        return failure_reply(error, exchange)


def _first_event_setting(backend: Backend) -> str:
    """The `server` option that limits the wait for the backend's first content event."""
    return "first_event_local_seconds" if backend.zone == "local" else "first_event_seconds"


def _checked(reply: object) -> Reply:
    if isinstance(reply, Reply):
        return reply
    raise TypeError(f"returned {type(reply).__name__} instead of `Reply`")


def _numbered(attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """The attempts with correct numbers, whatever plugins did to the list."""
    count = len(attempts)
    return [
        a if a.number == n and a.last is (n == count) else a.replace(number=n, last=n == count)
        for n, a in enumerate(attempts, start=1)
    ]


def _listed(names: Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in names) or "none (add a backend plugin)"

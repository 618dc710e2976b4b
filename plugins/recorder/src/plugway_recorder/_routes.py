"""The routes of recordings, for the commands and for scripts.

Only the person of a conversation starts, reads and replays its recording. The owner of the gateway
also sees that there are others, and may stop and remove them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio.to_thread
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from plugway import (
    Backend,
    Caller,
    Gateway,
    InvalidRequest,
    ModelInfo,
    NoRoute,
    RequestRejected,
    as_list,
    as_object,
)
from plugway_prices import prices_in
from plugway_recorder._plan import Pricing, facts_of
from plugway_recorder._store import Key, Recorded, Unreadable, short_of
from plugway_recorder._turn import summary_of

if TYPE_CHECKING:
    from plugway_recorder._plugin import Recorder

T = TypeVar("T")
LIST: Final = "/recordings"
TURNS: Final = "/recordings/turns"
TURN: Final = "/recordings/turn"
SWITCH: Final = "/recordings/switch"
PLAN: Final = "/recordings/plan"
COSTS: Final = "/recordings/costs"
_LEAST_OF_ID: Final = 4


class Routes:
    """The routes of one plugin."""

    def __init__(self, recorder: Recorder, gateway: Gateway) -> None:
        self._recorder = recorder
        self._gateway = gateway

    def all(self) -> Sequence[BaseRoute]:
        """The routes; callers with a limited token may use them for their own conversations."""
        routes = [
            Route(LIST, self._list, methods=["GET"]),
            Route(LIST, self._remove, methods=["DELETE"]),
            Route(TURNS, self._turns, methods=["GET"]),
            Route(TURN, self._turn, methods=["GET"]),
            Route(SWITCH, self._switch, methods=["POST"]),
            Route(PLAN, self._plan, methods=["POST"]),
            Route(COSTS, self._costs, methods=["POST"]),
        ]
        for route in routes:
            route.limited_callers = True  # pyright: ignore[reportAttributeAccessIssue]
        return routes

    async def _list(self, request: Request) -> Response:
        """Recordings, and the caller's own conversations of the last time, which have none."""
        caller = _caller(request)
        found = await self._visible(caller)
        there = {one.key for one in found}
        seen = [
            {"conversation": short_of(key), "at": at}
            for key, at in reversed(self._recorder.seen.items())
            if key[0] == caller.name and key not in there
        ]
        return _json({"recordings": [_shown(one, caller) for one in found], "unrecorded": seen})

    async def _remove(self, request: Request) -> Response:
        """Remove a recording, which also stops it."""
        one = await self._find(request.query_params.get("conversation", ""), _caller(request))
        self._recorder.known.pop(one.key, None)
        turns = await self._blocking(lambda: self._recorder.store.remove(one.key))
        return _json({"conversation": one.short, "turns": turns})

    async def _turns(self, request: Request) -> Response:
        """The turns of a recording, without their text."""
        one = await self._own(request.query_params.get("conversation", ""), request)
        turns = await self._each(one, summary_of)
        tools = any(shape.tools for shape, _ in turns)
        shown = [{"kind": shape.kind(tools), **summary} for shape, summary in turns]
        return _json({**_shown(one, _caller(request)), "list": shown})

    async def _turn(self, request: Request) -> Response:
        """One turn with all that was kept."""
        one = await self._own(request.query_params.get("conversation", ""), request)
        text = request.query_params.get("number", "")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
        if not 1 <= number <= one.turns:
            raise NoRoute(f"`{one.short}` has the turns 1 to {one.turns}", retry=False)
        (turn,) = await self._each(one, lambda _, turn: turn, number)
        return _json(turn)

    async def _switch(self, request: Request) -> Response:
        """Start or stop the recording of a conversation."""
        asked, caller = await _body(request), _caller(request)
        name, on = str(asked.get("conversation") or ""), asked.get("on")
        if not isinstance(on, bool):
            raise InvalidRequest("`on` must be true or false", retry=False)
        key = self._seen(name, caller) if on else None
        if key is None and on and not await self._visible(caller):
            seen = [short_of(key) for key in self._recorder.seen if key[0] == caller.name][-3:]
            known = "; there are " + ", ".join(f"`{one}`" for one in seen) if seen else ""
            what = f"no conversation `{name[:80]}` was served since the gateway started{known}"
            raise NoRoute(f"{what}. Or write `@plugway record` in it", retry=False)
        if key is None:
            one = await self._find(name, caller)
            if on and one.caller != caller.name:
                raise _not_yours(one)
            key = one.key
        if why := await self._recorder.switch(key, on):
            raise RequestRejected(f"nothing was changed: {why}", status=409, retry=False)
        return _json({"conversation": short_of(key), "on": on})

    async def _plan(self, request: Request) -> Response:
        """What a replay on each target would send and cost."""
        asked = await _body(request)
        one = await self._own(str(asked.get("conversation") or ""), request)
        kinds = set(map(str, as_list(asked.get("kinds")))) or {"turn", "agent"}
        targets = [str(name).removeprefix("anthropic/") for name in as_list(asked.get("on"))]
        found = [(target, *self._backend(target)) for target in targets]
        infos = {info.id: info for info in await self._gateway.models(_caller(request))}
        turns = await self._each(one, facts_of)
        tools = any(turn.shape.tools for turn in turns)
        only = {n for n in as_list(asked.get("numbers")) if isinstance(n, int)}
        chosen = [
            turn
            for turn in turns
            if turn.shape.kind(tools) in kinds and (not only or turn.number in only)
        ]
        zones = ({turn.zone for turn in turns} | set(one.zones)) - {""}
        plans: list[dict[str, Any]] = []
        for target, backend, model in found:
            info: ModelInfo | None = infos.get(f"anthropic/{target}")
            pricing = Pricing(prices_in(self._gateway), backend, model)
            new = backend.zone != "local" and backend.zone not in zones
            about = {"target": target, "zone": backend.zone, "new_zone": new}
            plans.append({**about, **pricing.planned(chosen, info)})
        return _json(
            {
                "conversation": one.short,
                "session": one.session,
                "numbers": [turn.number for turn in chosen],
                "others": len(turns) - len(chosen),
                "zones": sorted(zones),
                "targets": plans,
            }
        )

    async def _costs(self, request: Request) -> Response:
        """What turns of a replay have cost, by their usage."""
        asked = await _body(request)
        one = await self._own(str(asked.get("conversation") or ""), request)
        backend, model = self._backend(str(asked.get("target") or ""))
        usages = as_object(asked.get("usages"))
        pricing = Pricing(prices_in(self._gateway), backend, model)
        turns = [turn for turn in await self._each(one, facts_of) if str(turn.number) in usages]
        return _json(pricing.costs(turns, usages))

    # ── who may what ─────────────────────────────────────────────────────────────────────────

    async def _visible(self, caller: Caller) -> list[Recorded]:
        """The recordings that a caller may know of."""
        await self._recorder.flush()
        found = await self._blocking(self._recorder.store.conversations)
        return [one for one in found if caller.name in (one.caller, "owner")]

    async def _find(self, name: str, caller: Caller) -> Recorded:
        """The recording that `name` means: an id, or its beginning."""
        found = await self._visible(caller)
        for fits in (_is, _starts):
            those = [one for one in found if fits(one, name)]
            own = [one for one in those if one.caller == caller.name] or those
            if len(own) == 1:
                return own[0]
            if own:
                raise InvalidRequest(f"`{name[:80]}` is ambiguous: give more of it", retry=False)
        near = get_close_matches(name, [one.short for one in found], n=3) or [
            one.short for one in found[:3]
        ]
        known = "; there are " + ", ".join(f"`{one}`" for one in near) if near else ""
        raise NoRoute(f"there is no recording `{name[:80]}`{known}", retry=False)

    async def _own(self, name: str, request: Request) -> Recorded:
        """The caller's own recording that `name` means."""
        one = await self._find(name, _caller(request))
        if one.caller != _caller(request).name:
            raise _not_yours(one)
        return one

    def _seen(self, name: str, caller: Caller) -> Key | None:
        """The caller's conversation of the last time that `name` means."""
        own = [key for key in self._recorder.seen if key[0] == caller.name]
        fitting = [key for key in own if short_of(key).startswith(name)]
        if len(name) < _LEAST_OF_ID or not fitting:
            return None
        if len(fitting) > 1 and not any(short_of(key) == name for key in fitting):
            raise InvalidRequest(f"`{name[:80]}` is ambiguous: give more of it", retry=False)
        return next((key for key in fitting if short_of(key) == name), fitting[0])

    def _backend(self, target: str) -> tuple[Backend, str]:
        instance, _, model = target.removeprefix("anthropic/").partition("/")
        backend = self._gateway.backends.get(instance)
        if backend is None or not model:
            known = ", ".join(f"`{name}/MODEL`" for name in self._gateway.backends)
            raise NoRoute(f"`{target[:80]}` is not a target; write {known}", retry=False)
        return backend, model

    async def _each(
        self, one: Recorded, take: Callable[[int, Mapping[str, Any]], T], only: int | None = None
    ) -> list[T]:
        """What `take` takes of each turn, or of one; only one at a time is in memory."""
        store = self._recorder.store
        return await self._blocking(
            lambda: [take(n, as_object(orjson.loads(c))) for n, c in store.turns(one.key, only)]
        )

    async def _blocking(self, work: Callable[[], T]) -> T:
        """The result of `work`, in a thread. Raises `RequestRejected` for what cannot be read."""
        try:
            return await anyio.to_thread.run_sync(partial(work))
        except Unreadable as error:
            raise RequestRejected(str(error), status=500, retry=False, record=True) from None


def _not_yours(one: Recorded) -> RequestRejected:
    what = f"`{one.short}` is a conversation of `{one.caller}`, who alone may record and read it"
    return RequestRejected(what, status=403, retry=False)


def _caller(request: Request) -> Caller:
    return request.scope["plugway.caller"]


def _is(one: Recorded, name: str) -> bool:
    return name in (one.session, one.short)


def _starts(one: Recorded, name: str) -> bool:
    return len(name) >= _LEAST_OF_ID and one.short.startswith(name)


def _shown(one: Recorded, caller: Caller) -> dict[str, Any]:
    return {
        "conversation": one.short,
        "caller": one.caller,
        "yours": one.caller == caller.name,
        "on": not one.why,
        "why": one.why,
        "began": one.began,
        "changed": one.changed,
        "turns": one.turns,
        "bytes": one.bytes,
    }


async def _body(request: Request) -> Mapping[str, Any]:
    try:
        return as_object(orjson.loads(await request.body()))
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is not JSON", retry=False) from None


def _json(document: object) -> Response:
    return Response(orjson.dumps(document), media_type="application/json")

"""What is recorded of an exchange. By default nothing that quotes a request or a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, runtime_checkable

from plugway import Exchange, Outcome
from plugway_audit_log._chain import timestamp
from plugway_tools import RUN_CALLS, own_usage, own_usages, verdicts_of

MAX_TEXT: Final = 256
"""Characters of a name or an id that a client chose."""
MAX_ITEMS: Final = 64
"""Tool calls and attempts in one record; a count says how many there were."""


@runtime_checkable
class HasKey(Protocol):
    """A caller who may have several keys."""

    @property
    def key(self) -> str:
        """The id of the key that the request came with, never the key; empty for none."""
        ...


def record_of(
    exchange: Exchange,
    outcome: Outcome,
    cost: Callable[[], Mapping[str, Any]],
    bodies: Callable[[], Mapping[str, Any]],
) -> Callable[[], Mapping[str, Any]]:
    """Builds the record of an exchange that has ended, later and in another thread. What changes
    when the exchange is over is read now.

    `cost` returns the member about the price, `bodies` those with contents.
    """
    ended = datetime.now(UTC)
    served = exchange.served_by
    target = served.target if served else ""
    zone = served.backend.zone if served else None
    caller = exchange.caller
    attempts = tuple(exchange.attempts)
    ran, judged = exchange.state.get(RUN_CALLS), verdicts_of(exchange)
    usage, requests = own_usage(exchange, outcome), len(own_usages(exchange, outcome))

    def build() -> Mapping[str, Any]:
        began = ended - timedelta(seconds=outcome.seconds)
        return {
            "kind": "exchange",
            "time": timestamp(ended),
            "began": timestamp(began),
            "id": exchange.id,
            "endpoint": exchange.endpoint,
            "caller": caller.name,
            **_given(key=_text(caller.key) if isinstance(caller, HasKey) else None),
            **_given(client=_text(exchange.client)),
            **_given(session=_text(exchange.session_id), agent=_text(exchange.agent_id)),
            **_given(parent_agent=_text(exchange.parent_agent_id)),
            "model": _text(exchange.model_asked),
            **_given(target=_text(target), zone=_text(zone)),
            **_listed("attempts", [{"target": a.target, "result": a.result} for a in attempts]),
            "outcome": outcome.kind,
            "status": outcome.status,
            **_given(stop_reason=outcome.stop_reason, error=_text(outcome.error, 1000)),
            "usage": usage._asdict(),
            **_given(requests=requests if requests > 1 else None),
            **cost(),
            **_listed("tools_run", [call._asdict() for call in ran or ()]),
            **_listed("calls_judged", [call._asdict() for call in judged]),
            **bodies(),
        }

    return build


def _text(value: str | None, most: int = MAX_TEXT) -> str | None:
    """Text that fits into a record and can be written as UTF-8."""
    if not value:
        return None
    return value[:most].encode("utf-8", "replace").decode()


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _listed(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    if not items:
        return {}
    more = {f"{name}_total": len(items)} if len(items) > MAX_ITEMS else {}
    return {name: items[:MAX_ITEMS], **more}

"""Keeps the outcomes of recent exchanges and shows them on a page."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import deque
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

import anyio.to_thread
import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from plugway import Exchange, Gateway, Options, Outcome, Plugin, hookimpl
from plugway_endpoints import ExplainsCache

PATH: Final = "/dashboard/exchanges"
ADVICE: Final = "/dashboard/advice"
_PAGE: Final = resources.files("plugway_dashboard").joinpath("page.html").read_text("utf-8")


def _policy(page: str) -> str:
    """The content security policy: only the page's own style and script may run, and only
    requests to this gateway are allowed."""

    def hashed(tag: str) -> str:
        text = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[0]
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; script-src 'sha256-{hashed('script')}'; "
        f"style-src 'sha256-{hashed('style')}'; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


_HEADERS: Final = {
    "content-security-policy": _policy(_PAGE),
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


class DashboardOptions(Options):
    """Options of `dashboard`."""

    remember: int = Field(default=200, ge=1, le=5000)
    """Number of exchanges to keep, in memory only; the oldest are dropped first. Request and
    reply bodies are not kept."""


class Dashboard(Plugin[DashboardOptions]):
    """Keeps the last exchanges, and serves them as JSON and as a page."""

    def __init__(self, options: DashboardOptions, name: str) -> None:
        super().__init__(options, name=name)
        self._kept: deque[Mapping[str, Any]] = deque(maxlen=options.remember)
        self._number = 0
        self._gateway: Gateway | None = None

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        """Keep the exchange and its outcome."""
        self._number += 1
        self._kept.append(exchange_data(exchange, outcome) | {"number": self._number})

    @hookimpl
    def register_routes(self, gateway: Gateway) -> Sequence[BaseRoute]:
        """The page at `/` for browsers, and the exchanges that it shows."""
        self._gateway = gateway
        return [
            Route("/", self._page, methods=["GET"]),
            Route(PATH, self._exchanges, methods=["GET"]),
            Route(ADVICE, self._advice, methods=["GET"]),
        ]

    async def _page(self, request: Request) -> Response:
        """The page; clients other than browsers get the health status as JSON."""
        if "text/html" not in request.headers.get("accept", ""):
            return _json({"status": "ok"})
        return HTMLResponse(_PAGE, headers=_HEADERS)

    async def _exchanges(self, request: Request) -> Response:
        """Exchanges with a number above `after`, the oldest first."""
        text = request.query_params.get("after", "0")
        after = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
        explainers = self._gateway.find(ExplainsCache) if self._gateway else []
        kept = [item for item in self._kept if item["number"] > after]
        for _, explainer in explainers:
            kept = [_explained(item, explainer) for item in kept]
        return _json({"last": self._number, "exchanges": kept})

    async def _advice(self, request: Request) -> Response:
        """Which local model fits this machine; the page requests it when its user asks."""
        return _json(await anyio.to_thread.run_sync(_advice))


def _advice() -> dict[str, Any]:
    """What `plugway models recommend --json` prints here; measures the machine."""
    # Imported when it is first needed: it brings an HTTP client that a gateway starts without.
    from plugway_local_models import fitting

    return fitting.advise(fitting.read_machine(), installed=fitting.installed_models()).as_json()


def _explained(item: Mapping[str, Any], explainer: ExplainsCache) -> Mapping[str, Any]:
    """The exchange with what was read from its prompt cache, if that is known."""
    found = explainer.cache_of(item["request_id"])
    return item if found is None else {**item, "cache": found}


def exchange_data(exchange: Exchange, outcome: Outcome) -> dict[str, Any]:
    """One exchange as JSON-ready data: receipt, outcome and times in seconds, without content."""
    usage = outcome.usage
    served = exchange.served_by
    return {
        **exchange.summary(),
        "parent_agent_id": exchange.parent_agent_id,
        "endpoint": exchange.endpoint,
        "client": exchange.client[:100],
        "ended": round(time.time(), 3),
        "outcome": outcome.kind,
        "status": outcome.status,
        "error": outcome.error[:500],
        "served_by": served.target if served else None,
        "zone": served.backend.zone if served else None,
        "seconds": round(outcome.seconds, 4),
        "first_content_seconds": outcome.first_content_seconds
        and round(outcome.first_content_seconds, 4),
        "stop_reason": outcome.stop_reason,
        "usage": {
            "input": usage.input_tokens,
            "cache_read": usage.cache_read_tokens,
            "cache_creation": usage.cache_creation_tokens,
            "output": usage.output_tokens,
        },
    }


def _json(body: object) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(orjson.dumps(body), headers=headers, media_type="application/json")

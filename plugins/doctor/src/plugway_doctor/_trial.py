"""Live tests: requests to each backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import anyio

from plugway import LocalGateway, as_list, as_object
from plugway_doctor._checks import Check
from plugway_doctor._stack import base_urls
from plugway_probe import Finding, ListedModel, list_models, one_per_backend, probe

_UNLISTED_SECONDS = 20.0
"""Time limit for a server that did not list its models in time."""


def listed(gateway: LocalGateway) -> list[ListedModel]:
    """The models that clients see. Raises `PlugwayError`."""
    return anyio.run(partial(list_models, gateway.url, gateway.token, tls=gateway.tls))


def backends_of(gateway: LocalGateway) -> list[Mapping[str, Any]]:
    """The backends of the running gateway: name, zone and network path."""
    return [as_object(item) for item in as_list((gateway.state() or {}).get("backends"))]


def unlisted(
    gateway: LocalGateway,
    known: Sequence[Mapping[str, Any]],
    models: Sequence[ListedModel],
    seconds: float,
) -> Iterator[Check]:
    """Backends that list no model: a test request to each shows why."""
    there = {model.backend for model in models}
    urls = base_urls(gateway)
    for backend in known:
        name = str(backend.get("name"))
        if name in there:
            continue
        ask = partial(probe, gateway.url, gateway.token, f"anthropic/{name}/unknown")
        limit = min(seconds, _UNLISTED_SECONDS)
        (found,) = anyio.run(partial(ask, tls=gateway.tls, probes=("stream",), seconds=limit))
        check = f"models of {name}"
        if found.outcome == "passed" or found.detail.get("status") in (400, 404):
            said = "" if found.ok else f"; a test request: {found.reason}"
            fix = "load a model on its server, or fix `base_url`"
            yield Check(check, "warned", _placed(f"it lists no models{said}", urls.get(name)), fix)
        else:
            yield Check(check, "failed", _placed(found.reason, urls.get(name)), found.fix)


def network_paths(known: Sequence[Mapping[str, Any]]) -> Iterator[Check]:
    """The network path to each backend that is reached through a proxy, and the setting for it."""
    for backend in known:
        way = backend.get("way")
        if isinstance(way, str) and way != "directly":
            yield Check(f"path to {backend.get('name')}", "passed", way)


def backends(
    gateway: LocalGateway,
    models: Sequence[ListedModel],
    seconds: float,
    report: Callable[[Check], None],
) -> list[Check]:
    """Test each backend: a stream, a forced tool call, an overflow and a cancellation."""
    checks: list[Check] = []
    urls = base_urls(gateway)

    def take(url: str | None, finding: Finding) -> None:
        reason = finding.reason if finding.ok else _placed(finding.reason, url)
        name = f"{finding.probe} on {finding.model}"
        check = Check(name, finding.outcome, reason, finding.fix)
        checks.append(check)
        report(check)

    async def run() -> None:
        for model in one_per_backend(models):
            await probe(
                gateway.url,
                gateway.token,
                model.id,
                tls=gateway.tls,
                window=model.window,
                seconds=seconds,
                on_finding=partial(take, urls.get(model.backend)),
            )

    anyio.run(run)
    return checks


def _placed(reason: str, url: str | None) -> str:
    """The reason with the address of the server, if it is known."""
    return reason if url is None or url in reason else f"{reason} ({url})"

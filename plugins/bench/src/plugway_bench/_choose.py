"""Which endpoints are measured, what that sends and costs, and whether the user agrees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from pydantic import ValidationError

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_bench._run import MOST_AGAIN, Plan
from plugway_bench._samples import Endpoint
from plugway_prices import Catalogue, PricesOptions, dollars
from plugway_probe import ListedModel, one_per_backend

_PREFIX = "anthropic/"
_LOCAL = "local"


@dataclass(frozen=True, slots=True)
class _Place:
    """A backend, as far as prices depend on it."""

    name: str
    zone: str


def endpoints(
    gateway: LocalGateway, models: Sequence[ListedModel], patterns: Sequence[str]
) -> list[Endpoint]:
    """The endpoints that match a pattern, or the first model of each backend.

    Raises `PlugwayError`: a pattern matches none.
    """
    served = [model for model in models if model.backend]
    targets = {model.id.removeprefix(_PREFIX): model for model in served}
    if not patterns:
        chosen = [model.id.removeprefix(_PREFIX) for model in one_per_backend(served)]
    else:
        for pattern in patterns:
            if not any(fnmatchcase(target, pattern) for target in targets):
                known = ", ".join(f"`{target}`" for target in list(targets)[:12]) or "none"
                raise PlugwayError(f"no endpoint matches `{pattern}`; endpoints: {known}")
        chosen = [t for t in targets if any(fnmatchcase(t, pattern) for pattern in patterns)]
    if not chosen:
        raise PlugwayError("no backend lists any models: `plugway doctor` finds out why")
    zones, catalogue, now = _zones(gateway), _catalogue(gateway), datetime.now(UTC)
    found: list[Endpoint] = []
    for target in chosen:
        name, _, model = target.partition("/")
        place = _Place(name, zones.get(name, "unknown"))
        price = catalogue.price_of(place, model, now)
        found.append(Endpoint(name, place.zone, model, targets[target].window, price))
    return found


def without_models(
    gateway: LocalGateway, models: Sequence[ListedModel], patterns: Sequence[str]
) -> list[Endpoint]:
    """The backends that list no model, so that none of theirs can be measured: a server that is
    down, as a rule."""
    listed = {model.backend for model in models}
    return [
        Endpoint(name, zone, "", 0, None)
        for name, zone in _zones(gateway).items()
        if name not in listed
        if not patterns or any(fnmatchcase(f"{name}/", pattern) for pattern in patterns)
    ]


def _zones(gateway: LocalGateway) -> Mapping[str, str]:
    rows = map(as_object, as_list((gateway.state() or {}).get("backends")))
    return {str(row.get("name")): str(row.get("zone")) for row in rows}


def _catalogue(gateway: LocalGateway) -> Catalogue:
    for entry in gateway.plugins():
        if entry.use == "prices":
            try:
                return Catalogue(PricesOptions.model_validate(dict(entry.options)).models)
            except ValidationError:
                break  # `plugway check` reports it
    return Catalogue()


def needs_consent(endpoint: Endpoint) -> bool:
    """Whether something leaves this machine, or may cost money."""
    return endpoint.zone != _LOCAL or endpoint.price is None or not endpoint.price.free


def announcement(plan: Plan, chosen: Sequence[Endpoint]) -> Iterator[str]:
    """What will be sent, to whom, and what it may cost."""
    yield (
        f"Each endpoint gets {len(plan.steps)} requests with about {plan.tokens:,} tokens of "
        f"generated text in all (seed {plan.seed}); nothing of yours is in them. A turn of 20K "
        f"with a short reply that costs nothing is sent up to {MOST_AGAIN} times more:"
    )
    for endpoint in chosen:
        most = plan.most_nano_dollars(endpoint)
        if most is None:
            cost = "the price is not known"
        else:
            cost = f"at most {dollars(most)}" if most else "no cost"
        window = f", window {endpoint.window:,}" if endpoint.window else ""
        place = "this machine" if endpoint.zone == _LOCAL else f"zone `{endpoint.zone}`"
        yield f"  {endpoint.target}: {place}{window}; {cost}"


def agreed(
    chosen: Sequence[Endpoint],
    *,
    yes: bool,
    interactive: bool,
    ask: Callable[[str], bool],
    say: Callable[[str], None],
) -> list[Endpoint]:
    """The endpoints that may be measured: without consent, only those of this machine."""
    asked = [endpoint for endpoint in chosen if needs_consent(endpoint)]
    if yes or not asked:
        return list(chosen)
    names = ", ".join(endpoint.target for endpoint in asked)
    if not interactive:
        say(f"not measured without `--yes`: {names}")
    elif ask(f"Send this to {names}?"):
        return list(chosen)
    return [endpoint for endpoint in chosen if endpoint not in asked]

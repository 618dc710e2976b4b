"""Parse and check targets as users write them.

See `_table` for how a request is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from plugway_router._options import Entry, RouterOptions

Path = tuple[str | int, ...]
Flaw = tuple[Path, str]
Zones = Mapping[str, str]
"""Zone of each backend, by backend name."""

_ALIAS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_WILDCARDS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Target:
    """A backend and a model; None as the model keeps the requested one."""

    instance: str
    model: str | None

    def __str__(self) -> str:
        return f"{self.instance}/{self.model or '*'}"


def is_pattern(text: str) -> bool:
    """Whether `text` has wildcards."""
    return not _WILDCARDS.isdisjoint(text)


def named_backend(model: str, zones: Zones) -> tuple[str, str] | None:
    """The backend and model that an id names: `anthropic/INSTANCE/MODEL` or `INSTANCE/MODEL`.

    The kernel parses ids the same way (`Pipeline.direct_route`).
    """
    inner = model.removeprefix("anthropic/")
    instance, _, rest = (inner if "/" in inner else model).partition("/")
    return (instance, rest) if instance in zones and rest else None


def parse_target(text: str, zones: Zones) -> Target | None:
    """The target that `text` names, or None if it is not a target."""
    if text in zones:
        return Target(text, None)
    named = named_backend(text, zones)
    if named is None or ("*" in named[1] and named[1] != "*"):
        return None
    return Target(named[0], None if named[1] == "*" else named[1])


def flaws_of(options: RouterOptions, zones: Zones) -> list[Flaw]:
    """All mistakes in the options, each with its place."""
    found = list(_alias_names(options, zones))
    for path, entry in _entries(options):
        found += [(path, reason) for reason in _entry_flaws(entry)]
        for index, text in enumerate(entry.targets):
            if text not in options.aliases and parse_target(text, zones) is None:
                place = (*path, index) if len(entry.targets) > 1 else path
                found.append((place, _why_no_target(text, options, zones)))
    found += _circles(options.aliases)
    found += _never_reached(list(options.models))
    return found


def _entries(options: RouterOptions) -> Iterator[tuple[Path, Entry]]:
    for name, entry in options.models.items():
        yield ("models", name), entry
    for name, entry in options.aliases.items():
        yield ("aliases", name), entry
    for index, rule in enumerate(options.rules):
        yield ("rules", index, "targets"), rule


def _entry_flaws(entry: Entry) -> Iterator[str]:
    if not entry.targets:
        yield "has no target; list at least one `INSTANCE/MODEL`"
    if len(set(entry.targets)) < len(entry.targets):
        yield "lists a target twice; remove the second one"


def _why_no_target(text: str, options: RouterOptions, zones: Zones) -> str:
    instance, slash, model = text.partition("/")
    other, comma, rest = text.partition(",")
    if comma and rest.strip() and other in zones:
        return f"{text!r} has a comma; write `{other}/{rest.strip()}`"
    if instance in zones:
        if not model:
            return f"{text!r} has no model; write `{instance}` to keep the requested model"
        return f"{text!r} mixes a name with `*`; `{instance}/*` keeps the requested model"
    known = [*zones, *(() if slash else options.aliases)]
    close = get_close_matches(instance, known, n=1)
    hint = f"did you mean `{close[0]}{slash}{model}`?" if close else _what_exists(options, zones)
    what = "backend" if slash else "backend or alias"
    return f"unknown {what} `{instance}`; {hint}"


def _what_exists(options: RouterOptions, zones: Zones) -> str:
    if not zones:
        return "no backend is configured; add a backend plugin"
    aliases = f", aliases {listed(options.aliases)}" if options.aliases else ""
    return f"the backends are {listed(zones)}{aliases}"


def _alias_names(options: RouterOptions, zones: Zones) -> Iterator[Flaw]:
    for name in options.aliases:
        path = ("aliases", name)
        if not _ALIAS.fullmatch(name):
            yield (
                path,
                "should be letters, digits, `.`, `_` and `-`, starting with a letter or digit",
            )
        elif "claude" in name.lower():
            yield (
                path,
                "looks like a Claude model, whose context window clients assume; choose "
                "another name, or use `models` for ids that clients request themselves",
            )
        elif name in zones:
            yield path, f"a backend is also named `{name}`; rename the alias"
        elif name in options.models:
            yield path, f"`{name}` is in `models` too; keep one of them"


def _circles(aliases: Mapping[str, Entry]) -> Iterator[Flaw]:
    """Aliases that refer back to themselves; each circle is reported once."""
    reported: set[str] = set()
    for name in aliases:
        circle = _circle_from(name, aliases, (name,))
        if circle and reported.isdisjoint(circle):
            reported.update(circle)
            chain = " -> ".join(f"`{step}`" for step in circle)
            yield ("aliases", name), f"is circular: {chain}"


def _circle_from(
    name: str, aliases: Mapping[str, Entry], trail: tuple[str, ...]
) -> tuple[str, ...]:
    for text in aliases[name].targets:
        if text == trail[0]:
            return (*trail, text)
        if text in aliases and text not in trail:
            circle = _circle_from(text, aliases, (*trail, text))
            if circle:
                return circle
    return ()


def _never_reached(patterns: Sequence[str]) -> Iterator[Flaw]:
    wild = [text for text in patterns if is_pattern(text)]
    for text in wild[wild.index("*") + 1 :] if "*" in wild else ():
        yield ("models", text), "is never reached: `*` above it matches every model; move it up"


def listed(names: Mapping[str, object] | Sequence[str], limit: int = 20) -> str:
    """Names for a message."""
    shown = [f"`{name}`" for name in names]
    more = len(shown) - limit
    return ", ".join(shown[:limit]) + (f" and {more} more" if more > 0 else "")

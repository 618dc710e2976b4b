"""The options as a lookup table, and its rows.

The options must be valid: `_targets` checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate

from plugway import Exchange
from plugway_router._facts import Facts
from plugway_router._options import Entry, RouterOptions, When
from plugway_router._targets import Target, Zones, is_pattern, parse_target


@dataclass(frozen=True, slots=True)
class Row:
    """Targets for one kind of request."""

    name: str
    """The origin of the row, for the receipt."""
    targets: tuple[Target, ...]
    """In fallback order, without those that lack consent."""
    left_out: tuple[str, ...]
    """The reasons for the targets that were left out."""
    consent: bool = False
    """Whether the configuration allows requests to leave their zone here."""

    def named(self, model: str) -> tuple[tuple[str, str], ...]:
        """The targets for a request for `model`."""
        return tuple(
            dict.fromkeys((t.instance, model if t.model is None else t.model) for t in self.targets)
        )


class Table:
    """All rows of the configuration."""

    def __init__(self, options: RouterOptions, zones: Zones) -> None:
        self.zones = zones
        self.is_one_zone = len(set(zones.values())) < 2
        """Whether all targets are in one zone."""
        self._options = options
        self.aliases = {
            name: self._row(f"alias `{name}`", entry) for name, entry in options.aliases.items()
        }
        self.exact = {
            text: self._row(f"`{text}` in `models`", entry)
            for text, entry in options.models.items()
        }
        """Patterns too, because `claude-opus-4-8[1m]` is both an id and a pattern."""
        self._patterns = [
            (text, _compiled(text), row) for text, row in self.exact.items() if is_pattern(text)
        ]
        self.rules = [
            (Conditions(rule.when), self._row(rule.reason or f"rule {number}", rule))
            for number, rule in enumerate(options.rules, start=1)
        ]

    def rows(self) -> Iterator[Row]:
        """Every row."""
        yield from (row for _, row in self.rules)
        yield from self.aliases.values()
        yield from self.exact.values()

    def named(self) -> Sequence[str]:
        """The ids, as clients see them, of targets that name a model."""
        targets = (target for row in self.rows() for target in row.targets)
        ids = (f"anthropic/{t.instance}/{t.model}" for t in targets if t.model is not None)
        return list(dict.fromkeys(ids))

    def find(self, model: str, facts: Facts, exchange: Exchange) -> Row | None:
        """The row for a request: the first rule that holds, an alias, an id, a matching pattern.

        An id like `anthropic/gone/model` names a backend, although an unknown one. Only a pattern
        for such ids matches it: `*` must not send a request elsewhere that was meant for this
        machine.
        """
        names_a_backend = model.startswith("anthropic/") and model.count("/") > 1
        if not names_a_backend:
            for conditions, row in self.rules:
                if conditions.hold(model, facts, exchange):
                    return row
        row = self.aliases.get(model) or self.exact.get(model)
        if row is not None:
            return row
        for text, regex, row in self._patterns:
            if regex.match(model) and (not names_a_backend or text.startswith("anthropic/")):
                return row
        return None

    def _row(self, name: str, entry: Entry) -> Row:
        found = list(self._expanded(entry))
        zone = self.zones[found[0][0].instance]
        kept: list[Target] = []
        left_out: list[str] = []
        for target, consent in found:
            there = self.zones[target.instance]
            if consent or there in (zone, "local"):
                kept.append(target)
            else:
                left_out.append(
                    f"no fallback from {name} to `{target}`: that leaves the zone `{zone}` for "
                    f"`{there}`, which needs `allow_zone_change: true`"
                )
        return Row(name, tuple(dict.fromkeys(kept)), tuple(left_out), found[0][1])

    def _expanded(self, entry: Entry) -> Iterator[tuple[Target, bool]]:
        """The targets of `entry`, with aliases expanded, each with the consent to it."""
        own = entry.allow_zone_change
        consent = self._options.allow_zone_change if own is None else own
        for text in entry.targets:
            alias = self._options.aliases.get(text)
            if alias is not None:
                for target, consented in self._expanded(alias):
                    yield target, consent or consented
            else:
                target = parse_target(text, self.zones)
                assert target is not None, "flaws are found before a table is made"
                yield target, consent


class Conditions:
    """The conditions of one rule; cheap ones are checked first."""

    def __init__(self, when: When) -> None:
        self._when = when
        self._model = _compiled(when.model) if when.model is not None else None
        self._session = _Identity(when.session) if when.session is not None else None
        self._agent = _Identity(when.agent) if when.agent is not None else None
        self._headers = [(name.lower(), value) for name, value in when.header.items()]
        self._text = when.text.casefold() if when.text is not None else None

    def hold(self, model: str, facts: Facts, exchange: Exchange) -> bool:
        """Whether all of them hold."""
        when = self._when
        return (
            (self._model is None or self._model.match(model) is not None)
            and (self._session is None or self._session.fits(exchange.session_id))
            and (self._agent is None or self._agent.fits(exchange.agent_id))
            and all(facts.header(name) == value for name, value in self._headers)
            and (when.has_tools is None or when.has_tools == facts.has_tools)
            and (when.has_thinking is None or when.has_thinking == facts.has_thinking)
            and (self._text is None or self._text in facts.user_text)
            and (when.has_images is None or when.has_images == facts.has_images)
            and (when.min_tokens is None or facts.tokens >= when.min_tokens)
            and (when.max_tokens is None or facts.tokens <= when.max_tokens)
        )


class _Identity:
    """A condition on an id that may be absent."""

    def __init__(self, wanted: str) -> None:
        self._absent = wanted == "absent"
        self._regex = _compiled("*" if wanted == "present" else wanted)

    def fits(self, given: str | None) -> bool:
        """Whether `given` meets the condition."""
        if given is None or self._absent:
            return self._absent and given is None
        return self._regex.match(given) is not None


def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))

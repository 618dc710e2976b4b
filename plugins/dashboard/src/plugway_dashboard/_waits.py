"""Lines of the log about exchanges that wait for their first content."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from plugway_dashboard._running import Running
from plugway_dashboard._words import waiting_line

FIRST_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 30.0
THEN_SECONDS: Final = 120.0
log = logging.getLogger("plugway.dashboard")


def log_waits(running: Iterable[Running], now: float) -> None:
    """Log each exchange for which a line is due at `now` (monotonic)."""
    for one in running:
        waited = now - one.exchange.started
        if one.first is not None or waited < _due(one):
            continue
        while waited >= _due(one):  # one line, also if several were due
            one.reports += 1
        who = {"request_id": one.exchange.id, "caller": one.exchange.caller.name}
        log.info("%s", waiting_line(one, now), extra=who)


def _due(one: Running) -> float:
    """Seconds of waiting at which the next line is due."""
    number = max(one.reports, 1) if one.short else one.reports
    if number == 0:
        return FIRST_SECONDS
    return AGAIN_SECONDS + THEN_SECONDS * (number - 1)

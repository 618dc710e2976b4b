"""What was spent, read from the charges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection

from plugway_budgets._schema import CHARGE


def spent_since(connection: Connection, person: str, key: str, since: int) -> int:
    """Nano-dollars that a person spent, or a key that belongs to none."""
    mine = CHARGE.c.person == person if person else CHARGE.c.key == key
    found = sa.select(sa.func.sum(CHARGE.c.nano)).where(mine & (CHARGE.c.at >= since))
    return int(connection.execute(found).scalar() or 0)


def report(
    connection: Connection, by: Sequence[str], since: int, until: int
) -> Sequence[Mapping[str, Any]]:
    """Sums by any of `person`, `group`, `key`, `model` and `day` (UTC). What a person in several
    groups spent counts for each of them.

    `unpriced` are requests whose price is not known, `unmeasured` those without a usage.
    """
    columns = [_label(connection, name).label(name) for name in by]
    sums = [
        sa.func.count().label("requests"),
        *(sa.func.sum(CHARGE.c[name]).label(name) for name in _SUMMED),
        sa.func.sum(sa.case((CHARGE.c.nano.is_(None), 1), else_=0)).label("unpriced"),
        sa.func.sum(sa.case((CHARGE.c.measured, 0), else_=1)).label("unmeasured"),
    ]
    chosen = (CHARGE.c.at >= since) & (CHARGE.c.at < until)
    statement = sa.select(*columns, *sums).where(chosen).group_by(*columns)
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for row in connection.execute(statement).mappings():
        for group in row["group"].split("\n") if "group" in by else ("",):
            labels = {name: group if name == "group" else str(row[name]) for name in by}
            line = found.setdefault(tuple(labels.values()), labels | dict.fromkeys(_NUMBERS, 0))
            for name in _NUMBERS:
                line[name] += int(row[name] or 0)
    return [found[key] for key in sorted(found)]


_SUMMED: Final = ("input", "output", "cache_read", "cache_write", "nano")
_NUMBERS: Final = ("requests", *_SUMMED, "unpriced", "unmeasured")


def _label(connection: Connection, name: str) -> Any:
    if name != "day":
        return {"model": CHARGE.c.target, "group": CHARGE.c.groups}.get(name, CHARGE.c.get(name))
    if connection.dialect.name == "postgresql":
        return sa.func.to_char(
            sa.func.timezone("UTC", sa.func.to_timestamp(CHARGE.c.at)), "YYYY-MM-DD"
        )
    return sa.func.strftime("%Y-%m-%d", CHARGE.c.at, "unixepoch")

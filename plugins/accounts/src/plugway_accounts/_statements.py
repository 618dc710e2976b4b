"""What is read and written together: plain functions for `Store.read` and `Store.write`."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from plugway_accounts._errors import AccountError, no_group, no_key, no_person
from plugway_accounts._keys import NewKey, key_hash
from plugway_accounts._names import patterns_in, stored
from plugway_accounts._records import Group, Key, Person
from plugway_accounts._tables import GROUPS, KEYS, MEMBERSHIPS, PEOPLE

Values = Mapping[str, Any]

_OF_GROUPS: Final = (GROUPS.c.name.label("group"), GROUPS.c.models.label("group_models"))
BY_KEY: Final = (
    sa.select(
        *(KEYS.c.id, KEYS.c.expires, KEYS.c.revoked, KEYS.c.models.label("key_models")),
        *(PEOPLE.c.name, PEOPLE.c.models, PEOPLE.c.disabled, *_OF_GROUPS),
    )
    .join(PEOPLE, PEOPLE.c.name == KEYS.c.person)
    .outerjoin(MEMBERSHIPS, MEMBERSHIPS.c.person == PEOPLE.c.name)
    .outerjoin(GROUPS, GROUPS.c.name == MEMBERSHIPS.c.group)
    .where(KEYS.c.hash == sa.bindparam("hash"))
)
"""A key and its person: one row for each group, or one without."""
BY_NAME: Final = (
    sa.select(PEOPLE.c.name, PEOPLE.c.models, PEOPLE.c.disabled, *_OF_GROUPS)
    .outerjoin(MEMBERSHIPS, MEMBERSHIPS.c.person == PEOPLE.c.name)
    .outerjoin(GROUPS, GROUPS.c.name == MEMBERSHIPS.c.group)
    .where(PEOPLE.c.name == sa.bindparam("name"), PEOPLE.c.removed.is_(None))
)
"""A person: one row for each group, or one without."""
PASSWORD: Final = sa.select(PEOPLE.c.password).where(
    PEOPLE.c.name == sa.bindparam("name"), PEOPLE.c.removed.is_(None), PEOPLE.c.disabled.is_(None)
)


def now() -> int:
    """The time in seconds since 1970."""
    return int(time.time())


def people(connection: Connection, name: str | None) -> list[Person]:
    """All people, or the one of this name."""
    statement = sa.select(PEOPLE).where(PEOPLE.c.removed.is_(None)).order_by(PEOPLE.c.name)
    joined = sa.select(MEMBERSHIPS).order_by(MEMBERSHIPS.c.group)
    if name is not None:
        statement = statement.where(PEOPLE.c.name == name)
        joined = joined.where(MEMBERSHIPS.c.person == name)
    groups: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(joined):
        groups[row.person].append(row.group)
    return [
        Person(
            row.name,
            patterns_in(row.models),
            tuple(groups[row.name]),
            row.password is not None,
            row.created,
            row.disabled,
        )
        for row in connection.execute(statement)
    ]


def add_person(connection: Connection, values: Values, groups: Sequence[str]) -> None:
    """Add a person to the table and to groups."""
    name = values["name"]
    removed = connection.execute(sa.select(PEOPLE.c.removed).where(PEOPLE.c.name == name)).first()
    if removed is not None:
        if removed.removed is None:
            raise AccountError(f"there is already a person `{name}`")
        raise AccountError(
            f"a person `{name}` was removed, and the name stays taken because records are kept "
            "under it: choose another name"
        )
    connection.execute(sa.insert(PEOPLE).values(values))
    join(connection, name, groups)


def remove_person(connection: Connection, name: str) -> None:
    """Remove all of a person but the name."""
    values = {"removed": now(), "disabled": now(), "password": None}
    statement = sa.update(PEOPLE).where(PEOPLE.c.name == name, PEOPLE.c.removed.is_(None))
    if not connection.execute(statement.values(values)).rowcount:
        raise no_person(name)
    connection.execute(sa.delete(KEYS).where(KEYS.c.person == name))
    connection.execute(sa.delete(MEMBERSHIPS).where(MEMBERSHIPS.c.person == name))


def groups(connection: Connection) -> list[Group]:
    """All groups."""
    members: dict[str, list[str]] = defaultdict(list)
    for row in connection.execute(sa.select(MEMBERSHIPS).order_by(MEMBERSHIPS.c.person)):
        members[row.group].append(row.person)
    return [
        Group(row.name, patterns_in(row.models), tuple(members[row.name]), row.created)
        for row in connection.execute(sa.select(GROUPS).order_by(GROUPS.c.name))
    ]


def remove_group(connection: Connection, name: str) -> None:
    """Remove a group with its memberships."""
    connection.execute(sa.delete(MEMBERSHIPS).where(MEMBERSHIPS.c.group == name))
    if not connection.execute(sa.delete(GROUPS).where(GROUPS.c.name == name)).rowcount:
        raise no_group(name)


def join(connection: Connection, person: str, names: Sequence[str]) -> None:
    """Make a person a member of groups."""
    _existing(connection, person)
    for name in names:
        found = connection.execute(sa.select(GROUPS.c.name).where(GROUPS.c.name == name)).first()
        if found is None:
            raise no_group(name)
        values = {"person": person, "group": name}
        same = (MEMBERSHIPS.c.person == person) & (MEMBERSHIPS.c.group == name)
        if connection.execute(sa.select(MEMBERSHIPS).where(same)).first() is None:
            connection.execute(sa.insert(MEMBERSHIPS).values(values))


def keys(connection: Connection, person: str | None) -> list[Key]:
    """All keys, or those of a person, the newest first."""
    statement = sa.select(KEYS).order_by(KEYS.c.created.desc(), KEYS.c.id)
    if person is not None:
        statement = statement.where(KEYS.c.person == person)
    return [_key(row) for row in connection.execute(statement)]


def insert_key(connection: Connection, made: NewKey, values: Values) -> None:
    """Store a new key of an existing person."""
    _existing(connection, values["person"])
    try:
        connection.execute(
            sa.insert(KEYS).values(values).values(id=made.id, hash=key_hash(made.secret))
        )
    except IntegrityError:  # one in 2^47
        raise AccountError("this key's id is taken: try again") from None


def rotate(connection: Connection, key: str, made: NewKey, overlap: int) -> None:
    """Store a key like another, which expires after `overlap` seconds."""
    old = _valid_key(connection, key)
    ends = now() + overlap
    expires = ends if old.expires is None else min(ends, old.expires)
    connection.execute(sa.update(KEYS).where(KEYS.c.id == old.id).values(expires=expires))
    values = {
        "person": old.person,
        "label": old.label,
        "models": stored(old.models),
        "created": now(),
        "expires": None if old.expires is None else now() + old.expires - old.created,
    }
    insert_key(connection, made, values)


def revoke(connection: Connection, key: str) -> Key:
    """Revoke a key; returns it. A revoked one stays as it is."""
    found = _found_key(connection, key)
    connection.execute(
        sa.update(KEYS).where(KEYS.c.id == found.id, KEYS.c.revoked.is_(None)).values(revoked=now())
    )
    return _found_key(connection, key)


def used(connection: Connection, times: Mapping[str, int]) -> None:
    """Store when keys were last used, unless another gateway stored a later time."""
    statement = (
        sa.update(KEYS)
        .where(
            KEYS.c.id == sa.bindparam("key"),
            sa.or_(KEYS.c.last_used.is_(None), KEYS.c.last_used < sa.bindparam("time")),
        )
        .values(last_used=sa.bindparam("time"))
    )
    connection.execute(statement, [{"key": key, "time": at} for key, at in sorted(times.items())])


def _existing(connection: Connection, person: str) -> None:
    """Raises `AccountError` if there is no such person."""
    statement = sa.select(PEOPLE.c.name).where(PEOPLE.c.name == person, PEOPLE.c.removed.is_(None))
    if connection.execute(statement.with_for_update()).first() is None:
        raise no_person(person)


def _valid_key(connection: Connection, key: str) -> Key:
    found = _found_key(connection, key)
    if (state := found.state(now())) != "valid":
        raise AccountError(f"the key `{found.id}` is {state}: issue a new one")
    return found


def _found_key(connection: Connection, key: str) -> Key:
    row = connection.execute(sa.select(KEYS).where(KEYS.c.id == key).with_for_update()).first()
    if row is None:
        raise no_key(key)
    return _key(row)


def _key(row: sa.Row[Any]) -> Key:
    return Key(
        row.id,
        row.person,
        row.label,
        patterns_in(row.models),
        row.created,
        row.expires,
        row.revoked,
        row.last_used,
    )

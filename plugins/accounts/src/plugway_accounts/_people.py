"""People, groups and keys in the database. `_statements` has what is done in one transaction."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from plugway import RequestRejected
from plugway_accounts import _passwords, _statements
from plugway_accounts._errors import AccountError, no_group, no_key, no_person
from plugway_accounts._keys import NewKey, id_of, is_key, key_hash, new_key
from plugway_accounts._member import Member, member
from plugway_accounts._names import (
    EVERYTHING,
    checked_name,
    checked_patterns,
    is_name,
    patterns_in,
    stored,
)
from plugway_accounts._records import Group, Key, Person
from plugway_accounts._tables import GROUPS, MEMBERSHIPS, PEOPLE
from plugway_store import Store

_LONGEST_LABEL: Final = 64


class People:
    """Reads and changes people, groups and keys.

    Methods raise `AccountError` for what is unknown, exists already or is invalid, and
    `plugway_store.StoreError` if the database fails.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    # ── callers ──────────────────────────────────────────────────────────────────────────────

    async def by_key(self, token: str) -> Member | None:
        """The person with this key; None if the token is no key.

        Raises `RequestRejected` (401) if the key is revoked or expired, or its person disabled.
        """
        if not is_key(token):
            return None
        rows = await self._store.all(_statements.BY_KEY, {"hash": key_hash(token)})
        if not rows:
            return None
        row = rows[0]
        if row.revoked is not None:
            raise refused(f"the key `{row.id}` was revoked")
        if row.expires is not None and row.expires <= time.time():
            when = datetime.fromtimestamp(row.expires, UTC).strftime("%Y-%m-%d %H:%M UTC")
            raise refused(f"the key `{row.id}` expired on {when}")
        if row.disabled is not None:
            raise refused(f"`{row.name}` is disabled")
        return member(row.name, *_of_groups(rows), row.id, patterns_in(row.key_models))

    async def member(self, name: str) -> Member | None:
        """A person who signed in, as a caller; None if there is none, or a disabled one."""
        if not is_name(name):
            return None
        rows = await self._store.all(_statements.BY_NAME, {"name": name})
        if not rows or rows[0].disabled is not None:
            return None
        return member(name, *_of_groups(rows), "", EVERYTHING)

    async def check_password(self, name: str, password: str) -> bool:
        """Whether this is the password of a person who is not disabled. It takes as long for
        names that do not exist."""
        found = is_name(name) and await self._store.first(_statements.PASSWORD, {"name": name})
        return await _passwords.matches(found.password if found else None, password)

    # ── people ───────────────────────────────────────────────────────────────────────────────

    async def add(
        self, name: str, *, models: Iterable[str] = EVERYTHING, groups: Iterable[str] = ()
    ) -> None:
        """Add a person, who may use these models and those of the groups."""
        values = {"name": checked_name(name, "person"), **_new(models)}
        try:
            await self._store.write(_statements.add_person, values, sorted(set(groups)))
        except IntegrityError:
            raise _changed() from None

    async def person(self, name: str) -> Person | None:
        """A person, or None if there is none of this name."""
        found = await self._store.read(_statements.people, name) if is_name(name) else ()
        return found[0] if found else None

    async def everybody(self) -> Sequence[Person]:
        """All people, by name."""
        return await self._store.read(_statements.people, None)

    async def set_models(self, name: str, models: Iterable[str]) -> None:
        """Replace what is granted to a person."""
        await self._change(name, models=stored(checked_patterns(models)))

    async def set_password(self, name: str, password: str | None) -> None:
        """Set the password for signing in, or remove it."""
        value = None if password is None else await _passwords.hashed(password)
        await self._change(name, password=value)

    async def disable(self, name: str) -> None:
        """Lock a person out, with all keys, from the next request on."""
        await self._change(name, disabled=_statements.now())

    async def enable(self, name: str) -> None:
        """Let a disabled person in again."""
        await self._change(name, disabled=None)

    async def remove(self, name: str) -> None:
        """Remove a person with keys, password and memberships. The name stays taken."""
        await self._store.write(_statements.remove_person, _known(name))

    async def _change(self, name: str, **values: Any) -> None:
        same = (PEOPLE.c.name == _known(name)) & PEOPLE.c.removed.is_(None)
        if not await self._store.execute(sa.update(PEOPLE).where(same).values(values)):
            raise no_person(name)

    # ── groups ───────────────────────────────────────────────────────────────────────────────

    async def add_group(self, name: str, *, models: Iterable[str] = ()) -> None:
        """Add a group whose members may use these models besides their own."""
        values = {"name": checked_name(name, "group"), **_new(models)}
        try:
            await self._store.execute(sa.insert(GROUPS).values(values))
        except IntegrityError:
            raise AccountError(f"there is already a group `{name}`") from None

    async def groups(self) -> Sequence[Group]:
        """All groups, by name."""
        return await self._store.read(_statements.groups)

    async def set_group_models(self, name: str, models: Iterable[str]) -> None:
        """Replace what is granted to a group."""
        change = sa.update(GROUPS).values(models=stored(checked_patterns(models)))
        if not is_name(name) or not await self._store.execute(change.where(GROUPS.c.name == name)):
            raise no_group(name)

    async def remove_group(self, name: str) -> None:
        """Remove a group. Its members stay, without what it granted."""
        if not is_name(name):
            raise no_group(name)
        await self._store.write(_statements.remove_group, name)

    async def join(self, person: str, group: str) -> None:
        """Make a person a member of a group; does nothing for one who is."""
        if not is_name(group):
            raise no_group(group)
        try:
            await self._store.write(_statements.join, _known(person), [group])
        except IntegrityError:
            raise _changed() from None

    async def leave(self, person: str, group: str) -> None:
        """End a membership."""
        same = (MEMBERSHIPS.c.person == person) & (MEMBERSHIPS.c.group == group)
        valid = is_name(person) and is_name(group)
        if not valid or not await self._store.execute(sa.delete(MEMBERSHIPS).where(same)):
            raise AccountError(f"{person[:64]!r} is not a member of {group[:64]!r}")

    # ── keys ─────────────────────────────────────────────────────────────────────────────────

    async def issue(
        self,
        person: str,
        *,
        label: str = "",
        models: Iterable[str] = EVERYTHING,
        expires: int | None = None,
    ) -> NewKey:
        """Make a key, which may narrow the models of its person, and expire at a time."""
        if len(label) > _LONGEST_LABEL or not label.isprintable():
            raise AccountError(f"a label has at most {_LONGEST_LABEL} printable characters")
        if expires is not None and expires <= time.time():
            raise AccountError("the key would have expired already")
        values = {"person": _known(person), "label": label, "expires": expires, **_new(models)}
        made = new_key()
        await self._store.write(_statements.insert_key, made, values)
        return made

    async def keys(self, person: str | None = None) -> Sequence[Key]:
        """The keys of a person, or all, the newest first."""
        return await self._store.read(_statements.keys, person)

    async def rotate(self, key: str, *, overlap: int) -> NewKey:
        """Make a key like this one, which expires after `overlap` seconds."""
        made = new_key()
        await self._store.write(_statements.rotate, _id(key), made, overlap)
        return made

    async def revoke(self, key: str) -> Key:
        """Make a key invalid from the next request on; returns it."""
        return await self._store.write(_statements.revoke, _id(key))

    async def used(self, times: Mapping[str, int]) -> None:
        """Store when keys were last used, by their ids."""
        await self._store.write(_statements.used, times)


def refused(reason: str) -> RequestRejected:
    """The refusal of a key or a person, with a reason for the log and the client."""
    message = f"{reason}: ask whoever runs this gateway"
    return RequestRejected(message, status=401, retry=False, record=True)


def _changed() -> AccountError:
    return AccountError("somebody else changed this person or group at the same time: try again")


def _new(models: Iterable[str]) -> dict[str, Any]:
    return {"models": stored(checked_patterns(models)), "created": _statements.now()}


def _of_groups(rows: Sequence[sa.Row[Any]]) -> tuple[list[str], list[str]]:
    """What a person and its groups are granted together, and the groups."""
    groups = [row.group for row in rows if row.group is not None]
    granted = list(patterns_in(rows[0].models))
    for row in rows:
        granted += patterns_in(row.group_models) if row.group is not None else ()
    return granted, groups


def _known(person: str) -> str:
    """The name, if a person can have it."""
    if not is_name(person):
        raise no_person(person)
    return person


def _id(key: str) -> str:
    """The id of a key that is given by its id, or whole."""
    if (found := id_of(key)) is None:
        raise no_key(key)
    return found

"""People: those whom `accounts` knows, and those whom a provider names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import IntegrityError

from plugway_accounts import AccountError, KnowsPeople, Member, is_name
from plugway_sign_in._errors import NotLetIn
from plugway_sign_in._options import OidcOptions
from plugway_sign_in._tables import IDENTITIES
from plugway_store import Store

if TYPE_CHECKING:
    from plugway_sign_in._oidc import Identity

_SAME: Final = (
    IDENTITIES.c.issuer == bindparam("of"),
    IDENTITIES.c.subject == bindparam("who"),
)
_BY_IDENTITY: Final = select(IDENTITIES.c.person).where(*_SAME)
_SEEN: Final = update(IDENTITIES).where(*_SAME)
_BY_PERSON: Final = select(IDENTITIES.c.email).where(IDENTITIES.c.person == bindparam("person"))


class People:
    """Finds people. All methods raise `StoreError`."""

    def __init__(self, store: Store, accounts: KnowsPeople, oidc: OidcOptions | None) -> None:
        self._store = store
        self._accounts = accounts
        self._oidc = oidc

    async def member(self, name: str) -> Member | None:
        """A person who may sign in; None for a disabled or removed one."""
        return await self._accounts.people.member(name)

    async def label(self, name: str) -> str:
        """What people know somebody by: the e-mail address from the provider, or the name."""
        found = await self._store.first(_BY_PERSON, {"person": name})
        return (found.email if found else "") or name

    async def check_password(self, name: str, password: str) -> bool:
        """Whether this is the password of a person who may sign in."""
        return await self._accounts.people.check_password(name, password)

    async def identified(self, identity: Identity) -> str:
        """The person whom a provider names, with the groups that it says.

        A person is recognized by the provider's own id, which stays if a name changes, and is never
        given to somebody else. Raises `NotLetIn`.
        """
        assert self._oidc is not None, "identities are of a provider"
        known = {"of": identity.issuer, "who": identity.subject[:255]}
        found = await self._store.first(_BY_IDENTITY, known)
        person: str = found.person if found else await self._new(identity, self._oidc)
        await self._store.execute(_SEEN, {**known, "email": identity.email[:320]})
        member = await self.member(person)
        if member is None:
            raise NotLetIn(f"`{person}` may no longer use this gateway.")
        await self._set_groups(member, identity, self._oidc)
        return person

    # ── somebody who signs in for the first time ─────────────────────────────────────────────

    async def _new(self, identity: Identity, oidc: OidcOptions) -> str:
        people, name = self._accounts.people, name_of(identity, oidc)
        if await people.person(name) is None:
            if not oidc.create:
                raise NotLetIn(f"`{name}` is not known here: ask whoever runs this gateway.")
            try:
                await people.add(name, models=oidc.models)
            except AccountError as error:
                raise NotLetIn(f"`{name}` cannot be added here: {error}.") from error
        values = {"issuer": identity.issuer, "subject": identity.subject[:255], "person": name}
        try:
            await self._store.execute(insert(IDENTITIES), {**values, "email": ""})
        except IntegrityError:
            raise NotLetIn(
                f"`{name}` is somebody else at the provider: ask whoever runs this gateway."
            ) from None
        return name

    async def _set_groups(self, member: Member, identity: Identity, oidc: OidcOptions) -> None:
        """Make the person a member of the groups that the provider's stand for, and of no other of
        those. Groups that no group of the provider stands for are left alone."""
        wanted = {own for theirs, own in oidc.groups.items() if theirs in identity.groups}
        people, has = self._accounts.people, set(member.groups)
        try:
            for group in sorted(wanted - has):
                await people.join(member.name, group)
            for group in sorted((has & set(oidc.groups.values())) - wanted):
                await people.leave(member.name, group)
        except AccountError as error:
            raise NotLetIn(f"Your groups cannot be set: {error}.") from error


def name_of(identity: Identity, oidc: OidcOptions) -> str:
    """The name of a person who signs in for the first time: never one name for two people.

    An e-mail address of the only domain that may sign in is shortened to the part before `@`. No
    domain contains `_`, so `_at_` stands for one address only.
    """
    name, at, domain = identity.name.lower().rpartition("@")
    if not at:
        name = domain
    elif domain not in oidc.domains or len(oidc.domains) > 1:
        name = f"{name}_at_{domain}"
    if not is_name(name):
        raise NotLetIn(
            f"Your `{oidc.person}` cannot be a name here, which has at most 64 letters, digits, "
            "`.`, `_` and `-`: ask whoever runs this gateway to name people by another claim."
        )
    return name

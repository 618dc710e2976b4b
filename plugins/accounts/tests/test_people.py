"""People, groups and keys in the database, on SQLite and on a real PostgreSQL."""

import time

import anyio
import pytest
import sqlalchemy as sa
from accounts_kit import people_in

from plugway import RequestRejected
from plugway_accounts import AccountError, Member
from plugway_accounts._tables import KEYS, PEOPLE

pytestmark = pytest.mark.anyio

ODD = [
    *("", " ", "Ann", "ann lee", "ann/bob", "../ann", "ann\0", "\0", "änn", "ann\n", "-ann", "💥"),
    *("ann'; DROP TABLE accounts_person; --", "\ud800", "a" * 65, "a" * 10_000_000, "owner"),
    *("anonymous", "ann%", "*"),
]


@pytest.fixture
async def people(database):
    async with people_in(database) as people:
        yield people


async def test_a_key_is_its_persons_and_only_its_hash_is_stored(people):
    await people.add("ann")
    made = await people.issue("ann", label="laptop")
    found = await people.by_key(made.secret)
    assert isinstance(found, Member)
    assert (found.person, found.name, found.key, found.groups) == ("ann", "ann", made.id, ())
    assert found.limited, "a person is no owner"
    assert made.secret not in repr((made, found))
    rows = [*await people._store.all(sa.select(KEYS)), *await people._store.all(sa.select(PEOPLE))]
    assert made.secret[11:] not in repr(rows)


async def test_two_keys_differ_in_all_that_is_not_shown(people):
    await people.add("ann")
    keys = [await people.issue("ann") for _ in range(20)]
    assert len({key.id for key in keys}) == 20
    assert all(len(key.secret) == 46 and key.secret.startswith(key.id) for key in keys)


async def test_a_revoked_key_is_refused_at_once(people):
    await people.add("ann")
    made, other = await people.issue("ann"), await people.issue("ann")
    await people.revoke(made.id)
    with pytest.raises(RequestRejected, match="was revoked") as refused:
        await people.by_key(made.secret)
    assert refused.value.status == 401
    assert ("x-should-retry", "false") in refused.value.headers
    assert await people.by_key(other.secret)


async def test_an_expired_key_is_refused_with_the_time(people):
    await people.add("ann")
    made = await people.issue("ann", expires=int(time.time()) + 3600)
    assert await people.by_key(made.secret)
    await people._store.execute(sa.update(KEYS).values(expires=1_000_000_000))
    with pytest.raises(RequestRejected, match="expired on 2001-09-09 01:46 UTC"):
        await people.by_key(made.secret)
    with pytest.raises(AccountError, match="already"):
        await people.issue("ann", expires=int(time.time()) - 1)


async def test_a_rotated_key_is_valid_for_the_overlap_beside_the_new_one(people):
    await people.add("ann")
    old = await people.issue("ann", label="ci", models=["plain/*"], expires=int(time.time()) + 9000)
    new = await people.rotate(old.id, overlap=3600)
    assert await people.by_key(old.secret)
    assert await people.by_key(new.secret)
    first, second = sorted(await people.keys("ann"), key=lambda key: key.expires)
    assert (first.id, second.id) == (old.id, new.id)
    assert (second.label, second.models) == ("ci", ("plain/*",))
    assert 3590 <= first.expires - time.time() <= 3601
    assert 8990 <= second.expires - time.time() <= 9001
    third = await people.rotate(new.secret, overlap=0)
    with pytest.raises(RequestRejected, match="expired"):
        await people.by_key(new.secret)
    assert await people.by_key(third.secret)


async def test_a_key_that_ended_is_not_rotated(people):
    await people.add("ann")
    made = await people.issue("ann")
    await people.revoke(made.id)
    with pytest.raises(AccountError, match="is revoked: issue a new one"):
        await people.rotate(made.id, overlap=60)


async def test_a_disabled_person_is_refused_with_all_keys_until_enabled(people):
    await people.add("ann")
    keys = [await people.issue("ann") for _ in range(2)]
    await people.disable("ann")
    for key in keys:
        with pytest.raises(RequestRejected, match="`ann` is disabled"):
            await people.by_key(key.secret)
    assert await people.member("ann") is None
    await people.enable("ann")
    assert await people.by_key(keys[0].secret)
    assert (await people.member("ann")).person == "ann"


async def test_models_are_those_of_the_person_and_its_groups_within_those_of_the_key(people):
    await people.add_group("staff", models=["cloud/small*", "cloud/mid"])
    await people.add_group("budget-only")
    await people.add("ann", models=["local/*"], groups=["staff", "budget-only"])
    whole = await people.by_key((await people.issue("ann")).secret)
    assert whole.groups == ("budget-only", "staff")
    used = ("local/a", "cloud/small-2", "cloud/mid", "cloud/large", "other/x")
    assert [whole.may_use(target) for target in used] == [True, True, True, False, False]
    narrow = await people.by_key((await people.issue("ann", models=["*/small*", "local/a"])).secret)
    assert [narrow.may_use(target) for target in used] == [True, True, False, False, False]
    await people.add("bob")
    key = await people.by_key((await people.issue("bob", models=["local/*"])).secret)
    assert key.models == ("local/*",)
    assert [key.may_use(target) for target in used] == [True, False, False, False, False]
    alone = await people.by_key((await people.issue("bob")).secret)
    assert all(alone.may_use(target) for target in used)


async def test_a_group_that_is_removed_takes_away_what_it_granted_and_nothing_else(people):
    await people.add_group("staff", models=["cloud/*"])
    await people.add("ann", models=[], groups=["staff"])
    made = await people.issue("ann")
    assert (await people.by_key(made.secret)).may_use("cloud/x")
    await people.remove_group("staff")
    found = await people.by_key(made.secret)
    assert found.groups == ()
    assert found.limited, "without a grant, a person must not count as the owner"
    assert not found.may_use("cloud/x")
    await people.set_models("ann", ["local/*"])
    assert (await people.by_key(made.secret)).may_use("local/x")


async def test_a_removed_person_is_gone_and_the_name_stays_taken(people):
    await people.add_group("staff")
    await people.add("ann", groups=["staff"])
    await people.set_password("ann", "correct horse battery")
    made = await people.issue("ann")
    await people.remove("ann")
    assert await people.by_key(made.secret) is None
    assert await people.person("ann") is None
    assert await people.member("ann") is None
    assert not await people.check_password("ann", "correct horse battery")
    assert (await people.groups())[0].members == ()
    with pytest.raises(AccountError, match="the name stays taken"):
        await people.add("ann")
    with pytest.raises(AccountError, match="there is no person 'ann'"):
        await people.issue("ann")


async def test_a_password_is_checked_and_nobody_else_has_it(people):
    await people.add("ann")
    await people.add("bob")
    await people.set_password("ann", "correct horse battery")
    assert await people.check_password("ann", "correct horse battery")
    assert not await people.check_password("ann", "correct horse batteries")
    for name in ("bob", "nobody", *ODD[3:6]):
        assert not await people.check_password(name, "correct horse battery")
    assert not await people.check_password("ann", "x" * 10_000_000)
    assert not await people.check_password("ann", "\0\ud800")
    for bad in ("", "short", "x" * 1025):
        with pytest.raises(AccountError, match="12 to 1024"):
            await people.set_password("ann", bad)
    await people.set_password("ann", None)
    assert not await people.check_password("ann", "correct horse battery")
    assert "argon2" not in repr(await people.everybody())


async def test_an_odd_name_is_refused_and_never_found(people):
    for name in ODD:
        with pytest.raises(AccountError) as refused:
            await people.add(name)
        assert len(str(refused.value)) < 300
        for find in (people.person, people.member):
            assert await find(name) is None
        calls = (people.disable, people.remove, people.issue, people.revoke, people.remove_group)
        for call in calls:
            with pytest.raises(AccountError, match="there is no"):
                await call(name)
        for call in (people.join, people.leave):
            with pytest.raises(AccountError):
                await call(name, name)
    assert await people.everybody() == []


async def test_a_bad_pattern_or_label_is_refused(people):
    await people.add("ann")
    for bad in ([""], ["a\0"], ["x" * 201], ["\ud800"], [f"{i}/*" for i in range(101)]):
        with pytest.raises(AccountError, match="pattern"):
            await people.issue("ann", models=bad)
    for bad in ("x" * 65, "two\nlines", "\0"):
        with pytest.raises(AccountError, match="label"):
            await people.issue("ann", label=bad)
    assert await people.keys() == []


async def test_a_name_is_taken_once_even_if_two_add_it_at_the_same_time(people):
    failed = []

    async def add():
        try:
            await people.add("ann")
        except AccountError as error:
            failed.append(str(error))

    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(add)
    assert len(failed) == 4
    assert len(await people.everybody()) == 1


async def test_the_time_of_the_last_use_never_goes_back(people):
    await people.add("ann")
    made = await people.issue("ann")
    for times, stored in ((500, 500), (400, 500), (600, 600)):
        await people.used({made.id: times})
        assert (await people.keys())[0].last_used == stored

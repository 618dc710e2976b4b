"""Access and refresh tokens: how long they work, how often, and what ends them."""

import anyio
import pytest
from sign_in_book import DAY, HOUR, Book
from sqlalchemy import text

pytestmark = pytest.mark.anyio


async def test_an_access_token_names_its_person_for_an_hour(book):
    tokens = await book.signed_in("ann")
    assert tokens.expires_in == HOUR
    assert await book.sessions.person_of(tokens.access) == "ann"
    book.clock.now += HOUR - 1
    assert await book.sessions.person_of(tokens.access) == "ann"
    book.clock.now += 1
    assert await book.sessions.person_of(tokens.access) is None


async def test_unknown_tokens_and_tokens_of_the_other_kind_name_nobody(book):
    tokens = await book.signed_in()
    for wrong in ("", "pwa_", tokens.refresh, tokens.access[:-1], tokens.access + "x", "%", "\0"):
        assert await book.sessions.person_of(wrong) is None
        assert await book.sessions.renew(wrong if wrong != tokens.refresh else "") is None
    assert await book.sessions.renew(tokens.access) is None


async def test_renewing_gives_new_tokens_and_leaves_requests_in_flight_their_old_one(book):
    first = await book.signed_in("ann")
    second = await book.sessions.renew(first.refresh)
    assert second.person == "ann"
    assert {first.access, first.refresh}.isdisjoint({second.access, second.refresh})
    assert await book.sessions.person_of(first.access) == "ann"
    assert await book.sessions.person_of(second.access) == "ann"


async def test_each_running_client_renews_from_the_token_that_it_started_with(book):
    """Measured with Claude Code 2.1.332: processes do not tell each other of new tokens."""
    shared = await book.signed_in()
    for _ in range(7):
        assert await book.sessions.renew(shared.refresh)
        book.clock.now += DAY
    assert (
        await book.sessions.person_of((await book.sessions.renew(shared.refresh)).access) == "ann"
    )


async def test_a_refresh_token_that_was_first_used_a_week_ago_ends_the_sign_in(book):
    first = await book.signed_in()
    second = await book.sessions.renew(first.refresh)
    book.clock.now += 3 * DAY
    third = await book.sessions.renew(second.refresh)
    await book.sessions.renew(first.refresh)
    book.clock.now += 4 * DAY + 1
    fourth = await book.sessions.renew(third.refresh)
    other = await book.signed_in()
    assert await book.sessions.renew(first.refresh) is None
    assert await book.sessions.person_of(fourth.access) is None
    for token in (second, third, fourth):
        assert await book.sessions.renew(token.refresh) is None
    assert await book.sessions.person_of(other.access) == "ann"


async def test_where_tokens_may_be_used_once_a_second_use_ends_the_sign_in_at_once(book):
    strict = Book(book.store, book.clock, reuse_hours=0)
    first = await strict.signed_in()
    second = await strict.sessions.renew(first.refresh)
    book.clock.now += 0.01
    assert await strict.sessions.renew(first.refresh) is None
    assert await strict.sessions.person_of(second.access) is None


async def test_concurrent_renewals_with_one_token_all_work_and_stay_one_sign_in(book):
    first = await book.signed_in()
    found = []

    async def renew():
        found.append(await book.sessions.renew(first.refresh))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(renew)
    assert len({one.refresh for one in found}) == 10
    await book.sessions.revoke(found[3].refresh)
    assert [await book.sessions.person_of(one.access) for one in found] == [None] * 10


async def test_an_unused_sign_in_ends_after_thirty_days_and_a_used_one_after_ninety(book):
    idle = await book.signed_in()
    used = await book.signed_in()
    start = book.clock.now
    for day in (29, 58, 87):
        book.clock.now = start + day * DAY
        used = await book.sessions.renew(used.refresh)
    assert await book.sessions.renew(idle.refresh) is None
    assert await book.sessions.person_of(used.access) == "ann"
    book.clock.now = start + 90 * DAY - HOUR / 2
    used = await book.sessions.renew(used.refresh)
    assert used.expires_in == HOUR / 2
    book.clock.now = start + 90 * DAY
    assert await book.sessions.person_of(used.access) is None
    assert await book.sessions.renew(used.refresh) is None


@pytest.mark.parametrize("kind", ["access", "refresh"])
async def test_revoking_either_token_ends_the_sign_in(book, kind):
    tokens = await book.signed_in()
    await book.sessions.revoke(getattr(tokens, kind))
    assert await book.sessions.person_of(tokens.access) is None
    assert await book.sessions.renew(tokens.refresh) is None
    await book.sessions.revoke(tokens.access)
    await book.sessions.revoke("nothing")


async def test_revoking_a_person_ends_all_of_their_sign_ins_and_nobody_elses(book):
    mine = [await book.signed_in("ann") for _ in range(3)]
    other = await book.signed_in("bob")
    await book.sessions.revoke_person("ann")
    assert [await book.sessions.person_of(one.access) for one in mine] == [None] * 3
    assert await book.sessions.person_of(other.access) == "bob"


async def test_the_database_holds_no_token_and_forgets_expired_ones(book):
    tokens = await book.signed_in()
    rows = await book.store.all(text("SELECT * FROM sign_in_tokens"))
    stored = " ".join(str(row) for row in rows)
    assert len(rows) == 2
    assert tokens.access[4:] not in stored
    assert tokens.refresh[4:] not in stored
    for _ in range(5):
        book.clock.now += 2 * HOUR
        tokens = await book.sessions.renew(tokens.refresh)
    kinds = await book.store.all(text("SELECT kind FROM sign_in_tokens WHERE kind = 'access'"))
    assert len(kinds) == 1
    book.clock.now += 91 * DAY
    await book.signed_in("bob")
    assert len(await book.store.all(text("SELECT * FROM sign_in_sessions"))) == 1
    assert len(await book.store.all(text("SELECT * FROM sign_in_tokens"))) == 2

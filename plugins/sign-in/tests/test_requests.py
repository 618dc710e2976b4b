"""The device flow: codes that are early, late, denied, repeated, or entered at another gateway."""

import re

import anyio
import pytest
from sign_in_book import DAY, Book, Clock, opened
from sqlalchemy import text

from plugway_sign_in._sessions import Issued

pytestmark = pytest.mark.anyio


async def test_the_codes_are_long_and_easy_to_type(book):
    begun = [await book.requests.begin("claude_code") for _ in range(50)]
    assert all(
        re.fullmatch("[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", one.user_code)
        for one in begun
    )
    assert len({one.user_code for one in begun}) == 50
    assert min(len(one.device_code) for one in begun) >= 43  # 256 bits in base64
    rows = await book.store.all(text("SELECT device FROM sign_in_requests"))
    assert not {row.device for row in rows} & {one.device_code for one in begun}


async def test_tokens_are_given_once_after_consent(book):
    begun = await book.requests.begin("claude_code")
    assert await book.requests.poll(begun.device_code) == "authorization_pending"
    browser = await book.requests.claim(begun.user_code)
    book.clock.now += 5
    assert await book.requests.poll(begun.device_code) == "authorization_pending"
    await book.requests.sign_in(browser, "ann")
    book.clock.now += 5
    assert await book.requests.poll(begun.device_code) == "authorization_pending"
    await book.requests.decide(browser, "ann", True)
    tokens = await book.requests.poll(begun.device_code)
    assert tokens.person == "ann"
    assert await book.sessions.person_of(tokens.access) == "ann"


async def test_a_repeated_device_code_gets_nothing_and_ends_the_sign_in_that_it_began(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "ann")
    await book.requests.decide(browser, "ann", True)
    tokens = await book.requests.poll(begun.device_code)
    assert await book.requests.poll(begun.device_code) == "expired_token"
    assert await book.sessions.person_of(tokens.access) is None
    assert await book.sessions.renew(tokens.refresh) is None


async def test_of_many_polls_at_once_one_gets_the_tokens(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "ann")
    await book.requests.decide(browser, "ann", True)
    found = []

    async def poll():
        found.append(await book.requests.poll(begun.device_code))

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(poll)
    assert sum(isinstance(one, Issued) for one in found) == 1
    assert found.count("expired_token") == 9


@pytest.mark.parametrize("code", ["", "x", "\0", "ü", "' OR 1=1 --", "x" * 100_000])
async def test_an_unknown_device_code_has_expired(book, code):
    await book.requests.begin("claude_code")
    assert await book.requests.poll(code) == "expired_token"


async def test_a_request_expires_after_ten_minutes_for_client_and_browser(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "ann")
    assert begun.expires_in == 600
    book.clock.now += 600
    assert await book.requests.poll(begun.device_code) == "expired_token"
    assert await book.requests.claim(begun.user_code) is None
    assert await book.requests.of_browser(browser) is None
    assert not await book.requests.decide(browser, "ann", True)


async def test_consent_that_is_not_fetched_in_time_has_expired(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "ann")
    await book.requests.decide(browser, "ann", True)
    book.clock.now += 600
    assert await book.requests.poll(begun.device_code) == "expired_token"


async def test_a_denied_request_stays_denied(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "ann")
    assert await book.requests.decide(browser, "ann", False)
    assert await book.requests.poll(begun.device_code) == "access_denied"
    assert await book.requests.claim(begun.user_code) is None
    assert not await book.requests.decide(browser, "ann", True)
    assert await book.requests.poll(begun.device_code) == "access_denied"


async def test_hasty_polls_are_slowed_down_by_five_seconds_each(book):
    begun = await book.requests.begin("claude_code")

    async def after(seconds):
        book.clock.now += seconds
        return await book.requests.poll(begun.device_code)

    assert await after(0) == "authorization_pending"
    assert await after(4.2) == "authorization_pending"  # networks are not exact
    assert await after(2) == "slow_down"
    assert await after(5) == "slow_down"
    assert await after(15) == "authorization_pending"
    assert await after(5) == "slow_down"


async def test_a_clock_that_runs_behind_slows_nobody_down(book):
    begun = await book.requests.begin("claude_code")
    assert await book.requests.poll(begun.device_code) == "authorization_pending"
    book.clock.now -= 100
    assert await book.requests.poll(begun.device_code) == "authorization_pending"


async def test_a_clock_that_is_set_back_does_not_make_codes_last_longer(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    book.clock.now -= DAY
    assert await book.requests.poll(begun.device_code) == "expired_token"
    assert await book.requests.claim(begun.user_code) is None
    assert await book.requests.of_browser(browser) is None


@pytest.mark.parametrize("typed", ["{}", " {}\n", "{lower}", "{plain}", "{spaced}"])
async def test_a_code_may_be_typed_in_any_way(book, typed):
    code = (await book.requests.begin("claude_code")).user_code
    forms = {"lower": code.lower(), "plain": code.replace("-", ""), "spaced": " ".join(code)}
    assert await book.requests.claim(typed.format(code, **forms))


@pytest.mark.parametrize("typed", ["", "-", "BBBB", "ÄÄÄÄÄÄÄÄ", "%", "________", "\0", "B" * 9])
async def test_a_wrong_code_is_unknown(book, typed):
    await book.requests.begin("claude_code")
    assert await book.requests.claim(typed) is None


async def test_the_browser_that_entered_the_code_last_answers_alone_and_as_nobody_yet(book):
    begun = await book.requests.begin("claude_code")
    first = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(first, "ann")
    second = await book.requests.claim(begun.user_code)
    assert await book.requests.of_browser(first) is None
    assert not await book.requests.decide(first, "ann", True)
    assert (await book.requests.of_browser(second)).person is None
    assert not await book.requests.decide(second, "ann", True)
    assert await book.requests.sign_in(second, "bob")
    assert await book.requests.decide(second, "bob", True)
    assert (await book.requests.poll(begun.device_code)).person == "bob"


async def test_consent_holds_for_the_person_who_saw_it(book):
    begun = await book.requests.begin("claude_code")
    browser = await book.requests.claim(begun.user_code)
    await book.requests.sign_in(browser, "bob")
    assert not await book.requests.decide(browser, "ann", True)
    assert await book.requests.poll(begun.device_code) == "authorization_pending"


async def test_a_providers_answer_counts_once_and_only_for_its_browser(book):
    mine, other = [await book.requests.begin("claude_code") for _ in range(2)]
    browser = await book.requests.claim(mine.user_code)
    stranger = await book.requests.claim(other.user_code)
    assert await book.requests.set_oidc(browser, "state", "nonce", "verifier")
    assert await book.requests.take_oidc(stranger, "state") is None
    for wrong in ("", "other", "\0", "x" * 10_000):
        assert await book.requests.take_oidc(browser, wrong) is None
    assert await book.requests.take_oidc(browser, "state") == ("nonce", "verifier")
    assert await book.requests.take_oidc(browser, "state") is None


async def test_a_sign_in_begins_at_one_gateway_and_ends_at_another(each_database):
    clock, later = Clock(), Clock()
    later.now += 30  # clocks differ
    async with opened(each_database, clock) as here, opened(each_database, later) as there:
        begun = await here.requests.begin("claude_code")
        browser = await there.requests.claim(begun.user_code)
        assert await here.requests.sign_in(browser, "ann")
        assert await there.requests.decide(browser, "ann", True)
        tokens = await here.requests.poll(begun.device_code)
        assert await there.sessions.person_of(tokens.access) == "ann"
        assert (await there.sessions.renew(tokens.refresh)).person == "ann"
        await here.sessions.revoke(tokens.refresh)
        assert await there.sessions.person_of(tokens.access) is None


async def test_old_requests_are_forgotten(book):
    old = await book.requests.begin("claude_code")
    book.clock.now += 2 * 3600
    await book.requests.begin("x" * 1000)
    assert len(await book.store.all(text("SELECT * FROM sign_in_requests"))) == 1
    assert await book.requests.poll(old.device_code) == "expired_token"


async def test_codes_last_as_long_as_configured(book):
    short = Book(book.store, book.clock, code_minutes=1)
    begun = await short.requests.begin("claude_code")
    book.clock.now += 60
    assert await short.requests.poll(begun.device_code) == "expired_token"

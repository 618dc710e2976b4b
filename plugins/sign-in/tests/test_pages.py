"""The verification page: codes, passwords, consent, and requests that no page of it would send."""

import logging
import re

import pytest
from sign_in_kit import PASSWORDS, Browser, Client, heading, problem, serving

pytestmark = pytest.mark.anyio


@pytest.fixture
async def team(database):
    async with serving(database) as team:
        await team.hires()
        yield team


@pytest.fixture
async def begun(team):
    async with Client(team) as client:
        yield await client.begins()


@pytest.fixture
async def browser(team):
    async with Browser(team) as browser:
        yield browser


async def outcome(team, begun):
    async with Client(team) as client:
        answer = (await client.polls(begun)).json()
        return answer.get("error") or answer["email"]


async def test_the_way_of_a_browser(team, begun, browser):
    page = await browser.get("/device")
    assert (page.status_code, heading(page)) == (200, "Sign in to Claude Code")
    page = await browser.enters(begun["user_code"])
    assert heading(page) == "Who are you?"
    page = await browser.gives("ann")
    assert heading(page) == "Is this your Claude Code?"
    assert "<strong>ann</strong>" in page.text
    assert begun["user_code"] in page.text
    assert await outcome(team, begun) == "authorization_pending"
    page = await browser.decides()
    assert heading(page) == "You are signed in"
    assert browser.cookies == {}
    assert await outcome(team, begun) == "ann"


async def test_a_link_with_a_code_fills_it_in_and_sends_nothing(team, begun, browser):
    page = await browser.get(begun["verification_uri_complete"])
    assert f'value="{begun["user_code"]}"' in page.text
    assert "<script" not in page.text
    assert "refresh" not in page.text.lower()
    assert browser.cookies == {}
    assert await outcome(team, begun) == "authorization_pending"


@pytest.mark.parametrize(
    "code", ['"><script>alert(1)</script>', "<b>", "'", "\0", "%00%0d%0aX: y", "ü" * 999]
)
async def test_a_strange_code_in_a_link_is_only_text(browser, code):
    page = await browser.get("/device", params={"user_code": code})
    assert page.status_code == 200
    assert "<script" not in page.text
    assert "<b>" not in page.text
    again = await browser.enters(code)
    assert (again.status_code, problem(again)) == (
        400,
        "This code is unknown or has expired. Check it, or run /login again.",
    )
    assert "<script" not in again.text


async def test_the_pages_may_load_nothing_and_be_shown_in_no_other_page(browser, begun):
    pages = [
        await browser.get("/device"),
        await browser.enters(begun["user_code"]),
        await browser.gives("ann"),
    ]
    for page in pages:
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src" not in policy
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert not re.search(r"(src|href)=.?(http|//)", page.text)


async def test_the_cookie_is_for_this_page_and_this_browser_only(team, begun, browser):
    first = await browser.post(
        "/device",
        data={"user_code": begun["user_code"]},
        headers=browser.own,
        follow_redirects=False,
    )
    cookie = first.headers["set-cookie"].lower()
    assert first.status_code == 303
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie  # http, on this machine


async def test_over_tls_the_cookie_is_bound_to_the_host(database):
    host = {
        "allowed_hosts": ["gateway.example.com"],
        "allowed_origins": ["https://gateway.example.com"],
    }
    async with serving(database, server=host) as team, Client(team) as client:
        headers = {"host": "gateway.example.com", "origin": "https://gateway.example.com"}
        begun = await client.begins()
        answer = await client.post(
            "/device", data={"user_code": begun["user_code"]}, headers=headers
        )
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-plugway-sign-in=")
    assert "secure" in cookie.lower()
    assert "path=/;" in cookie.lower() + ";"


@pytest.mark.parametrize(
    ("name", "password"),
    [("ann", "wrong"), ("ann", ""), ("bob", PASSWORDS["ann"]), ("nobody", "x"), ("", ""), ("ann\0", "x"),
     ("ANN", PASSWORDS["ann"] + "x"), ("ann" * 1000, "x" * 100_0), ("' or 1=1 --", "' or 1=1 --"), ("\ud800", "\ud800")],
    ids=range(10),
)  # fmt: skip
async def test_a_wrong_name_or_password_says_nothing_more(team, begun, browser, name, password):
    await browser.enters(begun["user_code"])
    body = f"csrf={re.search('name=.csrf. value=.(.*?).>', browser.page.text)[1]}&name={name}&password={password}"
    headers = {**browser.own, "content-type": "application/x-www-form-urlencoded"}
    page = await browser.post(
        "/device/password", content=body.encode("utf-8", "surrogatepass"), headers=headers
    )
    assert (page.status_code, problem(page)) == (401, "The name or the password is wrong.")
    assert PASSWORDS["ann"] not in page.text
    assert await outcome(team, begun) == "authorization_pending"


async def test_somebody_who_is_disabled_cannot_sign_in_nor_confirm(team, begun, browser):
    await browser.enters(begun["user_code"])
    await browser.gives("ann")
    await team.people.disable("ann")
    assert heading(await browser.decides()) == "Denied"
    assert await outcome(team, begun) == "access_denied"
    async with Client(team) as client, Browser(team) as other:
        await other.enters((await client.begins())["user_code"])
        page = await other.gives("ann")
    assert problem(page) == "The name or the password is wrong."


async def test_somebody_who_is_disabled_after_consenting_gets_no_tokens(team, begun, browser):
    await browser.enters(begun["user_code"])
    await browser.gives("ann")
    await browser.decides()
    await team.people.disable("ann")
    assert await outcome(team, begun) == "access_denied"
    await team.people.enable("ann")
    assert await outcome(team, begun) == "expired_token"


async def test_a_password_is_not_logged(team, begun, browser, caplog):
    caplog.set_level(logging.DEBUG)
    await browser.enters(begun["user_code"])
    await browser.gives("ann", "a secret mistake")
    await browser.gives("ann")
    await browser.decides()
    told = "\n".join(
        record.getMessage() for record in caplog.records if record.name.startswith("plugway")
    )
    assert "a secret mistake" not in told
    assert PASSWORDS["ann"] not in told
    assert begun["device_code"] not in told
    assert "ann allowed a sign-in" in told


async def test_a_name_may_be_typed_as_phones_write_it(begun, browser):
    await browser.enters(begun["user_code"])
    page = await browser.submits("/device/password", name=" Ann ", password=PASSWORDS["ann"])
    assert "<strong>ann</strong>" in page.text


async def test_denying_denies(team, begun, browser):
    await browser.enters(begun["user_code"])
    await browser.gives("ann")
    assert heading(await browser.decides("deny")) == "Denied"
    assert await outcome(team, begun) == "access_denied"


@pytest.mark.parametrize("decision", ["", "yes", "ALLOW", "allow "])
async def test_everything_but_allow_denies(team, begun, browser, decision):
    await browser.enters(begun["user_code"])
    await browser.gives("ann")
    assert heading(await browser.decides(decision)) == "Denied"
    assert await outcome(team, begun) == "access_denied"


# ── requests that the page would not send ────────────────────────────────────────────────────────


async def test_nothing_is_decided_without_signing_in(team, begun, browser):
    await browser.enters(begun["user_code"])
    page = await browser.decides()
    assert page.status_code == 400
    assert await outcome(team, begun) == "authorization_pending"


@pytest.mark.parametrize("csrf", [None, "", "x", "ü"])
async def test_a_form_without_its_hidden_field_does_nothing(team, begun, browser, csrf):
    await browser.enters(begun["user_code"])
    await browser.gives("ann")
    form = {"decision": "allow"} | ({} if csrf is None else {"csrf": csrf})
    page = await browser.post("/device/decide", data=form, headers=browser.own)
    assert page.status_code == 400
    assert await outcome(team, begun) == "authorization_pending"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
    ids=str,
)
async def test_a_form_of_another_site_is_refused(team, begun, browser, headers):
    await browser.enters(begun["user_code"])
    page = await browser.gives("ann")
    csrf = re.search('name="csrf" value="(.*?)"', page.text)[1]
    for path in ("/device", "/device/password", "/device/decide"):
        form = {
            "csrf": csrf,
            "decision": "allow",
            "user_code": begun["user_code"],
            "name": "ann",
            "password": "x",
        }
        assert (await browser.post(path, data=form, headers=headers)).status_code == 403
    assert await outcome(team, begun) == "authorization_pending"


async def test_nobody_answers_without_having_entered_the_code(team, begun, browser):
    assert (await browser.get("/device/sign-in")).status_code == 400
    for cookie in (b"", b"x", b"\xff", b"x" * 3000):
        headers = {"cookie": b"plugway-sign-in=" + cookie}
        page = await browser.get("/device/sign-in", headers=headers)
        assert page.status_code == 400
    assert await outcome(team, begun) == "authorization_pending"


async def test_one_persons_browser_cannot_answer_for_another_one(team, browser):
    async with Client(team) as client, Browser(team) as other:
        mine, hers = await client.begins(), await client.begins()
        await browser.enters(mine["user_code"])
        await browser.gives("bob")
        await other.enters(hers["user_code"])
        page = await other.gives("ann")
        csrf = re.search('name="csrf" value="(.*?)"', page.text)[1]
        stolen = await browser.post(
            "/device/decide", data={"csrf": csrf, "decision": "allow"}, headers=browser.own
        )
        assert stolen.status_code == 400
        assert await outcome(team, hers) == "authorization_pending"
        assert await outcome(team, mine) == "authorization_pending"


async def test_an_answer_is_given_once(team, begun, browser):
    await browser.enters(begun["user_code"])
    page = await browser.gives("ann")
    cookie = dict(browser.cookies)
    csrf = re.search('name="csrf" value="(.*?)"', page.text)[1]
    await browser.decides("deny")
    browser.cookies.update(cookie)
    again = await browser.post(
        "/device/decide", data={"csrf": csrf, "decision": "allow"}, headers=browser.own
    )
    assert again.status_code == 400
    assert await outcome(team, begun) == "access_denied"


async def test_codes_cannot_be_guessed_fast(team, browser):
    pages = [await browser.enters("BBBB-BBBB") for _ in range(35)]  # the window slides
    assert [one.status_code for one in pages[:30]] == [400] * 30
    assert pages[-1].status_code == 429
    assert "Wait a minute" in problem(pages[-1])


async def test_passwords_of_one_person_cannot_be_guessed_fast_from_anywhere(team, begun, browser):
    await browser.enters(begun["user_code"])
    pages = [await browser.gives("ann", f"guess {n}") for n in range(13)]  # the window slides
    assert {one.status_code for one in pages[:10]} == {401}
    for name in ("ann", "ANN", " ann "):
        page = await browser.submits("/device/password", name=name, password=PASSWORDS["ann"])
        assert (page.status_code, problem(page)) == (
            429,
            "Too many attempts. Wait a minute, and try again.",
        )
    assert heading(await browser.gives("bob")) == "Is this your Claude Code?"


async def test_a_form_that_is_too_large_is_no_form(browser, begun):
    page = await browser.submits("/device", user_code=begun["user_code"], more="x" * 100_000)
    assert page.status_code == 400


async def test_without_passwords_there_is_no_form_for_them(database):
    oidc = {"issuer": "https://idp.example.com", "client_id": "x", "label": "Example <Inc>"}
    async with (
        serving(database, passwords=False, oidc=oidc) as team,
        Client(team) as client,
        Browser(team) as browser,
    ):
        page = await browser.enters((await client.begins())["user_code"])
        assert "password" not in page.text.lower()
        assert "Continue with Example &lt;Inc&gt;" in page.text
        assert (await browser.gives("ann", "x")).status_code == 415  # the path is not a page

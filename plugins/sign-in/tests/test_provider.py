"""People of a provider, from the page's button to their requests."""

import pytest
from oidc_provider import CLIENT, SECRET, OidcProvider
from sign_in_kit import Browser, Client, bearer, heading, problem, serving

from plugway_sign_in import OidcOptions
from plugway_sign_in._errors import NotLetIn
from plugway_sign_in._oidc import Identity
from plugway_sign_in._people import name_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def real():
    async with OidcProvider() as real:
        yield real


def options(real, **more):
    known = {
        "issuer": real.issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "label": "Example",
    }
    return {**known, "domains": ["example.com"], **more}


def gateway_with(database, real, **more):
    return serving(database, oidc=options(real, **more))


async def signs_in(team, real, decides=True):
    """The page after the provider, and what the client is told."""
    real.redirects.add(f"{team.url}/device/callback")
    async with Client(team) as client, Browser(team) as browser:
        begun = await client.begins()
        await browser.enters(begun["user_code"])
        page = browser.page = await browser.get("/device/provider")
        if decides and problem(page) is None:
            await browser.decides()
        return page, (await client.polls(begun)).json()


async def test_a_newcomer_becomes_a_person_and_stays_the_same(database, real):
    async with gateway_with(database, real, models=["echo/*"]) as team:
        page, tokens = await signs_in(team, real)
        assert heading(page) == "Is this your Claude Code?"
        assert "<strong>ann@example.com</strong>" in page.text
        assert tokens["email"] == "ann@example.com"
        person = await team.people.person("ann")
        assert (person.models, person.groups, person.has_password) == (("echo/*",), (), False)
        async with Client(team) as client:
            account = (await client.get("/v1/account", headers=bearer(tokens))).json()
        assert account["name"] == "ann"
        real.person["email"] = "ann.married@example.com"
        _, tokens = await signs_in(team, real)
        assert tokens["email"] == "ann.married@example.com"
        assert [one.name for one in await team.people.everybody()] == ["ann"]


async def test_a_person_by_key_and_by_sign_in_is_the_same(database, real):
    async with gateway_with(database, real) as team, Client(team) as client:
        await team.people.add("ann", models=["echo/*"])
        made = await team.people.issue("ann")
        _, tokens = await signs_in(team, real)
        by_key = await client.get("/v1/account", headers={"authorization": f"Bearer {made.secret}"})
        by_token = await client.get("/v1/account", headers=bearer(tokens))
    assert by_key.json()["name"] == by_token.json()["name"] == "ann"
    assert by_key.json()["models"] == by_token.json()["models"] == ["echo/*"]


async def test_somebody_else_at_the_provider_never_becomes_a_known_person(database, real):
    async with gateway_with(database, real) as team:
        await signs_in(team, real)
        real.person["sub"] = "u-2"  # the address was given to somebody else
        page, tokens = await signs_in(team, real)
        assert page.status_code == 403
        assert (
            problem(page)
            == "`ann` is somebody else at the provider: ask whoever runs this gateway."
        )
        assert tokens["error"] == "authorization_pending"


async def test_where_people_are_added_by_hand_others_are_not_let_in(database, real):
    async with gateway_with(database, real, create=False) as team:
        page, _ = await signs_in(team, real)
        assert (page.status_code, problem(page)) == (
            403,
            "`ann` is not known here: ask whoever runs this gateway.",
        )
        assert await team.people.everybody() == []
        await team.people.add("ann")
        _, tokens = await signs_in(team, real)
        assert tokens["email"] == "ann@example.com"


async def test_a_disabled_or_removed_person_does_not_come_back_by_the_provider(database, real):
    async with gateway_with(database, real) as team:
        await signs_in(team, real)
        await team.people.disable("ann")
        page, _ = await signs_in(team, real)
        assert (page.status_code, problem(page)) == (403, "`ann` may no longer use this gateway.")
        await team.people.remove("ann")
        page, _ = await signs_in(team, real)
        assert problem(page) == "`ann` may no longer use this gateway."
        real.person["sub"] = "u-2"
        page, _ = await signs_in(team, real)
        assert page.status_code == 403


async def test_groups_follow_the_provider_and_others_are_left_alone(database, real):
    mapped = {"idp-eng": "eng", "idp-dev": "eng", "idp-ops": "ops"}
    async with gateway_with(database, real, groups=mapped) as team:
        for group in ("eng", "ops", "own"):
            await team.people.add_group(group)

        async def groups(*theirs):
            real.person["groups"] = list(theirs)
            await signs_in(team, real)
            return (await team.people.person("ann")).groups

        assert await groups("idp-dev", "unknown", "own") == ("eng",)
        await team.people.join("ann", "own")
        assert await groups("idp-eng", "idp-ops") == ("eng", "ops", "own")
        assert await groups("idp-ops") == ("ops", "own")
        assert await groups() == ("own",)


async def test_a_group_that_was_removed_here_is_named(database, real):
    async with gateway_with(database, real, groups={"idp-eng": "eng"}) as team:
        real.person["groups"] = ["idp-eng"]
        page, _ = await signs_in(team, real)
    assert page.status_code == 403
    assert "there is no group 'eng'" in problem(page).replace("&#x27;", "'")


async def test_the_providers_refusal_is_shown_and_one_can_try_again(database, real):
    async with gateway_with(database, real) as team:
        real.redirects.add(f"{team.url}/device/callback")
        async with Client(team) as client, Browser(team) as browser:
            await browser.enters((await client.begins())["user_code"])
            real.denies = True
            page = await browser.get("/device/provider")
            assert (page.status_code, problem(page)) == (
                403,
                "The provider reported `access_denied`.",
            )
            real.denies = False
            page = await browser.get("/device/provider")
            assert heading(page) == "Is this your Claude Code?"


async def test_while_the_provider_is_down_passwords_work(database, real):
    async with gateway_with(database, real) as team:
        await team.hires("bob")
        async with Client(team) as client, Browser(team) as browser:
            begun = await client.begins()
            await browser.enters(begun["user_code"])
            real.down = True
            page = await browser.get("/device/provider")
            assert page.status_code == 502
            assert problem(page) == "The provider answered 503 for its metadata."
            browser.page = page
            assert heading(await browser.gives("bob")) == "Is this your Claude Code?"


@pytest.mark.parametrize(
    "query", ["", "?state=x&code=y", "?state=&code=", "?error=%3Cb%3E", "?state=%00"]
)
async def test_an_answer_that_was_not_asked_for_signs_nobody_in(database, real, query):
    async with (
        gateway_with(database, real) as team,
        Client(team) as client,
        Browser(team) as browser,
    ):
        assert (await browser.get(f"/device/callback{query}")).status_code == 400
        begun = await client.begins()
        await browser.enters(begun["user_code"])
        page = await browser.get(f"/device/callback{query}")
        assert (page.status_code, problem(page)) == (
            400,
            "This sign-in was not started here. Try again.",
        )
        assert "<b>" not in page.text
        assert (await client.polls(begun)).json()["error"] == "authorization_pending"


async def test_an_answer_for_another_browser_signs_nobody_in(database, real):
    async with gateway_with(database, real) as team, Client(team) as client:
        real.redirects.add(f"{team.url}/device/callback")
        async with Browser(team) as mine, Browser(team) as other:
            for browser in (mine, other):
                await browser.enters((await client.begins())["user_code"])
            sent = await mine.get("/device/provider", follow_redirects=False)
            came = await mine.get(sent.headers["location"], follow_redirects=False)
            page = await other.get(came.headers["location"])
            assert page.status_code == 400
            assert heading(await mine.get(came.headers["location"])) == "Is this your Claude Code?"


async def test_the_provider_is_asked_at_one_gateway_and_answers_at_another(database, real):
    async with gateway_with(database, real) as here, gateway_with(database, real) as there:
        real.redirects |= {f"{one.url}/device/callback" for one in (here, there)}
        async with Client(here) as client, Browser(here) as browser, Client(there) as other:
            begun = await client.begins()
            await browser.enters(begun["user_code"])
            sent = await browser.get("/device/provider", follow_redirects=False)
            came = await browser.get(sent.headers["location"], follow_redirects=False)
            # A load balancer would send the browser back to any of them, under one name.
            back = came.headers["location"]
            browser.page = await browser.get(back)
            async with Browser(there) as same:
                same.cookies.update(browser.cookies)
                same.page = await same.get("/device/sign-in")
                assert heading(await same.decides()) == "You are signed in"
            assert (await other.polls(begun)).json()["email"] == "ann@example.com"


def identity(name):
    return Identity("https://idp", "u-1", name, "", ())


@pytest.mark.parametrize(
    ("domains", "claim", "name"),
    [
        (["example.com"], "Ann.Smith@Example.com", "ann.smith"),
        ([], "ann@example.com", "ann_at_example.com"),
        (["example.com", "example.org"], "ann@example.org", "ann_at_example.org"),
        ([], "Ann", "ann"),
        (["example.com"], "u-1", "u-1"),
    ],
)
def test_the_name_of_a_newcomer(domains, claim, name):
    oidc = OidcOptions(issuer="https://idp", client_id="x", domains=domains)
    assert name_of(identity(claim), oidc) == name


@pytest.mark.parametrize(
    "claim",
    ["Ann Smith", "änn", "@example.com", "-ann", "a" * 65, "ann+x@example.com", "a@b@example.com"],
)
def test_a_claim_that_cannot_be_a_name_is_refused(claim):
    oidc = OidcOptions(issuer="https://idp", client_id="x", domains=["example.com"])
    with pytest.raises(NotLetIn, match="cannot be a name"):
        name_of(identity(claim), oidc)

"""An OpenID Connect provider that is honest, down, or lies in each of the ways that matter."""

import time
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

import pytest
from oidc_provider import CLIENT, OTHER_KEY, SECRET, OidcProvider, secret_as_key

from plugway_sign_in import OidcOptions
from plugway_sign_in._errors import NotLetIn
from plugway_sign_in._oidc import Provider

pytestmark = pytest.mark.anyio
CALLBACK = "http://127.0.0.1:8484/device/callback"


class Now(NamedTuple):
    """A time, so many seconds from the moment when the test runs: its name must not change."""

    seconds: int


def provider_of(real, **options):
    known = {"issuer": real.issuer, "client_id": CLIENT, "client_secret": SECRET}
    return Provider(OidcOptions(**{**known, **options}))


@pytest.fixture
async def real():
    async with OidcProvider() as real:
        real.redirects.add(CALLBACK)
        yield real


async def back(real, provider, **changed):
    """What the browser brings back, and what was kept for it."""
    sent = await provider.begin(CALLBACK)
    came = urlsplit(real.authorize(dict(parse_qsl(urlsplit(sent.url).query))))
    return sent, {**dict(parse_qsl(came.query)), **changed}


async def signed_in(real, provider, **changed):
    sent, query = await back(real, provider, **changed)
    return await provider.finish(query, CALLBACK, sent.nonce, sent.verifier)


async def refusal(real, provider=None, **changed):
    with pytest.raises(NotLetIn) as refused:
        await signed_in(real, provider or provider_of(real), **changed)
    return str(refused.value)


async def test_the_provider_says_who_signed_in(real):
    real.person["groups"] = ["eng", "ops"]
    found = await signed_in(real, provider_of(real))
    assert (found.issuer, found.subject) == (real.issuer, "u-1")
    assert (found.name, found.email, found.groups) == ("ann@example.com",) * 2 + (("eng", "ops"),)


async def test_each_sign_in_has_its_own_state_nonce_and_verifier(real):
    provider = provider_of(real)
    sent = [await provider.begin(CALLBACK) for _ in range(3)]
    assert len({value for one in sent for value in (one.state, one.nonce, one.verifier)}) == 9
    for one in sent:
        assert one.verifier not in one.url
    assert real.asked("/.well-known/openid-configuration") == 1


async def test_the_providers_metadata_and_keys_are_read_once_and_again_when_it_has_new_keys(real):
    provider = provider_of(real)
    for _ in range(3):
        await signed_in(real, provider)
    assert (real.asked("/.well-known/openid-configuration"), real.asked("/jwks")) == (1, 1)
    real.keys, real.sign_with = [OTHER_KEY], OTHER_KEY
    await signed_in(real, provider)
    assert real.asked("/jwks") == 2


@pytest.mark.parametrize(
    ("claims", "word"),
    [
        ({"iss": "https://evil.example.com"}, "`iss`"),
        ({"iss": None}, "`iss`"),
        ({"aud": "another-client"}, "`aud`"),
        ({"aud": ["another-client"]}, "`aud`"),
        ({"aud": None}, "`aud`"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "`azp`"),
        ({"exp": Now(-3600)}, "expired"),
        ({"exp": None}, "`exp`"),
        ({"exp": "tomorrow"}, "not valid"),
        ({"iat": Now(3600)}, "`iat`"),
        ({"iat": None}, "`iat`"),
        ({"nbf": Now(3600)}, "not valid"),
        ({"nonce": "another"}, "`nonce`"),
        ({"nonce": None}, "`nonce`"),
        ({"sub": None}, "`sub`"),
        ({"at_hash": "d3Jvbmc"}, "`at_hash`"),
    ],
    ids=str,
)
async def test_a_lie_in_the_id_token_is_refused_and_named(real, claims, word):
    now = int(time.time())
    real.claims = {n: now + v.seconds if isinstance(v, Now) else v for n, v in claims.items()}
    said = await refusal(real)
    assert "ID token is not valid" in said
    assert word in said


async def test_a_signature_by_an_unknown_key_is_refused_after_looking_for_new_keys(real):
    real.sign_with = OTHER_KEY
    assert "not valid" in await refusal(real)
    assert real.asked("/jwks") == 2


async def test_a_signature_by_another_key_with_the_same_id_is_refused(real):
    real.sign_with, real.header = OTHER_KEY, {"kid": "one"}
    assert "bad_signature" in await refusal(real)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_an_id_token_that_anybody_could_have_signed_is_refused(real, algorithm):
    real.metadata["id_token_signing_alg_values_supported"] = [algorithm]
    real.sign_with, real.header = secret_as_key(), {"alg": algorithm, "kid": "one"}
    assert "unsupported_algorithm" in await refusal(real)


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", 7, {"a": 1}, "a" * 300_000])
async def test_something_else_than_an_id_token_is_refused(real, token):
    real.token["id_token"] = token
    assert "ID token" in await refusal(real)


async def test_a_code_works_once(real):
    provider = provider_of(real)
    sent, query = await back(real, provider)
    await provider.finish(query, CALLBACK, sent.nonce, sent.verifier)
    with pytest.raises(NotLetIn, match="`invalid_grant`"):
        await provider.finish(query, CALLBACK, sent.nonce, sent.verifier)


async def test_a_code_that_another_browser_began_is_refused(real):
    provider = provider_of(real)
    mine, _ = await back(real, provider)
    _, stolen = await back(real, provider)
    with pytest.raises(NotLetIn, match="`invalid_grant`"):
        await provider.finish(stolen, CALLBACK, mine.nonce, mine.verifier)


async def test_an_answer_of_another_provider_is_refused(real):
    assert "another provider" in await refusal(real, iss="https://evil.example.com")


async def test_what_the_provider_refuses_is_reported_without_its_markup(real):
    real.denies = True
    assert await refusal(real) == "The provider reported `access_denied`."
    said = await refusal(real, error="<script>`x`\n\0" + "y" * 500)
    assert said.startswith("The provider reported `<script>x")
    assert len(said) < 150
    assert "\n" not in said


async def test_an_answer_without_a_code_is_refused(real):
    assert "no code" in await refusal(real, code="")


@pytest.mark.parametrize("how", ["down", "garbage"])
async def test_a_provider_that_is_broken_is_named(real, how):
    setattr(real, how, True)
    with pytest.raises(NotLetIn) as refused:
        await provider_of(real).begin(CALLBACK)
    assert "The provider" in str(refused.value)
    setattr(real, how, False)
    assert (await signed_in(real, provider_of(real))).subject == "u-1"


@pytest.mark.parametrize("how", ["down", "garbage"])
async def test_a_provider_that_breaks_in_the_middle_is_named(real, how):
    provider = provider_of(real)
    sent, query = await back(real, provider)
    setattr(real, how, True)
    with pytest.raises(NotLetIn, match="The provider"):
        await provider.finish(query, CALLBACK, sent.nonce, sent.verifier)


async def test_a_provider_that_cannot_be_reached_is_named_and_tried_again():
    async with OidcProvider() as real:
        provider = provider_of(real)
    with pytest.raises(NotLetIn, match="cannot be reached"):
        await provider.begin(CALLBACK)


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.com"},
        {"issuer": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "http://evil.example.com/token"},
        {"token_endpoint": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://user:password@example.com"},
    ],
    ids=str,
)
async def test_metadata_that_is_wrong_or_unsafe_is_refused(real, metadata):
    real.metadata = metadata
    with pytest.raises(NotLetIn, match="The provider"):
        await provider_of(real).begin(CALLBACK)


# ── who may sign in ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("email", [None, "", " ", 7, ["ann@example.com"]])
async def test_nobody_without_an_email_address_signs_in(real, email):
    real.claims["email"] = real.person["email"] = email
    real.userinfo = {"sub": "u-1"}
    said = await refusal(real)
    assert "sent no e-mail address" in said
    assert "`person`" in said


async def test_an_address_that_only_the_user_info_has_is_found_there(real):
    real.claims["email"] = None
    assert (await signed_in(real, provider_of(real))).email == "ann@example.com"
    assert real.asked("/userinfo") == 1


async def test_user_info_about_somebody_else_is_refused(real):
    real.claims["email"] = None
    real.userinfo = {"sub": "u-2", "email": "boss@example.com"}
    assert "somebody else" in await refusal(real)


@pytest.mark.parametrize("verified", [False, "false"])
async def test_an_unverified_address_is_refused(real, verified):
    real.person["email_verified"] = verified
    assert "not verified" in await refusal(real)


async def test_another_claim_can_name_the_person(real):
    real.person |= {"preferred_username": "Ann", "email_verified": False}
    found = await signed_in(real, provider_of(real, person="preferred_username"))
    assert (found.name, found.email) == ("Ann", "")


async def test_only_configured_domains_are_let_in(real):
    provider = provider_of(real, domains=["Example.com", "example.org"])
    assert (await signed_in(real, provider)).email == "ann@example.com"
    for wrong in ("ann@evil.com", "ann@sub.example.com", "ann@example.com@evil.com", "example.com"):
        real.person["email"] = wrong
        assert "no domain" in await refusal(real, provider)


async def test_only_configured_groups_are_let_in(real):
    provider = provider_of(real, allowed_groups=["eng"])
    for groups in (None, [], ["ops"], "ops", ["eng2"], [["eng"]], 7):
        real.person["groups"] = groups
        assert "no group" in await refusal(real, provider)
    for groups in (["ops", "eng"], "eng"):
        real.person["groups"] = groups
        assert (await signed_in(real, provider)).subject == "u-1"


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"issuer": "http://idp.example.com"}, "https://"),
        ({"issuer": "idp.example.com"}, "https://"),
        ({"issuer": "https://idp.example.com?x=1"}, "https://"),
        ({"scopes": ["email"]}, "openid"),
        ({"domains": ["@example.com"]}, "@example.com"),
        ({"domains": ["com"]}, "'com'"),
        ({"client_id": ""}, "client_id"),
        ({"person": ""}, "person"),
    ],
    ids=str,
)
def test_wrong_options_name_the_fix(options, word):
    known = {"issuer": "https://idp.example.com", "client_id": "x", **options}
    with pytest.raises(ValueError, match=word):
        OidcOptions(**known)

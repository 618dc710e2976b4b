"""What Claude Code asks for: metadata, codes, tokens, and what it may do with them."""

from itertools import permutations

import anyio
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from sign_in_kit import Browser, Client, bearer, heading, serving, signed_in

from plugway.testing import build_plugin, gateway, request_body
from plugway_accounts import Accounts
from plugway_echo import Echo
from plugway_sign_in import SignIn
from plugway_store import StorePlugin

pytestmark = pytest.mark.anyio


@pytest.fixture
async def running(database):
    async with serving(database) as running:
        await running.hires()
        yield running


@pytest.fixture
async def client(running):
    async with Client(running) as client:
        yield client


async def test_the_metadata_is_of_this_origin(client):
    answer = await client.get("/.well-known/oauth-authorization-server")
    found = answer.json()
    base = str(client.base_url).rstrip("/")
    assert answer.status_code == 200
    assert found["issuer"] == base
    for name in ("device_authorization_endpoint", "token_endpoint", "revocation_endpoint"):
        assert found[name].startswith(f"{base}/oauth/")
    assert "authorization_endpoint" not in found


async def test_behind_a_proxy_the_metadata_has_the_address_that_clients_use(database):
    async with (
        serving(database, public_url="https://Gateway.example.com/") as running,
        Client(running) as client,
    ):
        found = (await client.get("/.well-known/oauth-authorization-server")).json()
        begun = await client.begins()
    AuthorizationServerMetadata({**found, "authorization_endpoint": None}).validate_issuer()
    assert found["token_endpoint"] == "https://gateway.example.com/oauth/token"
    assert begun["verification_uri"] == "https://gateway.example.com/device"


async def test_a_host_other_than_this_machine_is_taken_to_use_tls(database):
    async with (
        serving(database, server={"allowed_hosts": ["gateway.example.com"]}) as running,
        Client(running) as client,
    ):
        headers = {"host": "gateway.example.com"}
        found = (
            await client.get("/.well-known/oauth-authorization-server", headers=headers)
        ).json()
    assert found["issuer"] == "https://gateway.example.com"


async def test_the_device_flow_from_code_to_model(running, client):
    begun = await client.begins()
    assert begun["verification_uri_complete"].endswith(f"/device?user_code={begun['user_code']}")
    assert (begun["expires_in"], begun["interval"]) == (600, 5)
    pending = await client.polls(begun)
    assert (pending.status_code, pending.json()) == (400, {"error": "authorization_pending"})
    async with Browser(running) as browser:
        await browser.enters(begun["user_code"])
        await browser.gives("ann")
        await browser.decides()
    answer = await client.polls(begun)
    tokens = answer.json()
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3600)
    assert tokens["email"] == "ann"
    body = request_body("hello", model="echo/one")
    asked = await client.post("/v1/messages", json=body, headers=bearer(tokens))
    assert asked.status_code == 200
    listed = await client.get("/v1/models", headers=bearer(tokens))
    assert listed.status_code == 200


async def test_a_notice_is_shown_next_to_the_code(database):
    async with (
        serving(database, notice="Use your company laptop.") as running,
        Client(running) as client,
    ):
        assert (await client.begins())["login_notice"] == "Use your company laptop."


@pytest.mark.parametrize(
    "more",
    [
        {"client_id": "x", "scope": "openid a b", "resource": "https://x"},
        {"": "", "ünï": "ç", "a" * 1000: "b" * 1000},
        {f"field{n}": "x" for n in range(500)},
    ],
    ids=["standard", "strange", "many"],
)
async def test_unknown_fields_and_headers_fail_nothing(client, more):
    headers = {"x-new-header": "1", "dpop": "x", "accept": "text/html", "accept-language": "xx"}
    answer = await client.post("/oauth/device_authorization?x=1", data=more, headers=headers)
    assert answer.status_code == 200
    for grant in ("refresh_token", "urn:ietf:params:oauth:grant-type:device_code"):
        form = {"grant_type": grant, "device_code": "x", "refresh_token": "x", **more}
        assert (await client.post("/oauth/token", data=form)).json()["error"] in (
            "expired_token",
            "invalid_grant",
        )
    assert (await client.post("/oauth/revoke", data={"token": "x", **more})).status_code == 200
    assert (await client.post("/oauth/device_authorization", content=b"")).status_code == 415


async def test_an_empty_form_is_enough_to_begin(client):
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/oauth/device_authorization", content=b"", headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({}, 400, "unsupported_grant_type"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, 401, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "\0\ud800"}, 401, "invalid_grant"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:device_code"}, 400, "invalid_request"),
        (
            {"grant_type": "urn:ietf:params:oauth:grant-type:device_code", "device_code": "x"},
            400,
            "expired_token",
        ),
        (
            {"grant_type": "refresh_token", "refresh_token": "x" * 70_000},
            400,
            "unsupported_grant_type",
        ),
    ],
    ids=range(8),
)
async def test_a_wrong_form_is_an_oauth_error(client, form, status, error):
    body = "&".join(f"{name}={value}" for name, value in form.items()).encode(
        "utf-8", "surrogatepass"
    )
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/oauth/token", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_polls_that_come_too_fast_are_slowed_down(client):
    begun = await client.begins()
    assert (await client.polls(begun)).json()["error"] == "authorization_pending"
    answer = await client.polls(begun)
    assert (answer.status_code, answer.json()["error"]) == (400, "slow_down")


async def test_a_device_code_works_once(running, client):
    begun = await client.begins()
    async with Browser(running) as browser:
        await browser.enters(begun["user_code"])
        await browser.gives("ann")
        await browser.decides()
    tokens = (await client.polls(begun)).json()
    assert (await client.polls(begun)).json()["error"] == "expired_token"
    answer = await client.get("/v1/models", headers=bearer(tokens))
    assert answer.status_code == 401


async def test_renewed_tokens_are_of_the_same_person(running, client):
    tokens = await signed_in(running, "bob")
    answer = await client.renews(tokens)
    assert answer.status_code == 200
    assert answer.json()["email"] == "bob"
    assert answer.json()["refresh_token"] != tokens["refresh_token"]
    assert (await client.get("/v1/models", headers=bearer(answer.json()))).status_code == 200


async def test_signing_out_revokes_both_tokens_at_once(running, client):
    tokens = await signed_in(running)
    answer = await client.post("/oauth/revoke", data={"token": tokens["access_token"]})
    assert answer.status_code == 200
    form = {"token": tokens["refresh_token"], "token_type_hint": "refresh_token"}
    assert (await client.post("/oauth/revoke", data=form)).status_code == 200
    refused = await client.get("/v1/models", headers=bearer(tokens))
    assert refused.status_code == 401
    assert refused.headers["x-should-retry"] == "false"
    assert refused.json()["error"]["type"] == "authentication_error"
    assert "/login" in refused.json()["error"]["message"]
    assert (await client.renews(tokens)).status_code == 401


async def test_revoking_nothing_is_an_error_and_revoking_something_unknown_is_none(client):
    assert (await client.post("/oauth/revoke", data={"x": "y"})).json()[
        "error"
    ] == "invalid_request"
    assert (await client.post("/oauth/revoke", data={"token": "pwa_unknown"})).status_code == 200


async def test_an_access_token_opens_models_and_nothing_of_the_operator(running, client):
    tokens = await signed_in(running)
    for path in ("/device", "/health"):
        assert (await client.get(path, headers=bearer(tokens))).status_code == 200
    health = (await client.get("/health", headers=bearer(tokens))).json()
    assert health == {"status": "ok"}
    refresh = {"authorization": f"Bearer {tokens['refresh_token']}"}
    assert (await client.get("/v1/models", headers=refresh)).status_code == 401


async def test_one_address_cannot_fill_the_database_with_codes(client):
    answers = [await client.post("/oauth/device_authorization", data={"a": "b"}) for _ in range(70)]
    assert {one.status_code for one in answers[:60]} == {200}
    assert answers[-1].status_code == 429
    assert answers[-1].json()["error"] == "slow_down"
    assert answers[-1].headers["retry-after"] == "60"


async def test_a_sign_in_begins_at_one_gateway_and_ends_at_another(database):
    async with serving(database) as here, serving(database) as there:
        await here.hires()
        async with Client(here) as client, Client(there) as other, Browser(there) as browser:
            begun = await client.begins()
            await browser.enters(begun["user_code"])
            await browser.gives("ann")
            assert heading(await browser.decides()) == "You are signed in"
            tokens = (await other.polls(begun)).json()
            assert (await client.get("/v1/models", headers=bearer(tokens))).status_code == 200
            renewed = (await client.renews(tokens)).json()
            await other.post("/oauth/revoke", data={"token": renewed["access_token"]})
            assert (await client.get("/v1/models", headers=bearer(tokens))).status_code == 401


async def test_two_people_sign_in_at_the_same_time_as_themselves(running):
    found = {}

    async def one(name):
        found[name] = await signed_in(running, name)

    async with anyio.create_task_group() as tasks:
        for name in ("ann", "bob"):
            tasks.start_soon(one, name)
    assert {name: tokens["email"] for name, tokens in found.items()} == {
        "ann": "ann",
        "bob": "bob",
    }


async def test_the_plugins_may_be_listed_in_any_order(database):
    listed = {
        "sign-in": lambda: build_plugin(SignIn, "sign-in"),
        "accounts": lambda: build_plugin(Accounts, "accounts"),
        "store": lambda: build_plugin(StorePlugin, "store", **database),
    }
    for order in permutations(listed):
        stack = [listed[name]() for name in order]
        async with gateway([*stack, build_plugin(Echo, "echo")]) as running:
            assert (await running.client.get("/device")).status_code == 200, order

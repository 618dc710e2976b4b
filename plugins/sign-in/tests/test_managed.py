"""Managed settings and telemetry, as Claude Code asks for them."""

import hashlib
import json
import uuid

import pytest
from sign_in_kit import Client, bearer, serving, signed_in

from plugway.testing import build_plugin
from plugway_sign_in import SignIn, SignInOptions

pytestmark = pytest.mark.anyio
SETTINGS = {
    "model": "ä/ü",
    "env": {"Z": "1", "A": "2"},
    "permissions": {"deny": ["WebFetch"]},
    "n": 1,
}


def checksum(settings):
    """As `claude gateway` 2.1.332 describes it: sorted keys at every level, no whitespace."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


async def test_without_settings_there_is_no_policy(database):
    async with serving(database) as team, Client(team) as client:
        await team.hires()
        answer = await client.get("/managed/settings", headers=bearer(await signed_in(team)))
    assert answer.status_code == 404
    assert answer.headers["x-should-retry"] == "false"


async def test_empty_settings_are_an_empty_policy(database):
    async with serving(database, settings={}) as team, Client(team) as client:
        await team.hires()
        answer = await client.get("/managed/settings", headers=bearer(await signed_in(team)))
    assert (answer.status_code, answer.json()["settings"]) == (200, {})


async def test_settings_come_with_the_checksum_that_the_client_computes(database):
    async with serving(database, settings=SETTINGS) as team, Client(team) as client:
        await team.hires()
        headers = bearer(await signed_in(team))
        answer = await client.get("/managed/settings", headers=headers)
        found = answer.json()
        again = await client.get("/managed/settings?x=1", headers=headers)
    assert found["settings"] == SETTINGS
    assert found["checksum"] == checksum(SETTINGS)
    assert answer.headers["etag"] == f'"{found["checksum"]}"'
    assert uuid.UUID(found["uuid"])
    assert again.json() == found
    assert "x-cc-gateway-version" not in answer.headers


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ('"{}"', 304),
        ('W/"{}"', 304),
        ('"other", "{}"', 304),
        ("{}", 304),
        ('"other"', 200),
        ("*", 200),
        ("", 200),
        ('"{}x"', 200),
    ],
)
async def test_a_client_that_has_them_gets_them_again_only_if_they_changed(database, sent, status):
    async with serving(database, settings=SETTINGS) as team, Client(team) as client:
        await team.hires()
        headers = {
            **bearer(await signed_in(team)),
            "if-none-match": sent.format(checksum(SETTINGS)),
        }
        answer = await client.get("/managed/settings", headers=headers)
    assert answer.status_code == status
    assert answer.headers["etag"] == f'"{checksum(SETTINGS)}"'
    assert (answer.content == b"") is (status == 304)


async def test_people_get_the_settings_of_their_groups(database):
    groups = {
        "eng": {"model": "big", "env": {"A": "3"}},
        "lead": {"permissions": {"deny": []}, "env": {"A": "4", "B": "5"}},
        "nobody": {"model": "none"},
    }
    async with (
        serving(database, settings=SETTINGS, group_settings=groups) as team,
        Client(team) as client,
    ):
        await team.hires()
        for group in ("lead", "eng"):
            await team.people.add_group(group)
        ann, bob = await signed_in(team, "ann"), await signed_in(team, "bob")

        async def settings(tokens):
            return (await client.get("/managed/settings", headers=bearer(tokens))).json()[
                "settings"
            ]

        assert await settings(ann) == SETTINGS
        await team.people.join("ann", "eng")
        assert await settings(ann) == {**SETTINGS, "model": "big", "env": {"Z": "1", "A": "3"}}
        await team.people.join("ann", "lead")
        assert await settings(ann) == {
            "model": "big",
            "env": {"Z": "1", "A": "4", "B": "5"},
            "permissions": {"deny": []},
            "n": 1,
        }
        assert await settings(bob) == SETTINGS


async def test_only_a_group_may_have_settings(database):
    async with (
        serving(database, group_settings={"eng": {"model": "x"}}) as team,
        Client(team) as client,
    ):
        await team.hires()
        await team.people.add_group("eng")
        await team.people.join("ann", "eng")
        ann, bob = await signed_in(team, "ann"), await signed_in(team, "bob")
        assert (await client.get("/managed/settings", headers=bearer(ann))).json()["settings"] == {
            "model": "x"
        }
        assert (await client.get("/managed/settings", headers=bearer(bob))).status_code == 404
        operator = await team.running.client.get("/managed/settings")
        assert operator.status_code == 404


async def test_nobody_without_a_token_gets_settings(database):
    async with serving(database, settings=SETTINGS) as team, Client(team) as client:
        for headers in ({}, {"authorization": "Bearer x"}, {"authorization": "Bearer pwa_x"}):
            answer = await client.get("/managed/settings", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["x-should-retry"] == "false"


async def test_a_key_of_a_person_gets_the_same_settings(database):
    async with serving(database, settings=SETTINGS) as team, Client(team) as client:
        await team.hires()
        made = await team.people.issue("ann")
        answer = await client.get(
            "/managed/settings", headers={"authorization": f"Bearer {made.secret}"}
        )
    assert answer.json()["settings"] == SETTINGS


@pytest.mark.parametrize("signal", ["metrics", "logs", "traces"])
@pytest.mark.parametrize(
    ("kind", "body"), [("json", b'{"resourceLogs": []}'), ("x-protobuf", b"\x0a\x00\xff")]
)
async def test_telemetry_is_taken_in_both_formats_and_needs_a_token(database, signal, kind, body):
    async with serving(database) as team, Client(team) as client:
        await team.hires()
        headers = {"content-type": f"application/{kind}"}
        tokens = await signed_in(team)
        answer = await client.post(
            f"/v1/{signal}", content=body, headers={**headers, **bearer(tokens)}
        )
        assert answer.status_code == 200
        assert (
            await client.post(f"/v1/{signal}", content=body, headers=headers)
        ).status_code == 401


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"settings": {"a": {1, 2}}}, "cannot be sent as JSON"),
        ({"settings": []}, "settings"),
        ({"group_settings": {"eng": "x"}}, "group_settings"),
        ({"public_url": "http://gateway.example.com"}, "https://"),
        ({"public_url": "https://gateway.example.com/plugway"}, "without a path"),
        ({"public_url": "gateway.example.com"}, "https://"),
        ({"passwords": False}, "nobody could sign in"),
        ({"notice": "x" * 501}, "notice"),
        ({"access_minutes": 0}, "access_minutes"),
        ({"reuse_hours": -1}, "reuse_hours"),
    ],
    ids=str,
)
def test_wrong_options_name_the_fix(options, words):
    with pytest.raises(ValueError, match=words):
        SignInOptions(**options)


def test_it_says_what_else_it_needs():
    assert SignIn.requires == ("store", "accounts")
    assert build_plugin(SignIn, "sign-in").name == "sign-in"

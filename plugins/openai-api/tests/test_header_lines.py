"""Whoever the client is, a server of the Messages API gets the lines that it demands, and no other
vendor's."""

import pytest

from plugway.testing import (
    ScriptedUpstream,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

VERSION = "anthropic-version"
USER = [{"role": "user", "content": "hi"}]
BODIES = {
    "/v1/chat/completions": {"model": "up/m", "messages": USER},
    "/chat/completions": {"model": "up/m", "messages": USER},
    "/v1/responses": {"model": "up/m", "input": "hi"},
    "/responses": {"model": "up/m", "input": USER},
    "/v1/messages": request_body(model="up/m"),
}
OF_OPENAI = [path for path in BODIES if path != "/v1/messages"]
FOREIGN = {
    "openai-organization": "org-1",
    "openai-project": "proj-1",
    "OpenAI-Beta": "responses=v1",
    "x-openai-subagent": "review",
    "chatgpt-account-id": "account-1",
    "x-codex-turn-state": "state",
    "x-codex-beta-features": "all",
    "session-id": "s-1",
    "thread_id": "t-1",
    "originator": "codex_cli_rs",
    "x-session-affinity": "s-2",
    "x-goog-user-project": "p-1",
    "HTTP-Referer": "https://example.com",
    "x-title": "Example",
}
KINDS = {"anthropic": Anthropic, "anthropic-compatible": AnthropicCompatible}


@pytest.fixture
async def up():
    async with ScriptedUpstream() as upstream:
        yield upstream


def serving(up, kind, **options):
    backend = build_plugin(KINDS[kind], "up", base_url=up.url, api_key="k", **options)
    return gateway([build_plugin(OpenAIApi, "openai-api"), backend])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("lines", [{}, {VERSION: ""}], ids=["none", "blank"])
async def test_the_version_goes_out_where_the_client_names_none(up, kind, path, lines):
    async with serving(up, kind) as gate:
        response = await gate.client.post(path, json=BODIES[path], headers=lines)
    assert response.status_code == 200
    assert up.requests[-1].header(VERSION) == "2023-06-01"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", BODIES)
async def test_a_newer_version_is_only_for_a_client_that_writes_its_own_request(up, kind, path):
    async with serving(up, kind) as gate:
        await gate.client.post(path, json=BODIES[path], headers={VERSION: "2030-01-01"})
    expected = "2030-01-01" if path == "/v1/messages" else "2023-06-01"
    assert up.requests[-1].header(VERSION) == expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", BODIES)
async def test_the_lines_of_other_vendors_stay_behind(up, kind, path):
    async with serving(up, kind) as gate:
        await gate.client.post(path, json=BODIES[path], headers=FOREIGN)
    sent = {name.lower() for name, _ in up.requests[-1].headers}
    assert not sent & {name.lower() for name in FOREIGN}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", OF_OPENAI)
async def test_what_nobody_knows_of_a_client_of_openai_stays_behind_too(up, kind, path):
    lines = {"x-never-heard-of": "1", "user-agent": "OpenAI/Python 2.0", "x-stainless-lang": "js"}
    async with serving(up, kind) as gate:
        await gate.client.post(path, json=BODIES[path], headers=lines)
    asked = up.requests[-1]
    assert (asked.header("x-never-heard-of"), asked.header("x-stainless-lang")) == (None, None)
    assert (asked.header("user-agent"), asked.header("content-type")) == (
        "plugway",
        "application/json",
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses", "/v1/messages"])
async def test_explain_shows_the_lines_that_go_out(up, kind, path):
    async with serving(up, kind) as gate:
        shown = await gate.client.post(f"{path}/explain", json=BODIES[path], headers=FOREIGN)
        await gate.client.post(path, json=BODIES[path], headers=FOREIGN)
    told = shown.json()["upstream_request"]["headers"]
    sent = {name.lower(): value for name, value in up.requests[-1].headers}
    own = {"host", "content-length", "accept-encoding", "connection", "x-api-key", "authorization"}
    assert told == {name: value for name, value in sent.items() if name not in own}
    assert told[VERSION] == "2023-06-01"


@pytest.mark.parametrize("kind", KINDS)
async def test_the_list_of_models_is_asked_for_with_the_version(up, kind):
    up.script(respond(200, {"data": [{"id": "m"}]}))
    async with serving(up, kind) as gate:
        listed = await gate.client.get("/v1/models", headers={VERSION: "2023-06-01"})
    assert "m" in listed.text
    asked = next(request for request in up.requests if request.method == "GET")
    assert asked.header(VERSION) == "2023-06-01"


async def test_a_version_that_the_configuration_sets_comes_before_all(up):
    async with serving(up, "anthropic", extra_headers={VERSION: "2024-01-01"}) as gate:
        await gate.client.post("/v1/responses", json=BODIES["/v1/responses"])
    assert [v for n, v in up.requests[-1].headers if n.lower() == VERSION] == ["2024-01-01"]

"""Anthropic's API: whose credential goes there, and that nothing else is changed."""

import pytest
from pydantic import ValidationError

from plugway import Attempt, BackendRefused, Caller, Exchange, MessagesRequest
from plugway.testing import (
    anthropic_error,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_translation import excerpt_field

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]


KEY = "canary-of-the-key"
OWN = "canary-of-the-client"


def attempt_of(backend, caller):
    return Attempt(backend, "m", exchange=Exchange(MessagesRequest(b"{}"), caller=caller))


def plugin(server, **options):
    given = {"api_key": KEY} if options.get("credential") != "client" else {}
    return build_plugin(Anthropic, "cloud", base_url=server.url, **given, **options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "needs `api_key`"),
        ({"api_key": KEY, "credential": "client"}, "remove one of the two"),
        ({"api_key": KEY, "credential": "both"}, "credential"),
        ({"api_key": KEY, "base_url": "http://api.example.com"}, "clear text"),
        ({"credential": "client", "base_url": "http://api.example.com"}, "clear text"),
        ({"api_key": KEY, "base_url": "https://api.example.com/v1"}, "/v1"),
        ({"api_key": KEY, "extra_headers": {"X-Api-Key": "k"}}, "keys belong in `api_key`"),
        ({"api_key": KEY, "extra_headers": {"Authorization": "k"}}, "keys belong in `api_key`"),
        ({"api_key": KEY, "extra_headers": {"a b": "k"}}, "not a valid header"),
        ({"api_key": KEY, "extra_headers": {"a": "k\r\nb: c"}}, "not a valid header"),
    ],
)
def test_mistakes_in_the_options_are_named(options, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        build_plugin(Anthropic, "cloud", **options)
    assert KEY not in str(caught.value)


def test_the_address_is_anthropics_own_unless_set():
    made = build_plugin(Anthropic, "cloud", api_key=KEY)
    assert made.backend.upstream.base_url == "https://api.anthropic.com"
    assert made.backend.zone == "anthropic"


async def test_the_key_goes_there_and_the_gateways_token_does_not(server):
    async with gateway([plugin(server, extra_headers={"X-Mine": "1"})]) as running:
        await running.ask("hello")
    (asked,) = server.requests
    assert (asked.header("x-api-key"), asked.header("x-mine")) == (KEY, "1")
    assert asked.header("authorization") is None
    assert "test-token" not in str(asked.headers)


async def test_explain_shows_the_address_and_the_lines_that_would_be_sent_but_no_secret(server):
    lines = {"anthropic-beta": "b-1", "x-forwarded-for": "10.0.0.1", "user-agent": "mine/1"}
    async with gateway([plugin(server, extra_headers={"X-Mine": "secret-1"})]) as running:
        path = "/v1/messages/explain?beta=true"
        explained = await running.client.post(path, json=request_body(), headers=lines)
        await running.client.post("/v1/messages?beta=true", json=request_body(), headers=lines)
    asked = server.requests[-1]  # the one before was a count
    sent = explained.json()["upstream_request"]
    assert sent["url"] == f"{server.url}/v1/messages?beta=true"
    assert sent["url"].endswith(asked.path)
    assert sent["headers"].pop("x-mine") == "(as configured)"
    assert sent["headers"].items() <= dict(asked.headers).items()
    assert (sent["headers"]["anthropic-beta"], sent["headers"]["user-agent"]) == ("b-1", "mine/1")
    assert "x-forwarded-for" not in sent["headers"]
    assert KEY not in explained.text
    assert "secret-1" not in explained.text


@pytest.mark.parametrize("name", ["x-api-key", "authorization"])
async def test_the_clients_own_credential_goes_there_where_it_is_asked_for(server, name):
    own = {"x-api-key": OWN, "authorization": f"Bearer {OWN}"}[name]
    async with gateway([plugin(server, credential="client")]) as running:
        lines = {"plugway-token": running.token, "content-type": "application/json", name: own}
        running.client.headers.pop("authorization")
        response = await running.client.post("/v1/messages", json=request_body(), headers=lines)
        explained = await running.client.post(
            "/v1/messages/explain", json=request_body(), headers=lines
        )
    assert response.status_code == 200
    assert server.requests[0].header(name) == own
    assert running.token not in str(server.requests[0].headers)
    assert OWN not in explained.text + str(response.headers)


async def test_both_credential_headers_at_once_are_told_apart(server):
    async with gateway([plugin(server, credential="client")]) as running:
        lines = {"x-api-key": OWN}
        assert await running.client.post("/v1/messages", json=request_body(), headers=lines)
    (asked,) = server.requests
    assert (asked.header("x-api-key"), asked.header("authorization")) == (OWN, None)


async def test_a_client_without_a_credential_of_its_own_is_told_how_to_bring_one(server):
    async with gateway([plugin(server, credential="client")]) as running:
        response = await running.post(request_body())
    assert response.status_code == 401
    assert response.headers["x-should-retry"] == "false"
    assert response.json()["error"]["type"] == "authentication_error"
    message = response.json()["error"]["message"]
    assert "`cloud` is set to `credential: client`" in message
    assert "ANTHROPIC_API_KEY" in message
    assert server.requests == []


async def test_credentials_for_somebody_else_are_not_sent(server):
    made = plugin(server, credential="client")
    caller = Caller("token", ((b"x-goog-api-key", b"k"), (b"api-key", b"k")))
    async with made.backend:
        with pytest.raises(BackendRefused, match="has no credential"):
            await made.backend.send(MessagesRequest(b"{}"), attempt_of(made.backend, caller))
    assert OWN not in repr(attempt_of(made.backend, Caller("t", ((b"a", OWN.encode()),))))


async def test_a_refused_key_is_one_clear_error_without_the_key(server):
    server.script(anthropic_error(401, "authentication_error", f"invalid x-api-key {KEY}"))
    async with gateway([plugin(server)]) as running:
        response = await running.post(request_body())
    assert response.status_code == 401
    assert response.headers["x-should-retry"] == "false"
    assert "option `api_key` of `cloud`" in response.json()["error"]["message"]
    assert "plugway keys" in response.json()["error"]["message"]


async def test_a_refused_credential_of_the_client_comes_back_to_the_byte(server):
    server.script(anthropic_error(401, "authentication_error", "OAuth token has expired"))
    async with gateway([plugin(server, credential="client")]) as running:
        response = await running.client.post(
            "/v1/messages", json=request_body(), headers={"x-api-key": OWN}
        )
    assert response.status_code == 401
    assert response.json()["request_id"] == "req_scripted"
    assert response.json()["error"]["message"] == "OAuth token has expired"
    assert "x-should-retry" not in response.headers


async def test_models_are_asked_for_with_key_version_and_paging(server):
    server.script(
        respond(200, {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}),
        respond(200, {"data": [{"id": "b"}], "has_more": False}),
    )
    made = plugin(server, extra_headers={"x-mine": "1"})
    async with made.backend:
        assert [info.id for info in await made.backend.models()] == ["a", "b"]
    for asked in server.requests:
        assert asked.header("anthropic-version") == "2023-06-01"
        assert (asked.header("x-api-key"), asked.header("x-mine")) == (KEY, "1")


async def test_without_a_key_of_its_own_nothing_is_listed_and_nothing_asked(server):
    made = plugin(server, credential="client")
    async with made.backend:
        assert list(await made.backend.models()) == []
    assert server.requests == []


# ── searches that another vendor ran ─────────────────────────────────────────────────────────────

CALLED = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "q"},
}
WORDS = '[The tool `web_search` was called with {"query":"q"}]'


def found(*sealed):
    pages = [
        {"type": "web_search_result", "url": f"https://a.example/{n}", "title": "A", "encrypted_content": s}
        for n, s in enumerate(sealed)
    ]  # fmt: skip
    return {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": pages}


def said(*indexes):
    place = {"type": "web_search_result_location", "url": "https://a.example/0", "title": "A"}
    places = [{**place, "cited_text": "c", "encrypted_index": index} for index in indexes]
    return {"type": "text", "text": "So.", **({"citations": places} if places else {})}


def words(number=1):
    lines = [f"A\nhttps://a.example/{n}" for n in range(number)]
    return {"type": "text", "text": "\n".join(["[web_search_tool_result]", *lines])}


def ours(block):
    """The same, run by a gateway."""
    name = "id" if block["type"] == "server_tool_use" else "tool_use_id"
    return {**block, name: "srvtoolu_plugway_1"}


PAGE = {
    "type": "web_fetch_tool_result",
    "tool_use_id": "srvtoolu_plugway_1",
    "content": {
        "type": "web_fetch_result",
        "url": "https://a.example/0",
        "content": {
            "type": "document",
            "title": "A",
            "source": {"type": "text", "media_type": "text/plain", "data": "Sunny."},
        },
    },
}
FAILED = {"type": "web_search_tool_result_error", "error_code": "unavailable"}
SEARCHES = {
    "the gateway ran it": (
        [ours(CALLED), ours(found(excerpt_field("Sunny."))), said("plugway:")],
        [
            {"type": "text", "text": WORDS},
            {"type": "text", "text": f"{words()['text']}\nSunny."},
            said(),
        ],
    ),
    "the gateway fetched a page": (
        [ours(CALLED), PAGE],
        [
            {"type": "text", "text": WORDS},
            {"type": "text", "text": "[web_fetch_tool_result]\nhttps://a.example/0\nA\nSunny."},
        ],
    ),
    "the gateway failed it": (
        [ours(CALLED), {**ours(found()), "content": FAILED}],
        [
            {"type": "text", "text": WORDS},
            {"type": "text", "text": "[web_search_tool_result]\nunavailable"},
        ],
    ),
    "none of it is sealed": (
        [CALLED, found(""), said("")],
        [{"type": "text", "text": WORDS}, words(), said()],
    ),
    "one page is not sealed": (
        [CALLED, found("x", "")],
        [{"type": "text", "text": WORDS}, words(2)],
    ),
    "null in its place": ([CALLED, found(None)], [{"type": "text", "text": WORDS}, words()]),
    "a citation alone": ([said("", "x")], [said("x")]),
    "all of it is Anthropic's": ([CALLED, found("x"), said("y")], None),
    "a search that found nothing": ([CALLED, found(), said("")], [CALLED, found(), said()]),
    "a call of the client's own that only looks like it": (
        [{"type": "text", "text": '"srvtoolu_plugway_1"'}],
        None,
    ),
    "it is only text": ([{"type": "text", "text": '"encrypted_content": ""'}], None),
}


@pytest.mark.parametrize("blocks", SEARCHES.values(), ids=SEARCHES)
async def test_pages_that_anthropic_did_not_seal_are_told_in_words(server, blocks):
    given, kept = blocks
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": given}]
    turns.append({"role": "user", "content": "go on"})
    async with gateway([plugin(server)]) as running:
        response = await running.post(request_body(messages=turns))
    assert response.status_code == 200
    assert server.requests[-1].json["messages"][1]["content"] == (kept or given)
    assert ("changes=0" in response.headers["plugway-receipt"]) is (kept is None)

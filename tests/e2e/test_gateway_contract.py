"""Anthropic's contract for gateways: endpoints, and the errors for unknown ones.

`docs/claude-code-compatibility.md` lists the whole contract. Rows with other tests are not repeated.
"""

from __future__ import annotations

import pytest
from gemini_answers import answered, piece
from gemini_answers import text as gemini_text
from openai_answers import answer_of, message, streamed

from plugway.http import snapshot as _snapshot
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    anthropic_error,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_echo import Echo
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_router import Router
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

JSON = "application/json"


@pytest.fixture
async def running():
    async with gateway([build_plugin(Echo, "echo")]) as found:
        yield found


# ── what is not served ───────────────────────────────────────────────────────────────────────

LOGIN = ["/.well-known/oauth-authorization-server", "/api/oauth/usage", "/protocol"]
NOT_SERVED = [
    *(("GET", path) for path in (*LOGIN, "/managed/settings")),
    *(("POST", path) for path in ("/oauth/device_authorization", "/oauth/token", "/oauth/revoke")),
    *(("POST", path) for path in ("/v1/metrics", "/v1/logs", "/v1/traces")),
    *(("POST", path) for path in ("/v1/messages/batches", "/v1/files", "/v1/complete")),
]


def assert_error(answer, status, kind):
    """An error in Anthropic's envelope, never a redirect or a page."""
    assert answer.status_code == status
    assert answer.headers["content-type"] == JSON
    told = answer.json()
    assert told["type"] == "error"
    assert told["error"]["type"] == kind
    assert told["request_id"] == answer.headers["request-id"]
    return told["error"]["message"]


@pytest.mark.parametrize(("method", "path"), NOT_SERVED)
async def test_an_unknown_path_is_a_404_with_a_reason(running, method, path):
    content = b"{}" if method == "POST" else None
    ask = running.client.build_request(
        method, path, content=content, headers={"content-type": JSON}
    )
    told = assert_error(await running.client.send(ask), 404, "not_found_error")
    assert f"{method} {path} is not served here" in told
    ask.headers.pop("authorization")
    answer = await running.client.send(ask)
    assert_error(answer, 401, "authentication_error")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", ["/oauth/device_authorization", "/oauth/token"])
async def test_a_form_gets_an_error_that_asks_for_json(running, path):
    answer = await running.client.post(path, data={"a": "b"})
    assert JSON in assert_error(answer, 415, "invalid_request_error")
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    "path", ["/health/", "/readyz/", "/api/hello/", "/v1/models/", "/v1/messages/", "//v1/models"]
)
async def test_no_path_is_answered_by_a_redirect(running, path):
    assert_error(await running.client.get(path), 404, "not_found_error")


# ── models ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_models_are_listed_for_one_credential_and_without_a_redirect(running, header):
    value = {"authorization": f"Bearer {running.token}", "x-api-key": running.token}[header]
    running.client.headers.pop("authorization")
    path = "/v1/models?limit=1000&of_tomorrow=1"
    answer = await running.client.get(path, headers={header: value})
    assert answer.status_code == 200
    (model,) = answer.json()["data"]
    assert (model["id"], model["display_name"]) == ("anthropic/echo/echo", "echo (echo)")


async def test_a_silent_backend_does_not_delay_the_list(monkeypatch):
    """Claude Code waits for 3 s."""
    assert _snapshot.MODEL_LIST_SECONDS < 3
    monkeypatch.setattr(_snapshot, "MODEL_LIST_SECONDS", 0.1)
    async with ScriptedUpstream([Hold()]) as silent:
        stack = [
            build_plugin(AnthropicCompatible, "silent", base_url=silent.url),
            build_plugin(Echo, "echo"),
        ]
        async with gateway(stack) as running:
            listed = (await running.client.get("/v1/models?limit=1000")).json()["data"]
    assert [model["id"] for model in listed] == ["anthropic/echo/echo"]


# ── what a newer client may send ─────────────────────────────────────────────────────────────

NEW = {"of_tomorrow": {"a": [1]}, "because": 1, "headers": {"x": "y"}, "self": 1}
NEWER = {
    **request_body("hi"),
    **NEW,
    "metadata": {"user_id": "u", "of_tomorrow": 1},
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "hi", "of_tomorrow": 1},
                {"type": "tool_addition", "tool": {"name": "Write", "input_schema": {}}},
                {"type": "compaction", "content": "so far"},
            ],
            "new": 1,
        }
    ],
    "system": [{"type": "text", "text": "be brief", "of_tomorrow": 1}],
    "tools": [{"name": "Read", "input_schema": {"type": "object"}, "of_tomorrow": True}],
    "thinking": {"type": "adaptive", "display": "updates", "of_tomorrow": 1},
    "output_config": {"of_tomorrow": 1},
    "context_management": {"edits": [{"type": "of_tomorrow_20990101"}]},
    "safeguards": [{"type": "of_tomorrow"}],
}
NEWER_LINES = {
    "anthropic-version": "2026-10-21",
    "anthropic-beta": "of-tomorrow-2099-01-01",
    "anthropic-of-tomorrow": "1",
    "x-claude-code-of-tomorrow": "1",
    "x-of-tomorrow": "1",
}


def answers(api):
    """A server of that API, which replies `Hello.`"""

    def says(request):
        body = request.json if request.body else {}
        if request.method == "GET" or "count" in request.path.lower():
            return respond(404, {"error": "not here"})
        if api == "chat":
            whole = respond(200, chat_message("Hello."))
            return sse(chat_stream("Hello.")) if body.get("stream") else whole
        if api == "responses":
            answer = answer_of(message("Hello."))
            return streamed(answer) if body.get("stream") else respond(200, answer)
        return answered(request, piece(gemini_text("Hello."), finish="STOP"))

    return {} if api in ("anthropic", "compatible") else {"otherwise": says}


def backend(api, url):
    options = {"base_url": url, "api_key": "k"}
    if api == "anthropic":
        return build_plugin(Anthropic, "up", **options), "claude-x"
    if api == "compatible":
        return build_plugin(AnthropicCompatible, "up", **options, zone="vendor"), "m"
    if api == "chat":
        return build_plugin(OpenAICompatible, "up", base_url=url), "m"
    if api == "responses":
        return build_plugin(OpenAI, "up", **options), "gpt-4.1"
    return build_plugin(Gemini, "up", **options), "gemini-3-pro"


APIS = ("anthropic", "compatible", "chat", "responses", "gemini")


def said(answer, stream):
    if not stream:
        return answer.json()["content"][0]["text"]
    events = parse_sse(answer.content)
    return "".join(d["delta"]["text"] for n, d in events if n == "content_block_delta")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", APIS)
async def test_unknown_fields_fail_no_request(api, stream):
    async with ScriptedUpstream(**answers(api)) as upstream:
        made, model = backend(api, upstream.url)
        stack = [plugin for plugin in shipped() if not isinstance(plugin, Router)]
        async with gateway([*stack, made]) as running:
            answer = await running.client.post(
                "/v1/messages?beta=true&of_tomorrow=1",
                json={**NEWER, "model": f"anthropic/up/{model}", "stream": stream},
                headers=NEWER_LINES,
            )
    assert answer.status_code == 200, answer.text
    assert said(answer, stream) == "Hello."
    (asked,) = (r for r in upstream.requests if r.body and "count" not in r.path.lower())
    if api == "anthropic":
        assert asked.json == NEWER | {"model": model, "stream": stream}
        assert {name: asked.header(name) for name in NEWER_LINES} == NEWER_LINES
        assert asked.path == "/v1/messages?beta=true&of_tomorrow=1"
    else:
        assert not NEW.keys() & asked.json.keys()
        assert asked.header("x-of-tomorrow") is None
        assert "of-tomorrow" not in (asked.header("anthropic-beta") or "")


@pytest.mark.parametrize("api", APIS)
async def test_sampling_is_kept_for_other_backends_in_every_api_version(api):
    """The version 2026-10-21 has no `temperature`: a client with that version sends none, and
    nothing else changes."""
    async with ScriptedUpstream(**answers(api)) as upstream:
        made, model = backend(api, upstream.url)
        async with gateway([made]) as running:
            for version in ("2023-06-01", "2026-10-21"):
                answer = await running.client.post(
                    "/v1/messages",
                    json=request_body(model=f"up/{model}", temperature=0.5),
                    headers={"anthropic-version": version},
                )
                assert answer.status_code == 200
    asked = [r for r in upstream.requests if r.body]
    assert len(asked) == 2
    assert all("0.5" in r.body.decode() for r in asked)


# ── spending ─────────────────────────────────────────────────────────────────────────────────


async def test_anthropics_spending_headers_are_returned_unchanged():
    cap = {
        "retry-after": "3600",
        "x-should-retry": "false",
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-overage-utilization": "1",
        "anthropic-ratelimit-unified-overage-disabled-reason": "org_spend_cap_reached",
    }
    refusal = anthropic_error(429, "billing_error", "Your cap is reached.", cap)
    async with ScriptedUpstream(refusal) as upstream, gateway(
        [build_plugin(Anthropic, "up", api_key="k", base_url=upstream.url)]
    ) as running:  # fmt: skip
        answer = await running.post(request_body())
    assert (answer.status_code, answer.json()["error"]["type"]) == (429, "billing_error")
    assert {name: answer.headers[name] for name in cap} == cap


async def test_plugway_adds_no_spending_headers(running):
    answer = await running.post(request_body(model="echo"))
    assert not [name for name in answer.headers if name.startswith("anthropic-ratelimit")]

"""Every route of every shipped plugin, as nobody, as two people and as the operator.

A new route or plugin with routes fails here until it has a row that says who may use it. What the
others get is searched for what belongs to the first person.
"""

from dataclasses import dataclass, field
from importlib.metadata import entry_points

import httpx2
import pytest

from plugway.http import guard
from plugway.testing import build_plugin, gateway, request_body
from plugway.types.exchange import EXCHANGES
from plugway_accounts import Accounts
from plugway_cache_watch import CacheWatch
from plugway_echo import Echo
from plugway_recommend import Recommend
from plugway_router import Router
from plugway_store import StorePlugin
from plugway_switch import Switch

pytestmark = pytest.mark.anyio

NOBODY, ANN, BOB, OPERATOR = CALLERS = ("nobody", "ann-of-sales", "bob-of-law", "operator")
ASKED = "the merger is called bluebird"
SESSION = "5d6b0b04-1111-4000-8000-00000000a17e"
OIDC = {"issuer": "https://idp.example.com", "client_id": "plugway"}
OPTIONS = {
    "telemetry": {"scrape": True},
    "dashboard": {"history": True},
    "sign-in": {"oidc": OIDC},
    "recorder": {"key": "a-key-of-recordings-0123456789abcdef"},
}
"""Of plugins with routes that need some."""
BESIDE = [
    (CacheWatch, "cache-watch"),
    (Switch, "switch"),
    (Recommend, "recommend"),
    (Router, "router"),
]
"""Plugins without routes that keep something of each conversation."""
MESSAGES = request_body(model="plain/echo")
CHAT = {"model": "plain/echo", "messages": [{"role": "user", "content": "hello"}]}
CONTENTS = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
LIST_TOOLS = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
FORM = {"content-type": "application/x-www-form-urlencoded"}
"""For pages with forms, with a body of bytes."""
ACCEPT = {"accept": "application/json, text/event-stream"}
ANY = range(200, 600)
GOOGLE = {"x-goog-api-client": "genai-js/1"}


@dataclass(frozen=True)
class Row:
    """One request, and its status for each caller."""

    method: str
    path: str
    statuses: tuple[int, int, int, int]
    """As nobody, as either person, and as the operator."""
    body: object = None
    """Sent as JSON; bytes as they are."""
    headers: dict = field(default_factory=dict)


def people(method, path, status=200, body=None, **headers):
    return Row(method, path, (401, status, status, status), body, headers)


def operator(method, path, status=200, body=None, **headers):
    return Row(method, path, (401, 403, 403, status), body, headers)


def anybody(method, path, status=200, body=None, **headers):
    return Row(method, path, (status,) * 4, body, headers)


def gemini(version):
    """The routes of one version of Gemini's API."""
    root, google = f"/{version}", GOOGLE if version == "v1" else {}
    return {
        f"{root}/models": [people("GET", f"{root}/models", **google)],
        f"{root}/models/{{model:path}}": [people("GET", f"{root}/models/plain/echo", **google)],
        f"{root}/{{path:path}}": [people("GET", f"{root}/files/x", 404, **google)],
        **gemini_methods(root, f"{root}/models/plain/echo"),
    }


def gemini_methods(root, model):
    """The methods of models at one root of Gemini's API."""
    instances = {"instances": []}
    return {
        f"{root}/{{model:path}}:embedContent": [
            people("POST", f"{model}:embedContent", 400, CONTENTS)
        ],
        f"{root}/{{model:path}}:batchEmbedContents": [
            people("POST", f"{model}:batchEmbedContents", 400, instances)
        ],
        f"{root}/{{model}}:countTokens": [people("POST", f"{model}:countTokens", 200, CONTENTS)],
        f"{root}/{{model}}:generateContent": [
            people("POST", f"{model}:generateContent", 200, CONTENTS)
        ],
        f"{root}/{{model}}:streamGenerateContent": [
            people("POST", f"{model}:streamGenerateContent?alt=sse", 200, CONTENTS)
        ],
    }


def openai(root):
    """The routes of OpenAI's API, with `/v1` or without."""
    text = {"model": "plain/echo", "input": "hello"}
    return {
        f"{root}/chat/completions": [people("POST", f"{root}/chat/completions", 200, CHAT)],
        f"{root}/responses": [
            people("POST", f"{root}/responses", 200, text),
            people("GET", f"{root}/responses", 426, None, **{"sec-websocket-key": "eA=="}),
        ],
        f"{root}/responses/{{response_id}}": [people("GET", f"{root}/responses/resp_1", 404)],
        f"{root}/responses/{{response_id}}/{{more:path}}": [
            people("GET", f"{root}/responses/resp_1/input_items", 404)
        ],
        f"{root}/embeddings": [people("POST", f"{root}/embeddings", 404, text)],
        f"{root}/models": [people("GET", f"{root}/models")],
        f"{root}/models/{{model_id:path}}": [people("GET", f"{root}/models/plain/echo")],
    }


def of(plugin, *routes):
    return {(plugin, path): rows for each in routes for path, rows in each.items()}


ROWS = {
    **of(
        "",
        {
            "/v1/messages": [people("POST", "/v1/messages", 200, MESSAGES)],
            "/v1/messages/count_tokens": [
                people("POST", "/v1/messages/count_tokens", 200, MESSAGES)
            ],
            "/v1/messages/explain": [people("POST", "/v1/messages/explain", 200, MESSAGES)],
        },
    ),
    **of("accounts", {"/v1/account": [people("GET", "/v1/account")]}),
    **of("budgets", {"/api/oauth/usage": [people("GET", "/api/oauth/usage")]}),
    **of(
        "budget-tree",
        {"/budget-tree/conversations": [operator("GET", "/budget-tree/conversations")]},
    ),
    **of(
        "dashboard",
        {
            "/": [Row("GET", "/", (200, 403, 403, 200), None, {"accept": "text/html"})],
            "/dashboard/advice": [operator("GET", "/dashboard/advice")],
            "/dashboard/exchanges": [people("GET", "/dashboard/exchanges")],
            "/dashboard/history": [people("GET", "/dashboard/history")],
            "/dashboard/plan": [people("GET", "/dashboard/plan?model=plain/echo")],
            "/dashboard/state": [operator("GET", "/dashboard/state")],
            "/dashboard/trials": [people("GET", "/dashboard/trials")],
        },
    ),
    **of("gemini-api", *map(gemini, ("v1", "v1alpha", "v1beta"))),
    **of("gemini-api", gemini_methods("/models", "/models/plain/echo")),
    **of("gemini-api", {"/upload/{path:path}": [people("POST", "/upload/v1beta/files", 404, {})]}),
    **of("mcp", {"/mcp": [operator("POST", "/mcp", 200, LIST_TOOLS, **ACCEPT)]}),
    **of("bench", {"/bench/exchanges/{id}": [operator("GET", "/bench/exchanges/none")]}),
    **of(
        "recorder",
        {
            "/recordings": [people("GET", "/recordings"), people("DELETE", "/recordings", 404)],
            "/recordings/turns": [people("GET", "/recordings/turns", 404)],
            "/recordings/turn": [people("GET", "/recordings/turn", 404)],
            "/recordings/switch": [people("POST", "/recordings/switch", 400, {})],
            "/recordings/plan": [people("POST", "/recordings/plan", 404, {})],
            "/recordings/costs": [people("POST", "/recordings/costs", 404, {})],
        },
    ),
    **of(
        "speech-to-text",
        {
            path: [people("POST", path, 400, {})]
            for path in ("/v1/audio/transcriptions", "/v1/audio/translations")
        },
    ),
    **of(
        "text-to-speech",
        {
            "/v1/audio/speech": [people("POST", "/v1/audio/speech", 400, {})],
            "/v1/audio/voices": [people("GET", "/v1/audio/voices")],
        },
    ),
    **of("ocr", {"/v1/ocr": [people("POST", "/v1/ocr", 400, {})]}),
    **of("openai-api", *map(openai, ("/v1", ""))),
    **of("openai-api", {"/{path:path}": [people("GET", "/v1/files", 404)]}),
    **of(
        "sign-in",
        {
            "/.well-known/oauth-authorization-server": [
                anybody("GET", "/.well-known/oauth-authorization-server")
            ],
            "/oauth/device_authorization": [
                anybody("POST", "/oauth/device_authorization", 200, b"", **FORM)
            ],
            "/oauth/token": [anybody("POST", "/oauth/token", 400, b"", **FORM)],
            "/oauth/revoke": [anybody("POST", "/oauth/revoke", 400, b"", **FORM)],
            "/device": [anybody("GET", "/device"), anybody("POST", "/device", 400, b"", **FORM)],
            "/device/sign-in": [anybody("GET", "/device/sign-in", 400)],
            "/device/provider": [anybody("GET", "/device/provider", 400)],
            "/device/callback": [anybody("GET", "/device/callback", 400)],
            "/device/decide": [anybody("POST", "/device/decide", 400, b"", **FORM)],
            "/device/password": [anybody("POST", "/device/password", 400, b"", **FORM)],
            "/managed/settings": [people("GET", "/managed/settings", 404)],
            **{
                path: [people("POST", path, 200, {})]
                for path in ("/v1/logs", "/v1/metrics", "/v1/traces")
            },
        },
    ),
    **of("telemetry", {"/metrics": [operator("GET", "/metrics", ANY)]}),
    **of("upscale", {"/v1/images/upscale": [operator("POST", "/v1/images/upscale", 400, {})]}),
    ("kernel", "/health"): [anybody("GET", "/health")],
    ("kernel", "/readyz"): [anybody("GET", "/readyz")],
    ("kernel", "/api/hello"): [anybody("GET", "/api/hello")],
    ("kernel", "/v1/models"): [
        people("GET", "/v1/models", 200, None, **{"anthropic-version": "2023-06-01"})
    ],
    ("kernel", "/v1/models/{model_id:path}"): [
        people("GET", "/v1/models/plain/echo", 200, None, **{"anthropic-version": "2023-06-01"})
    ],
    ("kernel", "/"): [],
    ("kernel", "nothing"): [people("GET", "/no/such/page", 404)],
}
"""By the plugin and its route. Who wins for a path is the matter of other tests."""


@pytest.fixture
async def running(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "FAILURES_PER_MINUTE", 10**6)
    classes = {}
    for point in entry_points(group="plugway"):
        if point.dist.name.startswith("plugway") and point.dist.name != "plugway-template":
            plugin = point.load()
            hooks = ("register_routes", "register_dialects")
            if any(hasattr(getattr(plugin, hook, None), "plugway_impl") for hook in hooks):
                classes[point.name] = plugin
    stack = [build_plugin(StorePlugin, "store", url=str(tmp_path / "store.db"))]
    stack += [build_plugin(one, name) for one, name in BESIDE[:1]]
    stack += [build_plugin(one, name, **OPTIONS.get(name, {})) for name, one in classes.items()]
    stack += [build_plugin(one, name) for one, name in BESIDE[1:]]
    async with gateway([*stack, build_plugin(Echo, "plain")]) as running:
        yield running


def people_of(running):
    return next(p for p in running.app.snapshot.plugins if isinstance(p, Accounts)).people


async def keys_of(running):
    """A token for each caller."""
    people = people_of(running)
    found = {NOBODY: None, OPERATOR: running.token}
    for name in (ANN, BOB):
        await people.add(name)
        found[name] = (await people.issue(name, label=f"label of {name}")).secret
    return found


def client(running, token):
    headers = {"authorization": f"Bearer {token}"} if token else {}
    return httpx2.AsyncClient(
        base_url=running.url, headers=headers, trust_env=False, verify=False, timeout=30
    )


def served(snapshot):
    """All routes: those of plugins, the paths of dialects, and the kernel's."""
    found = {(plugin.name, route.path) for plugin, route in snapshot.routes}
    dialects = snapshot.dialects
    found |= {(plugin, path) for path, (plugin, _) in dialects._exact.items()}
    found |= {(p, "{model}".join(path)) for path, (p, _) in dialects._patterns.items()}
    return found | {("", path) for path in EXCHANGES}


async def test_every_route_has_a_row(running):
    found = served(running.app.snapshot)
    rows = {(plugin, route) for plugin, route in ROWS if plugin != "kernel"}
    assert not found - rows, f"say who may use these, in ROWS: {sorted(found - rows)}"
    assert not rows - found, f"these rows have no route: {sorted(rows - found)}"


async def test_each_route_serves_who_may_use_it_and_shows_nobody_elses(running):
    tokens = await keys_of(running)
    async with client(running, tokens[ANN]) as ann:
        body = request_body(ASKED, model="plain/echo", metadata={"user_id": SESSION})
        for _ in range(2):
            done = await ann.post(
                "/v1/messages", json=body, headers={"x-claude-code-session-id": SESSION}
            )
            assert done.status_code == 200
    (key,) = await people_of(running).keys(ANN)
    hers = (ANN, ASKED, SESSION, key.id, key.label)
    wrong, shown, leaked = [], "", []
    for caller, token in tokens.items():
        async with client(running, token) as one:
            for (plugin, route), rows in ROWS.items():
                for row in rows:
                    sent = {"content" if isinstance(row.body, bytes) else "json": row.body}
                    reply = await one.request(row.method, row.path, headers=row.headers, **sent)
                    expected = row.statuses[CALLERS.index(caller)]
                    if reply.status_code not in (expected if expected is ANY else (expected,)):
                        wrong.append((plugin, route, row.method, caller, reply.status_code))
                    text = f"{reply.text} {dict(reply.headers)}"
                    if caller in (NOBODY, BOB):
                        leaked += [(plugin, route, caller, one) for one in hers if one in text]
                    shown += text if caller == OPERATOR else ""
    assert not wrong, "\n".join(map(str, wrong))
    assert leaked == []
    assert ANN in shown, "the operator sees who asked, so there was something to find"

"""Two callers with limited tokens and the owner, with the same session, ids and prompt: whatever the
gateway keeps, and whatever it tells an upstream to keep, belongs to one of them alone."""

from contextlib import asynccontextmanager
from itertools import product

import anyio
import httpx2
import pytest

from plugway.testing import (
    ScriptedUpstream,
    Sleep,
    WaitFor,
    anthropic_error,
    anthropic_message,
    build_plugin,
    gateway,
    request_body,
    respond,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import _own_check
from plugway_echo import Echo
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_mcp import Mcp
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import _sessions
from plugway_switch import Switch
from plugway_vllm import Vllm
from tests.e2e.stack import shipped

pytestmark = pytest.mark.anyio

CALLERS = ("owner", "phone", "guest")
OTHERS = CALLERS[1:]
LIMITED = [{"name": name, "token": f"{name}-token", "models": ["up*/*"]} for name in OTHERS]
SESSION = {"x-claude-code-session-id": "5d6b0b04-0000-4000-8000-000000000000"}
AGENT = {"x-claude-code-agent-id": "a1", "x-claude-code-parent-agent-id": "a0"}
SESSIONS = ({}, SESSION, AGENT, {**SESSION, **AGENT})
TOOLS = [{"name": "Bash", "input_schema": {"type": "object"}}]
USER = {"user_id": "user_1_account__session_5d6b0b04"}


@asynccontextmanager
async def serving(plugins):
    async with gateway(plugins, tokens=LIMITED, ping_seconds=0.05) as running:
        yield running


async def say(running, caller, body=None, path="/v1/messages", session=SESSION):
    """What one caller is answered, in the session that all of them name."""
    token = running.token if caller == "owner" else f"{caller}-token"
    lines = {**session, "authorization": f"Bearer {token}"}
    body = request_body(model="up0/m") if body is None else body
    async with httpx2.AsyncClient(
        base_url=running.url, trust_env=False, verify=False, timeout=30
    ) as client:
        return await client.post(path, json=body, headers=lines)


# ── what an upstream keeps ───────────────────────────────────────────────────────────────────────

BACKENDS = {
    "anthropic": lambda url: build_plugin(Anthropic, "up0", api_key="k", base_url=url),
    "anthropic-compatible": lambda url: build_plugin(AnthropicCompatible, "up0", base_url=url),
    "llama-server": lambda url: build_plugin(LlamaServer, "up0", base_url=url),
    "vllm": lambda url: build_plugin(Vllm, "up0", base_url=url),
    "openai": lambda url: build_plugin(OpenAI, "up0", api_key="k", base_url=url),
    "openai, chat": lambda url: build_plugin(OpenAI, "up0", api_key="k", base_url=url, api="chat"),
    "openai-compatible": lambda url: build_plugin(OpenAICompatible, "up0", base_url=url),
    "gemini": lambda url: build_plugin(Gemini, "up0", api_key="k", base_url=url),
}
REQUESTS = {
    "messages": ("/v1/messages", request_body(model="up0/m", metadata=USER)),
    "messages without metadata": ("/v1/messages", request_body(model="up0/m")),
    "chat": (
        "/v1/chat/completions",
        {"model": "up0/m", "messages": request_body()["messages"], "prompt_cache_key": "k"},
    ),
    "responses": ("/v1/responses", {"model": "up0/m", "input": "hello", "prompt_cache_key": "k"}),
}


def keys_in(request):
    """Under which a server keeps something of a request: its conversation, its cache."""
    body = request.json
    found = {name: value for name, value in request.headers if name.startswith("x-claude-code-")}
    return found | {name: body[name] for name in ("prompt_cache_key", "session_id") if name in body}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_key_at_an_upstream_is_anothers(backend):
    async with ScriptedUpstream(otherwise=lambda _: respond(500)) as upstream:
        stack = [build_plugin(OpenAIApi, "openai-api"), BACKENDS[backend](upstream.url)]
        async with serving(stack) as running:
            for (asked, (path, body)), session in product(REQUESTS.items(), SESSIONS):
                told = {}
                for caller in (*CALLERS, *CALLERS):
                    before = len(upstream.requests)
                    await say(running, caller, body, path, session)
                    sent = [r for r in upstream.requests[before:] if r.method == "POST"]
                    told.setdefault(caller, []).append(keys_in(sent[0]))
                assert all(
                    first == second for first, second in told.values()
                )  # its own stay common
                limited = [told[caller][0] for caller in OTHERS]
                for name in {name for keys in limited for name in keys}:
                    values = [keys[name] for keys, _ in told.values() if name in keys]
                    assert len(set(values)) == len(values), (asked, session, name)
                if backend in ("openai", "openai, chat") and "messages" in asked:
                    assert all(keys["prompt_cache_key"] for keys in limited)


# ── what is stored ───────────────────────────────────────────────────────────────────────────────

STORED = {
    "a response": ("/v1/responses", {"model": "up0/m", "input": "x", "previous_response_id": "r"}),
    "a conversation": ("/v1/responses", {"model": "up0/m", "input": "x", "conversation": "c"}),
    "an item": (
        "/v1/responses",
        {"model": "up0/m", "input": [{"type": "item_reference", "id": "i"}]},
    ),
    "a prompt": ("/v1/responses", {"model": "up0/m", "input": "x", "prompt": {"id": "p"}}),
    "a container": ("/v1/messages", request_body(model="up0/m", container="c")),
    "a file": (
        "/v1/messages",
        request_body(
            model="up0/m",
            messages=[
                {
                    "role": "user",
                    "content": [{"type": "document", "source": {"type": "file", "file_id": "f"}}],
                }
            ],
        ),
    ),
}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nothing_that_is_stored_at_an_upstream_is_reached(backend):
    async with ScriptedUpstream(otherwise=lambda _: respond(500)) as upstream:
        stack = [build_plugin(OpenAIApi, "openai-api"), BACKENDS[backend](upstream.url)]
        async with serving(stack) as running:
            for (what, (path, body)), caller in product(STORED.items(), OTHERS):
                answer = await say(running, caller, body, path)
                assert answer.status_code in (400, 403), what
        assert not [r for r in upstream.requests if r.method == "POST"]


# ── what the gateway keeps ───────────────────────────────────────────────────────────────────────


class Upstream(ScriptedUpstream):
    """Answers messages as it is told, with a greeting otherwise; has nothing else."""

    def __init__(self):
        super().__init__(otherwise=self._reply_to)
        self.answers = []
        self.asked = 0

    def _reply_to(self, request):
        if request.method != "POST" or request.path.partition("?")[0] != "/v1/messages":
            return respond(404)
        self.asked += 1
        return self.answers.pop(0) if self.answers else respond(200, anthropic_message("Hello."))


async def joined_answers(upstream, running):
    """A request that comes again joins the answer that is being made: of the same caller only."""
    go = anyio.Event()
    upstream.answers = [[WaitFor(go), *respond(200, anthropic_message("Mine."))]] * 3
    resends = running.app.snapshot.plugins[
        [p.name for p in running.app.snapshot.plugins].index("resilience")
    ]._resends
    async with anyio.create_task_group() as group:
        for caller in (*CALLERS, *CALLERS):
            group.start_soon(say, running, caller)
        with anyio.fail_after(10):
            while len(resends._by_exchange) < 2 * len(CALLERS):
                await anyio.lowlevel.checkpoint()
        go.set()
    assert upstream.asked == len(CALLERS)


async def remembered_failures(upstream, running):
    """A failure that was told in a stream is repeated to who asks again, and to nobody else."""
    refusal = anthropic_error(400, "invalid_request_error", "no")
    upstream.answers = [[Sleep(0.2), *refusal]]  # after the first ping, at 0.05 s
    told = await say(running, "owner", request_body(model="up0/m", stream=True))
    assert "event: ping" in told.text
    for caller in OTHERS:
        assert (await say(running, caller)).status_code == 200
    assert (await say(running, "owner")).status_code == 400
    assert upstream.asked == 1 + len(OTHERS)


async def choices(upstream, running):
    """A conversation that was switched is its caller's."""
    await say(running, "owner")  # consent to the zone that both are in
    said = (await say(running, "owner", request_body("@plugway use up1/m"))).text
    assert "is served by `up1/m`" in said
    for caller, target in zip(CALLERS, ("up1/m", "up0/m", "up0/m"), strict=True):
        answer = await say(running, caller, request_body(model="test-model"))
        assert f"served-by={target};" in answer.headers["plugway-receipt"]


async def own_checks(upstream, running):
    """A client's own check goes where its conversation goes, which others' do not tell."""
    check = request_body(model="claude-sonnet-5", max_tokens=64, system="<severity>N</severity>")
    await say(running, "owner", request_body(model="up1/m", tools=TOOLS))
    for caller in OTHERS:
        assert (await say(running, caller, check)).status_code == 403
    assert "up1/m" in (await say(running, "owner", check)).headers["plugway-receipt"]


async def homes(upstream, running):
    """What is kept of one caller's conversations is not pushed out by another's."""
    check = request_body(model="claude-sonnet-5", max_tokens=64, system="<severity>N</severity>")
    turn = request_body(model="up1/m", tools=TOOLS)
    await say(running, "owner", turn)
    for number in range(4):
        await say(running, "phone", turn, session={**SESSION, next(iter(SESSION)): str(number)})
    by_name = {plugin.name: plugin for plugin in running.app.snapshot.plugins}
    session = next(iter(SESSION.values()))
    home = await by_name["router"]._sessions[""].home(session)
    assert home is not None
    assert home.target == ("up1", "m")
    assert "up1/m" in (await say(running, "owner", check)).headers["plugway-receipt"]


async def calls_of_tools(upstream, running):
    """The id of a call in a limited caller's reply stands for no conversation of the owner's."""
    call = {"type": "tool_use", "id": "toolu_1", "name": "mcp__plugway__endpoint_set", "input": {}}
    upstream.answers = [respond(200, anthropic_message("") | {"content": [call]})] * 2
    tools = [{"name": call["name"], "input_schema": {"type": "object"}}]
    mcp, switch = running.app.snapshot.plugins[:2]
    for caller, known in (("phone", 0), ("owner", 1)):
        await say(running, caller, request_body(model="up0/m", tools=tools))
        assert len(mcp.calls) == known
        assert len(switch.conversations.recent(0)) == known
    assert upstream.asked == 2


@pytest.mark.parametrize(
    "kept",
    [joined_answers, remembered_failures, choices, own_checks, homes, calls_of_tools],
    ids=lambda kept: kept.__name__.replace("_", " "),
)
async def test_what_the_gateway_keeps_is_one_callers_alone(kept, tmp_path, monkeypatch):
    for name in ("DATA", "CACHE", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    for module in (_sessions, _own_check):
        monkeypatch.setattr(module, "MAX_SESSIONS", 2)
    async with Upstream() as upstream:
        family = [build_plugin(Mcp, "mcp"), build_plugin(Switch, "switch", warm=False)]
        family.append(build_plugin(Echo, "echo"))  # a second zone
        async with serving([*family, *shipped(upstream.url, upstream.url)]) as running:
            await kept(upstream, running)

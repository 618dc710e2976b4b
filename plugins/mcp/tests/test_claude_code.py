"""The real Claude Code with the gateway's MCP server, over a model that is scripted."""

import itertools
import json
from contextlib import asynccontextmanager

import pytest

from plugins.mcp.tests.mounted import faulty
from plugway.testing import ScriptedUpstream, anthropic_stream, build_plugin, gateway, respond, sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_mcp import Mcp
from plugway_router import Router
from plugway_switch import Switch
from plugway_thinking import Thinking
from tests.e2e.claude import Claude

NUMBERS = itertools.count()
pytestmark = [pytest.mark.anyio, pytest.mark.real]


def model_of(name, *scripts):
    """An upstream that plays `scripts` and then says its name; it lists one model."""
    queue = list(scripts)

    def answer(request):
        if request.method == "GET":
            return respond(200, {"data": [{"id": f"{name}-model"}]})
        body = request.json
        if not body.get("tools"):  # a question of the client's own
            return sse(anthropic_stream("ok"))
        return queue.pop(0) if queue else spoken(f"{name} speaking")

    return ScriptedUpstream(otherwise=answer)


def asked(upstream):
    return [r for r in upstream.requests if r.method == "POST" and r.json.get("tools")]


def spoken(text="", unique="", **more):
    """An answer whose message and tool call have ids of their own: the client joins those that
    have the same."""
    unique = unique or str(next(NUMBERS))
    events = anthropic_stream(text, **more)
    raw = json.dumps(events).replace("toolu_0001", f"toolu_{unique}")
    return sse([(k, d) for k, d in json.loads(raw.replace("msg_scripted", f"msg_{unique}"))])


def calls(tool, **arguments):
    return spoken("Switching.", tool_calls=[(tool, arguments)], thinking="hm")


@asynccontextmanager
async def both(tmp_path, home, desk, *others, **options):
    """Claude Code over a gateway to `home`, of a vendor, and `desk`, on this machine."""
    async with home, desk:
        stack = [
            build_plugin(Mcp, "mcp", **options),
            build_plugin(Switch, "switch", warm=False),
            build_plugin(Thinking, "thinking"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": ["home/home-model"]}),
            build_plugin(
                AnthropicCompatible, "home", base_url=home.url, zone="vendor", native_errors=True
            ),
            build_plugin(AnthropicCompatible, "desk", base_url=desk.url),
            *others,
        ]
        async with gateway(stack) as gate:
            claude = Claude(tmp_path, gate.url, gate.token, "a-model")
            server = {
                "type": "http",
                "url": f"{gate.url}/mcp",
                "headers": {"Authorization": f"Bearer {gate.token}"},
            }
            claude.mcp = (
                "--mcp-config",
                json.dumps({"mcpServers": {"plugway": server}}),
                "--strict-mcp-config",
                "--allowedTools",
                "mcp__plugway",
            )
            yield claude


async def test_a_model_that_calls_endpoint_set_is_followed_by_the_other_one(tmp_path):
    home = model_of(
        "home",
        calls("ToolSearch", query="select:mcp__plugway__endpoint_set"),
        calls("mcp__plugway__endpoint_set", endpoint="desk"),
    )
    desk = model_of("desk")
    async with both(tmp_path, home, desk) as claude:
        answer = await claude.run("-p", "use the other one please", *claude.mcp)
        assert answer.out.strip() == "desk speaking", answer
        again = await claude.run("-c", "-p", "and again", *claude.mcp)
        assert again.out.strip() == "desk speaking", again
    assert len(asked(home)) == 2
    searched, result = [
        block
        for message in asked(desk)[0].json["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    assert "endpoint_set" in str(searched["content"])
    (told,) = result["content"]
    assert told["text"] == (
        "This conversation is served by `desk/desk-model` (local) from the next request on."
    )


async def test_a_tool_that_is_only_named_can_be_called_too(tmp_path):
    home = model_of("home", calls("mcp__plugway__endpoint_set", endpoint="desk"))
    desk = model_of("desk")
    async with both(tmp_path, home, desk) as claude:
        answer = await claude.run("-p", "use the other one please", *claude.mcp)
        assert answer.out.strip() == "desk speaking", answer
    assert "The client does not identify the caller" not in asked(desk)[0].body.decode()


async def test_a_mounted_tool_is_called_through_the_gateway(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    home = model_of(
        "home",
        calls("ToolSearch", query="select:mcp__plugway__x_echo"),
        calls("mcp__plugway__x_echo", text="words from a mounted server"),
    )
    async with both(tmp_path, home, model_of("desk"), servers={"x": faulty()}) as claude:
        answer = await claude.run("-p", "say it there please", *claude.mcp)
        assert answer.out.strip() == "home speaking", answer
    last = asked(home)[-1].json["messages"]
    results = [
        block
        for message in last
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_result"
    ]
    assert results[-1]["content"] == [{"type": "text", "text": "words from a mounted server"}]
    (described,) = [t for t in asked(home)[-1].json["tools"] if t["name"] == "mcp__plugway__x_echo"]
    assert described["description"] == "Does echo."


async def test_a_subagent_that_calls_endpoint_set_moves_itself_alone(tmp_path):
    task = {"description": "look", "prompt": "look around", "subagent_type": "general-purpose"}
    home = model_of(
        "home",
        calls("Agent", run_in_background=False, **task),
        calls("mcp__plugway__endpoint_set", endpoint="desk"),
    )
    desk = model_of("desk")
    async with both(tmp_path, home, desk) as claude:
        answer = await claude.run("-p", "have somebody look", *claude.mcp)
        assert answer.out.strip() == "home speaking", answer
    main, agent, *after = asked(home)
    assert main.header("x-claude-code-agent-id") is None
    assert agent.header("x-claude-code-agent-id")
    assert [r.header("x-claude-code-agent-id") for r in after] == [None]
    (moved,) = asked(desk)
    assert moved.header("x-claude-code-agent-id") == agent.header("x-claude-code-agent-id")
    assert "This subagent is served by `desk/desk-model`" in moved.body.decode()
    assert "desk speaking" in after[0].body.decode()


async def test_a_slash_command_of_the_server_switches(tmp_path):
    home, desk = model_of("home"), model_of("desk")
    async with both(tmp_path, home, desk) as claude:
        answer = await claude.run("-p", "/mcp__plugway__switch desk", *claude.mcp)
        assert "served by `desk/desk-model`" in answer.out, answer
        answer = await claude.run("-c", "-p", "go on", *claude.mcp)
        assert answer.out.strip() == "desk speaking"
    assert not asked(home)


async def test_a_sentence_switches_and_the_way_back_brings_the_thinking_back(tmp_path):
    home = model_of("home", spoken("First.", thinking="home thinks"))
    desk = model_of("desk", spoken("Second.", thinking="desk thinks"))
    async with both(tmp_path, home, desk) as claude:
        assert "First." in (await claude.run("-p", "hello")).out
        told = await claude.run("-c", "-p", "use my desk model")
        assert "This conversation is served by `desk/desk-model`" in told.out, told
        assert "Second." in (await claude.run("-c", "-p", "go on")).out
        assert "Back to the configured" in (await claude.run("-c", "-p", "switch back")).out
        assert "home speaking" in (await claude.run("-c", "-p", "go on")).out
    sent = asked(home)[-1].body.decode()
    assert "home thinks" in sent
    assert "desk thinks" not in sent
    assert "home thinks" not in asked(desk)[-1].body.decode()


class Maker:
    """An upstream that thinks, signs, and calls a tool in every third answer of a model's."""

    def __init__(self, name):
        self.name, self.count = name, 0

    def __call__(self, request):
        if request.method == "GET":
            return respond(200, {"data": [{"id": f"{self.name}-model"}]})
        if not request.json.get("tools"):
            return sse(anthropic_stream("ok"))
        self.count += 1
        thought = f"{self.name} thought {self.count}."
        if self.count % 3:
            return spoken(f"{self.name} speaking", thinking=thought)
        call = ("mcp__plugway__usage_report", {"of": "conversation"})
        return spoken("Looking.", thinking=thought, tool_calls=[call])


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.slow
async def test_thirty_turns_over_three_backends_by_sentence(tmp_path):
    makers = {name: Maker(name) for name in ("home", "desk", "shed")}
    ups = {name: ScriptedUpstream(otherwise=maker) for name, maker in makers.items()}
    plan = [
        ("home", 4),
        ("desk", 4),
        ("shed", 5),
        ("home", 3),
        ("shed", 4),
        ("desk", 5),
        ("home", 5),
    ]
    turns = 0
    async with ups["shed"]:
        third = build_plugin(AnthropicCompatible, "shed", base_url=ups["shed"].url)
        async with both(tmp_path, ups["home"], ups["desk"], third) as claude:
            here, more = "home", ()
            for name, count in plan:
                if name != here:
                    sentence = "switch back" if name == "home" else f"use my {name} model"
                    told = await claude.run(*more, "-p", sentence, *claude.mcp)
                    assert told.out.startswith(("This conversation is served", "Back to")), told
                    here = name
                for _ in range(count):
                    answer = await claude.run(*more, "-p", f"question {turns}", *claude.mcp)
                    assert (answer.code, answer.out.strip()) == (0, f"{name} speaking"), answer
                    more, turns = ("-c",), turns + 1
    assert turns == 30
    last = asked(ups["home"])[-1].body.decode()
    for number in range(1, makers["home"].count):
        assert f"home thought {number}." in last
    assert "desk thought" not in last
    for name, up in ups.items():
        messages = asked(up)[-1].json["messages"]
        blocks = [b for m in messages if isinstance(m["content"], list) for b in m["content"]]
        calls_made = [b["id"] for b in blocks if b["type"] == "tool_use"]
        results = [b["tool_use_id"] for b in blocks if b["type"] == "tool_result"]
        assert calls_made == results, name
        assert len(calls_made) > 3
        assert not any(b.get("is_error") for b in blocks)

"""The tools, through the official SDK's client."""

import re

import pytest
from mcp.shared.exceptions import MCPError

from plugins.mcp.tests.shape import backends, call, calling, client_of, running, streamed
from plugins.switch.tests.talk import Client, backend
from plugway import BackendUnavailable, ModelInfo
from plugway_local_models import LoadedModel
from plugway_mcp._calls import TOOLS, Calls, our_call

pytestmark = pytest.mark.anyio


async def test_the_server_offers_its_tools_and_one_prompt_and_says_what_for():
    async with running() as gate, client_of(gate) as session:
        tools = (await session.list_tools()).tools
        prompts = (await session.list_prompts()).prompts
    assert [t.name for t in tools] == [
        "endpoint_list", "endpoint_set", "endpoint_recommend", "model_list", "model_load",
        "model_unload", "usage_report", "context_report", "explain_last",
    ]  # fmt: skip
    assert {t.name for t in tools} == set(TOOLS)
    assert [p.name for p in prompts] == ["switch"]
    assert {t.name for t in tools if not t.annotations.read_only_hint} == {
        "endpoint_set", "model_load", "model_unload",
    }  # fmt: skip


async def test_no_tool_takes_what_could_run_or_reach_something():
    """M-09."""
    forbidden = re.compile("command|args|env|cwd|exec|path|file|url|host|header", re.I)
    async with running() as gate, client_of(gate) as session:
        for tool in (await session.list_tools()).tools:
            assert tool.input_schema["additionalProperties"] is False
            for name, field in tool.input_schema["properties"].items():
                assert not forbidden.search(name)
                assert field["description"] or field.get("enum")
                assert "enum" in field or field["maxLength"] <= 200


async def test_what_is_announced_does_not_change():
    """M-10: no plugin can put another description into the list."""
    async with running() as gate, client_of(gate) as session:
        first = (await session.list_tools()).model_dump_json()
        await call(session, "endpoint_list")
        assert (await session.list_tools()).model_dump_json() == first


@pytest.mark.parametrize("stream", [True, False])
async def test_a_model_switches_its_own_conversation(stream):
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        client, other = Client(gate), Client(gate)
        await streamed(client, "toolu_1", stack, stream=stream)
        await streamed(other, "toolu_2", stack)
        said = await call(session, "endpoint_set", {"endpoint": "local"}, "toolu_1")
        assert said == (
            "This conversation is served by `ollama/qwen3:8b` (local, window 65,536 tokens) "
            "from the next request on."
        )
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": said}
        assert await client.turn([result]) == "ollama/qwen3:8b here"
        assert await client.say("go on") == "ollama/qwen3:8b here"
        result["tool_use_id"] = "toolu_2"
        assert await other.turn([result]) == "home/m here"
        said = await call(session, "endpoint_set", {"endpoint": "default"}, "toolu_1")
        assert said == "This conversation is served by the configured model again."
        assert await client.say("go on") == "home/m here"


async def test_a_subagent_switches_itself_alone_unless_it_says_otherwise():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        client = Client(gate)
        agent = Client(gate, session=client.session, **{"x-claude-code-agent-id": "a1"})
        second = Client(gate, session=client.session, **{"x-claude-code-agent-id": "a2"})
        await streamed(agent, "toolu_1", stack)
        said = await call(session, "endpoint_set", {"endpoint": "qwen3"}, "toolu_1")
        assert said.startswith("This subagent is served by")
        agent.messages.clear()
        assert await agent.say("go on") == "ollama/qwen3:8b here"
        assert await second.say("go on") == "home/m here"
        assert await client.say("go on") == "home/m here"
        arguments = {"endpoint": "qwen3", "scope": "subagents"}
        said = await call(session, "endpoint_set", arguments, "toolu_1")
        assert said.startswith("Subagents of this conversation are served by")
        assert await second.say("go on") == "ollama/qwen3:8b here"
        assert await client.say("go on") == "home/m here"
        await call(session, "endpoint_set", {"endpoint": "qwen3", "scope": "session"}, "toolu_1")
        assert await client.say("go on") == "ollama/qwen3:8b here"


async def test_another_vendor_needs_the_consent_of_the_configuration():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        said = await call(session, "endpoint_set", {"endpoint": "gemini flash"}, "toolu_1")
        assert said.startswith(
            "! `cloud/gemini-2.5-flash` would send this conversation to the zone `google`"
        )
        assert "add `allow_zones: [google]` to the options of `switch`" in said
        client.messages.clear()
        assert await client.say("go on") == "home/m here"
    async with running(*stack, switch={"allow_zones": ["google"]}) as gate, client_of(gate) as s:
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        await call(s, "endpoint_set", {"endpoint": "gemini flash"}, "toolu_1")
        client.messages.clear()
        assert await client.say("go on") == "cloud/gemini-2.5-flash here"


async def test_names_that_are_not_clear_change_nothing():
    stack = [*backends(), backend("desk", "local", ModelInfo("gemma"))]
    async with running(*stack) as gate, client_of(gate) as session:
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        said = await call(session, "endpoint_set", {"endpoint": "local"}, "toolu_1")
        assert said.startswith("! `local` is ambiguous: `ollama/qwen3:8b`, `desk/gemma`.")
        said = await call(session, "endpoint_set", {"endpoint": "olama\n- fake"}, "toolu_1")
        assert said.startswith("! Unknown endpoint `olama - fake`.")


async def test_without_an_id_the_only_conversation_is_meant_and_said_so():
    async with running() as gate, client_of(gate) as session:
        assert "no conversations were served" in await call(session, "context_report")
        client = Client(gate)
        await client.say("hello")
        said = await call(session, "endpoint_set", {"endpoint": "local"})
        assert said.endswith(
            "(The client does not identify the caller; this is the only recent conversation.)"
        )
        assert await client.say("go on") == "ollama/qwen3:8b here"
        await Client(gate).say("hello")
        said = await call(session, "endpoint_set", {"endpoint": "default"})
        assert said.startswith("! This client does not identify the calling conversation")
        assert "2 conversations were served" in said
        assert await client.say("go on") == "ollama/qwen3:8b here"


async def test_now_is_the_choice_in_force_and_unknown_where_a_choice_is_gone():
    async with running(recommend={}) as gate, client_of(gate) as session:
        client = Client(gate)
        await client.say("hello")
        await client.say("@plugway use qwen3")
        said = await call(session, "endpoint_list")
        assert said.startswith("Now: `ollama/qwen3:8b`.")
        assert "`ollama/qwen3:8b` (local, window 65,536 tokens), loaded <- now" in said
        assert "65,536 of `ollama/qwen3:8b`" in await call(session, "context_report")
        await client.say("go on")
        await client.say("@plugway use default")
        said = await call(session, "endpoint_list")
        assert said.startswith("Last served by `ollama/qwen3:8b`; the configuration chooses")
        assert "<- now" not in said
        assert "Stay with" not in await call(session, "endpoint_recommend")
        await client.say("go on")
        assert (await call(session, "endpoint_list")).startswith("Now: `home/m`.")
        await client.say("use my qwen3 for this: go on")
        assert (await call(session, "endpoint_list")).startswith("Last served by `ollama/qwen3")


async def test_calls_to_tools_of_others_are_not_noted():
    stack = backends()
    async with running(*stack) as gate:
        await streamed(Client(gate), "toolu_1", stack, name="mcp__other__read")
        assert len(gate.mcp.calls) == 0
        await streamed(Client(gate), "toolu_2", stack, name="mcp__my-gateway__usage_report")
        assert gate.mcp.calls.of("toolu_2").target == "home/m"
    assert our_call(calling("t" * 300)["content"][0]) is None


async def test_a_conversation_that_offers_none_of_our_tools_gets_no_layer():
    async with running() as gate:
        client = Client(gate)
        await client.say("hello", stream=True)
        assert "attempts=1; changes=0" in client.last.headers["plugway-receipt"]


def test_noted_calls_are_bounded():
    calls = Calls()
    for number in range(1000):
        calls.add(f"t{number}", None)
    assert len(calls) == 512


async def test_the_list_shows_what_there_is_and_what_serves_now():
    stack = backends()
    async with running(*stack, recommend={}) as gate, client_of(gate) as session:
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        said = await call(session, "endpoint_list", None, "toolu_1")
    assert said.splitlines() == [
        "Now: `home/m`.",
        "- `home/m` (vendor, window 200,000 tokens) <- now",
        "- `ollama/qwen3:8b` (local, window 65,536 tokens), loaded",
        "- `cloud/gemini-2.5-flash` (google, window 1,000,000 tokens)",
    ]


async def test_a_recommendation_needs_its_plugin_and_a_list_and_contacts_nobody():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        await streamed(Client(gate), "toolu_1", stack)
        said = await call(session, "endpoint_recommend", None, "toolu_1")
        assert said == "! The plugin `recommend` is not configured: add `- use: recommend`."
    stack = backends()
    asked = []
    for one in stack:
        one.models = _counted(one, asked)
    async with running(*stack, recommend={}) as gate, client_of(gate) as session:
        await streamed(Client(gate), "toolu_1", stack)
        said = await call(session, "endpoint_recommend", None, "toolu_1")
        assert said == "! No list of models is known yet. Call `endpoint_list` first."
        await call(session, "endpoint_list")
        before = len(asked)
        said = await call(session, "endpoint_recommend", None, "toolu_1")
        assert said.startswith("Use `ollama/qwen3:8b`: a conversation of ")
        assert "with tools fits in its window of 65,536" in said
        assert len(asked) == before


def _counted(one, asked):
    async def models():
        asked.append(one.name)
        return one.infos

    return models


async def test_models_on_this_machine_are_listed_loaded_and_unloaded():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        said = await call(session, "model_list")
        assert said == "- `ollama/qwen3:8b` (local, window 65,536 tokens): loaded"
        assert (
            await call(session, "model_load", {"model": "qwen3"}) == "`ollama/qwen3:8b` is loaded."
        )
        assert stack[1].seen[0].body["max_tokens"] == 1
        said = await call(session, "model_unload", {"model": "qwen3"})
        assert said.startswith("! `ollama` is a separate server that cannot unload")
        said = await call(session, "model_load", {"model": "gemini flash"})
        assert said.startswith("! Unknown endpoint `gemini flash`")


async def test_a_backend_that_can_load_and_unload_is_asked_to():
    stack = backends()
    done = []

    async def load(model):
        done.append(("load", model))

    async def unload(model):
        done.append(("unload", model))
        return len(done) < 3

    stack[1].load, stack[1].unload = load, unload
    async with running(*stack) as gate, client_of(gate) as session:
        assert (
            await call(session, "model_load", {"model": "qwen3"}) == "`ollama/qwen3:8b` is loaded."
        )
        said = await call(session, "model_unload", {"model": "qwen3"})
        assert said == "`ollama/qwen3:8b` is unloaded."
        said = await call(session, "model_unload", {"model": "qwen3"})
        assert said.startswith(
            "`ollama/qwen3:8b` was not unloaded: it is not loaded, or its server"
        )
    assert done[:2] == [("load", "qwen3:8b"), ("unload", "qwen3:8b")]


def _holds(backend, *models):
    """Makes a backend say what it has loaded, and keep it."""

    async def loaded():
        return models

    async def nothing(model):
        return False

    backend.loaded, backend.load = loaded, nothing
    backend.needs = backend.unload = nothing


async def test_what_a_server_holds_is_listed_with_its_memory():
    stack = backends()
    used = LoadedModel("qwen3:8b", size=5 * 2**30, requests=2)
    _holds(stack[1], used, LoadedModel("nomic", state="loading"))
    async with running(*stack) as gate, client_of(gate) as session:
        lines = (await call(session, "model_list")).splitlines()
    assert lines == [
        "- `ollama/qwen3:8b` (local, window 65,536 tokens): loaded, 5.0 GiB, 2 running",
        "- `ollama/nomic` (not an endpoint): loading",
    ]


async def test_a_server_that_cannot_say_what_it_holds_is_listed_all_the_same():
    stack = backends()
    _holds(stack[1])

    async def fails():
        raise BackendUnavailable("gone")

    stack[1].loaded = fails
    async with running(*stack) as gate, client_of(gate) as session:
        said = await call(session, "model_list")
        assert said == "- `ollama/qwen3:8b` (local, window 65,536 tokens): loaded"
        said = await call(session, "model_unload", {"model": "qwen3"})
        assert said == "! gone"


@pytest.mark.parametrize(
    ("held", "says"),
    [
        ([LoadedModel("qwen3:8b", kept="it is the only one")], "stays loaded: it is the only one."),
        ([LoadedModel("other", kept="it is the only one")], "was not loaded."),
        ([], "was not loaded."),
    ],
)
async def test_why_a_model_stays_is_said(held, says):
    stack = backends()
    _holds(stack[1], *held)
    async with running(*stack) as gate, client_of(gate) as session:
        said = await call(session, "model_unload", {"model": "qwen3"})
    assert said == f"`ollama/qwen3:8b` {says}"


async def test_usage_is_reported_for_the_conversation_and_for_the_gateway():
    stack = backends()
    prices = {"home/*": {"input": 1000, "output": 1000}}
    async with running(*stack, recommend={"prices": prices}) as gate, client_of(gate) as session:
        assert "No requests served yet." in await call(session, "usage_report", {"of": "gateway"})
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        client.messages.clear()
        await client.say("word " * 400)
        await Client(gate).say("hello")
        told = await call(session, "usage_report", None, "toolu_1")
        assert re.search(
            r"- `home/m`: 2 exchanges, \d+ tokens in, 0 from caches, 40 out, \$0\.", told
        )
        assert re.search(r"Sum: \$0\.\d{4}\.$", told)
        told = await call(session, "usage_report", {"of": "gateway"}, "toolu_1")
        assert "- `home/m`: 3 exchanges" in told


async def test_the_context_is_reported_with_its_shares():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        client = Client(gate)
        await call(session, "endpoint_list")
        stack[0].script = [calling("toolu_1")]
        tools = [{"name": "mcp__plugway__context_report", "description": "x" * 400}]
        stack[0].script[0]["content"][0]["name"] = tools[0]["name"]
        await client.say("word " * 8000, tools=tools, system="y" * 4000)
        said = await call(session, "context_report", None, "toolu_1")
    assert re.match(r"The conversation has 1[12],\d{3} tokens \(counted by the server\), 6 % of the "
                    r"200,000 of `home/m`\. Estimated shares: system 1,000, tools 1\d\d, "
                    r"messages 10,0\d\d\.$", said), said  # fmt: skip


async def test_the_last_exchange_is_explained():
    stack = backends()
    async with running(*stack) as gate, client_of(gate) as session:
        client = Client(gate)
        await streamed(client, "toolu_1", stack)
        await call(session, "endpoint_set", {"endpoint": "qwen3"}, "toolu_1")
        client.messages.clear()
        await client.say("hello")
        said = await call(session, "explain_last", None, "toolu_1")
    lines = said.splitlines()
    assert re.match(r"Request req_[\w-]+: completed after 0\.\d s\.", lines[0])
    assert lines[1] == (
        "Requested `home/m`; went to `ollama/qwen3:8b`, because this conversation was switched to "
        "`ollama/qwen3:8b`."
    )
    assert lines[2].startswith("- attempt at `ollama/qwen3:8b`: answered in ")
    assert "- switch (route): this conversation was switched to `ollama/qwen3:8b`" in lines


async def test_the_prompt_is_a_line_for_the_gateway():
    async with running() as gate, client_of(gate) as session:
        prompt = await session.get_prompt("switch", {"endpoint": "gemini\n flash"})
        assert prompt.messages[0].content.text == "@plugway use gemini flash"
        prompt = await session.get_prompt("switch")
        assert prompt.messages[0].content.text == "@plugway list"
        with pytest.raises(MCPError, match="unknown prompt 'other'"):
            await session.get_prompt("other")


async def test_mistakes_in_arguments_are_named_and_their_values_not_repeated():
    async with running() as gate, client_of(gate) as session:
        with pytest.raises(MCPError, match="unknown tool 'nothing'"):
            await session.call_tool("nothing", {})
        for arguments, flaw in (
            ({}, "endpoint: Field required (arguments: `endpoint`, `scope`)"),
            ({"endpoint": "canary" * 100}, "endpoint: String should have at most 200 characters"),
            ({"endpoint": "a", "command": "canary"}, "command: Extra inputs are not permitted"),
            ({"endpoint": "a", "scope": "canary"}, "scope: Input should be 'caller', 'session' or"),
        ):
            with pytest.raises(MCPError) as caught:
                await session.call_tool("endpoint_set", arguments)
            assert flaw in str(caught.value)
            assert "canary" not in str(caught.value)

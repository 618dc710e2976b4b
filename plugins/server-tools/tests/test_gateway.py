"""Through a gateway, to each kind of server, streamed and whole."""

import json
from contextlib import asynccontextmanager

import pytest
from anthropic.types.beta import BetaMessage
from pydantic import TypeAdapter

from plugway.testing import (
    Cut,
    ScriptedUpstream,
    anthropic_stream,
    assert_valid_stream,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai import OpenAI
from plugway_server_tools import ServerTools

from .servers import BACKENDS, Model, stack

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

MESSAGE = TypeAdapter(BetaMessage)
READ = {
    "name": "Read",
    "input_schema": {
        "type": "object",
        "properties": {"path": {"type": "string"}},
        "required": ["path"],
    },
}
SERVER = {
    "web_search_20250305": ("web_search", "web_search_tool_result", {"query": "oslo"}),
    "web_search_20260318": ("web_search", "web_search_tool_result", {"query": "oslo"}),
    "web_fetch_20250910": ("web_fetch", "web_fetch_tool_result", {"url": "https://a.example"}),
    "code_execution_20250522": (
        "code_execution",
        "code_execution_tool_result",
        {"code": "print(1)"},
    ),
    "advisor_20260301": ("advisor", "advisor_tool_result", {}),
    "tool_search_tool_regex_20251119": (
        "tool_search_tool_regex",
        "tool_search_tool_result",
        {"pattern": "x"},
    ),
    "tool_search_tool_bm25_20251119": (
        "tool_search_tool_bm25",
        "tool_search_tool_result",
        {"query": "x"},
    ),
}
OFFERED = {kind: value for kind, value in SERVER.items() if not kind.startswith("tool_search")}
CLIENT = {
    "bash_20241022": ("bash", {"command": "ls"}),
    "bash_20250124": ("bash", {"command": "ls"}),
    "text_editor_20250124": ("str_replace_editor", {"command": "undo_edit", "path": "/a"}),
    "text_editor_20250429": ("str_replace_based_edit_tool", {"command": "view", "path": "/a"}),
    "text_editor_20250728": (
        "str_replace_based_edit_tool",
        {"command": "insert", "path": "/a", "insert_line": 0, "insert_text": "x"},
    ),
    "memory_20250818": ("memory", {"command": "view", "path": "/memories"}),
}


def tool(kind):
    name = {**SERVER, **CLIENT}[kind][0]
    more = {"model": "claude-opus"} if kind.startswith("advisor") else {}
    return {"type": kind, "name": name, **more}


class Running:
    def __init__(self, model, running):
        self.model, self._running = model, running

    async def post(self, *tools, stream=False, messages="hi", **fields):
        turns = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        body = {**request_body(), "messages": turns, "tools": list(tools), "stream": stream}
        return await self._running.post({**body, **fields})

    async def ask(self, *tools, stream=False, **fields):
        """The message; a stream is put together, and held against Anthropic's rules."""
        answer = await self.post(*tools, stream=stream, **fields)
        assert answer.status_code == 200, answer.text
        if not stream:
            return MESSAGE.validate_python(answer.json())
        events = parse_sse(answer.content)
        assert_valid_stream(events)
        return MESSAGE.validate_python(put_together(events))

    async def receipt(self, *tools, **fields):
        body = {**request_body(), "tools": list(tools), **fields}
        answer = await self._running.post(body, "/v1/messages/explain")
        return json.dumps(answer.json())


def put_together(events):
    message, texts = {}, {}
    for name, data in events:
        if name == "message_start":
            message = data["message"]
        elif name == "content_block_start":
            message["content"].append(dict(data["content_block"]))
        elif name == "content_block_delta":
            delta = data["delta"]
            part = delta.get("text") or delta.get("partial_json") or delta.get("thinking") or ""
            texts[data["index"]] = texts.get(data["index"], "") + part
        elif name == "content_block_stop":
            block, text = message["content"][data["index"]], texts.get(data["index"], "")
            if block["type"] in ("tool_use", "server_tool_use"):
                block["input"] = json.loads(text or "{}")
            elif block["type"] in ("text", "thinking"):
                block[block["type"]] = text
        elif name == "message_delta":
            message |= data["delta"]
            message["usage"] |= data["usage"]
    return message


@asynccontextmanager
async def running(make, *turns, **options):
    model = Model(*turns)
    async with ScriptedUpstream(otherwise=model) as upstream:
        backend = BACKENDS[make] if isinstance(make, str) else make
        async with gateway(stack(backend(upstream.url), **options)) as found:
            yield Running(model, found)


def kinds(message):
    return [block.type for block in message.content]


def said(message):
    return " ".join(block.text for block in message.content if block.type == "text")


def assert_failed(call, result, name, kind):
    assert (call.type, call.name) == ("server_tool_use", name)
    assert call.id.startswith("srvtoolu_")
    assert (result.type, result.tool_use_id) == (kind, call.id)
    assert result.content.type == f"{kind}_error"
    assert result.content.error_code == "unavailable"


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
any_backend = pytest.mark.parametrize("backend", BACKENDS)


# ── the only tool ────────────────────────────────────────────────────────────────────────────


@both
@any_backend
@pytest.mark.parametrize("kind", SERVER)
async def test_a_server_tool_alone_gets_its_error_and_no_model_is_asked(backend, kind, stream):
    name, result, _ = SERVER[kind]
    async with running(backend) as found:
        message = await found.ask(tool(kind), stream=stream)
    assert found.model.asked == []
    assert_failed(*message.content[:2], name, result)
    assert kinds(message)[2:] == ["text"]
    assert "is not available through this gateway" in said(message)
    assert f"`{name}` runs on Anthropic's servers only" in said(message)
    assert (message.stop_reason, message.model) == ("end_turn", request_body()["model"])


async def test_the_search_that_claude_code_asks_for_names_its_query():
    async with running("ollama") as found:
        message = await found.ask(
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "Perform a web search for the query: oslo"}
                    ],
                }
            ],
            tool_choice={"type": "auto"},
        )
    assert message.content[0].input == {"query": "oslo"}
    assert "Nothing was searched" in said(message)


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "web_search"}])
async def test_a_forced_search_that_is_the_only_tool_gets_its_error_too(choice):
    async with running("anthropic-compatible") as found:
        message = await found.ask(tool("web_search_20250305"), tool_choice=choice)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]


async def test_where_no_tool_may_be_called_the_model_is_asked():
    async with running("anthropic-compatible", ("Hello.", [])) as found:
        message = await found.ask(tool("web_search_20250305"), tool_choice={"type": "none"})
    assert said(message) == "Hello."


async def test_the_receipt_says_why_no_model_was_asked():
    async with running("anthropic-compatible") as found:
        told = await found.receipt(tool("web_search_20250305"))
        answer = await found.post(tool("web_search_20250305"))
    assert "`web_search` runs on Anthropic's servers only, and is the only tool" in told
    assert "by=server-tools" in answer.headers["plugway-receipt"]


async def test_a_tool_that_is_only_called_web_search_is_the_clients_own():
    mine = {"name": "web_search", "input_schema": READ["input_schema"]}
    async with running("anthropic-compatible", ("", [("web_search", {"path": "a"})])) as found:
        message = await found.ask(mine)
    assert kinds(message) == ["tool_use"]
    assert found.model.asked[0]["tools"] == [mine]


# ── beside other tools ───────────────────────────────────────────────────────────────────────


@both
@any_backend
@pytest.mark.parametrize("kind", OFFERED)
async def test_a_call_beside_other_tools_fails_and_the_model_goes_on(backend, kind, stream):
    name, result, arguments = SERVER[kind]
    turns = ("I look.", [(name, arguments)]), ("I could not look.", [])
    async with running(backend, *turns) as found:
        message = await found.ask(tool(kind), READ, stream=stream)
    assert found.model.offered() == [name, "Read"]
    assert len(found.model.asked) == 2
    assert f"`{name}` is not available here" in json.dumps(found.model.asked[1])
    assert kinds(message) == ["text", "server_tool_use", result, "text"]
    assert_failed(*message.content[1:3], name, result)
    assert message.content[1].input == arguments
    assert said(message) == "I look. I could not look."
    assert message.stop_reason == "end_turn"


@both
@any_backend
async def test_a_call_of_the_clients_own_tool_beside_it_goes_out(backend, stream):
    calls = [("web_search", {"query": "oslo"}), ("Read", {"path": "a.txt"})]
    async with running(backend, ("", calls)) as found:
        message = await found.ask(tool("web_search_20250305"), READ, stream=stream)
        assert kinds(message) == ["server_tool_use", "web_search_tool_result", "tool_use"]
        assert message.stop_reason == "tool_use"
        answered = [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [b.model_dump(exclude_none=True) for b in message.content],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": message.content[2].id,
                        "content": "what is in it",
                    }
                ],
            },
        ]
        again = await found.post(tool("web_search_20250305"), READ, messages=answered)
    assert again.status_code == 200
    told = json.dumps(found.model.asked[1])
    assert "The call failed: unavailable." in told
    assert "what is in it" in told
    assert "server_tool_use" not in told
    assert told.index("The call failed") < told.index("a.txt") < told.index("what is in it")


@both
async def test_a_model_that_calls_without_end_is_stopped_and_the_turn_ends_in_our_words(stream):
    turn = ("", [("web_search", {"query": "oslo"})])
    async with running("anthropic-compatible", turn) as found:
        message = await found.ask(tool("web_search_20250305"), READ, stream=stream)
    assert len(found.model.asked) == 3
    assert kinds(message) == ["server_tool_use", "web_search_tool_result"] * 3 + ["text"]
    assert "Web search is not available" in said(message)
    assert message.stop_reason == "end_turn"


@both
@pytest.mark.parametrize(
    "second",
    [respond(500, {"type": "error", "error": {"type": "api_error", "message": "x"}}), ("", [])],
    ids=["an error", "nothing"],
)
async def test_where_the_model_has_no_last_word_ours_stands_for_it(second, stream):
    turns = ("I look.", [("web_fetch", {"url": "https://a.example"})]), second
    async with running("anthropic-compatible", *turns) as found:
        message = await found.ask(tool("web_fetch_20250910"), READ, stream=stream)
    assert kinds(message) == ["text", "server_tool_use", "web_fetch_tool_result", "text"]
    assert "Nothing was fetched" in said(message)
    assert message.stop_reason == "end_turn"


@both
async def test_parallel_calls_fail_together_and_the_model_is_asked_once_more(stream):
    calls = [("web_search", {"query": "a"}), ("web_fetch", {"url": "https://b.example"})]
    async with running("chat", ("", calls), ("Neither works.", [])) as found:
        tools = tool("web_search_20250305"), tool("web_fetch_20250910"), READ
        message = await found.ask(*tools, stream=stream)
    assert len(found.model.asked) == 2
    assert [block.name for block in message.content if block.type == "server_tool_use"] == [
        "web_search",
        "web_fetch",
    ]


async def test_the_usage_is_the_last_prompt_and_all_that_was_written():
    turns = ("I look.", [("web_search", {"query": "oslo"})]), ("No.", [])
    async with running("anthropic-compatible", *turns) as found:
        whole = await found.ask(tool("web_search_20250305"), READ)
    async with running("anthropic-compatible", *turns) as found:
        streamed = await found.ask(tool("web_search_20250305"), READ, stream=True)
    async with running("anthropic-compatible", ("No.", [])) as found:
        one = await found.ask(READ)
    assert whole.usage.input_tokens == streamed.usage.input_tokens == one.usage.input_tokens
    assert whole.usage.output_tokens == 2 * one.usage.output_tokens == streamed.usage.output_tokens


async def test_a_stream_in_which_no_server_tool_is_called_stays_as_it_is():
    async with running("anthropic-compatible", ("Hello.", [("Read", {"path": "a"})])) as found:
        with_it = await found.post(tool("web_search_20250305"), READ, stream=True)
        without = await found.post(READ, stream=True)
    number = b"toolu_1", b"toolu_2"
    assert with_it.content.replace(*number) == without.content


async def test_an_answer_that_breaks_off_after_the_error_is_cut_off_for_the_client_too():
    first = ("", [("web_search", {"query": "oslo"})])
    broken = sse(anthropic_stream("Half an answer")[:3], end=Cut())
    async with running("anthropic-compatible", first, broken) as found:
        with pytest.raises(Exception, match=r"(?i)incomplete|closed|peer"):
            await found.post(tool("web_search_20250305"), READ, stream=True)


async def test_tool_search_is_left_out_where_every_tool_is_offered_anyway():
    async with running("anthropic-compatible", ("Hello.", [])) as found:
        tools = tool("tool_search_tool_regex_20251119"), {**READ, "defer_loading": True}
        await found.ask(*tools)
        told = await found.receipt(*tools)
    assert found.model.asked[0]["tools"] == [READ]
    assert "left out: every tool is offered to the model at once" in told


async def test_a_call_that_was_written_as_text_fails_in_the_same_way():
    call = '<tool_call>\n{"name": "web_search", "arguments": {"query": "oslo"}}\n</tool_call>'
    async with running("anthropic-compatible", (call, []), ("No search here.", [])) as found:
        message = await found.ask(tool("web_search_20250305"), READ, stream=True)
    assert kinds(message) == ["server_tool_use", "web_search_tool_result", "text"]
    assert said(message) == "No search here."


# ── forced ───────────────────────────────────────────────────────────────────────────────────


@both
@any_backend
@pytest.mark.parametrize("kind", SERVER)
async def test_a_forced_call_that_cannot_run_is_refused_with_its_name_and_a_way_out(
    backend, kind, stream
):
    name = SERVER[kind][0]
    choice = {"type": "tool", "name": name}
    async with running(backend) as found:
        answer = await found.post(tool(kind), READ, tool_choice=choice, stream=stream)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    for part in (f"`{name}` (`{kind}`)", "`up/m` cannot run", "choose `auto`"):
        assert part in error["message"]
    assert found.model.asked == []


@any_backend
async def test_any_call_is_refused_where_only_server_tools_are_there(backend):
    tools = tool("web_search_20250305"), tool("web_fetch_20250910")
    async with running(backend) as found:
        answer = await found.post(*tools, tool_choice={"type": "any"})
    assert answer.status_code == 400
    assert "`web_search`" in answer.json()["error"]["message"]


@any_backend
@pytest.mark.parametrize(
    "unknown",
    [
        {"type": "computer_20251124", "name": "computer", "display_width_px": 1},
        {"type": "mystery_20990101", "name": "mystery"},
    ],
    ids=lambda tool: tool["name"],
)
async def test_a_forced_tool_that_only_anthropics_models_know_is_refused(backend, unknown):
    choice = {"type": "tool", "name": unknown["name"]}
    async with running(backend) as found:
        answer = await found.post(unknown, READ, tool_choice=choice)
    assert answer.status_code == 400
    assert f"`{unknown['name']}`" in answer.json()["error"]["message"]


@any_backend
async def test_such_a_tool_that_nobody_forces_is_left_out_with_a_line_on_the_receipt(backend):
    computer = {"type": "computer_20251124", "name": "computer", "display_width_px": 1}
    async with running(backend, ("Hello.", [])) as found:
        await found.ask(computer, READ)
        told = await found.receipt(computer, READ)
    assert found.model.offered() == ["Read"]
    assert "`computer` (`computer_20251124`) left out: only Anthropic's models know" in told


# ── tools that the client runs ───────────────────────────────────────────────────────────────


@both
@any_backend
@pytest.mark.parametrize("kind", CLIENT)
async def test_a_tool_that_the_client_runs_is_a_function_under_its_name(backend, kind, stream):
    name, arguments = CLIENT[kind]
    async with running(backend, ("", [(name, arguments)])) as found:
        choice = {"type": "tool", "name": name}
        message = await found.ask(tool(kind), tool_choice=choice, stream=stream)
    assert found.model.offered() == [name]
    assert kinds(message) == ["tool_use"]
    assert (message.content[0].name, message.content[0].input) == (name, arguments)


# ── who runs them ────────────────────────────────────────────────────────────────────────────


async def test_anthropics_own_backend_gets_the_request_as_it_is():
    tools = [tool(kind) for kind in (*SERVER, *CLIENT) if kind.endswith(("0305", "0910", "0124"))]

    def own(url):
        return build_plugin(Anthropic, "up", base_url=url, api_key="k")

    async with running(own, ("Hello.", [])) as found:
        await found.ask(*tools, tool_choice={"type": "tool", "name": "web_search"})
    assert found.model.asked[0]["tools"] == tools


async def test_openai_searches_by_itself_and_fetches_nothing():
    def own(url):
        return build_plugin(OpenAI, "up", base_url=f"{url}/v1", api_key="k")

    turns = ("", [("web_fetch", {"url": "https://a.example"})]), ("Found.", [])
    async with running(own, *turns) as found:
        message = await found.ask(tool("web_search_20250305"), tool("web_fetch_20250910"))
        await found.ask(tool("web_search_20250305"))
    assert found.model.offered() == ["web_search", "web_fetch"]
    assert found.model.asked[0]["tools"][0] == {"type": "web_search"}
    assert kinds(message) == ["server_tool_use", "web_fetch_tool_result", "text"]
    assert len(found.model.asked) == 3


async def test_a_server_that_is_said_to_search_gets_the_tool():
    def vendor(url):
        return build_plugin(AnthropicCompatible, "up", base_url=url, zone="vendor")

    keeps = {"backends": {"up": {"keep": ["server_tools"]}}}
    options = {"run_by": {"up": ["web_search"]}, "policy": keeps}
    tools = tool("web_search_20250305"), tool("web_fetch_20250910")
    async with running(vendor, ("Found.", []), **options) as found:
        await found.ask(*tools)
        await found.ask(tools[0])
    assert found.model.offered() == ["web_search", "web_fetch"]
    assert [body["tools"][0] for body in found.model.asked] == [tools[0], tools[0]]


def test_a_backend_that_does_not_exist_is_named():
    plugin = build_plugin(ServerTools, "server-tools", run_by={"vender": ["web_search"]})
    assert plugin.check({"vendor": "vendor"}) == [
        (("run_by", "vender"), "there is no backend `vender`; there are `vendor`")
    ]


@pytest.mark.parametrize("odd", [[], {}, 7, None], ids=repr)
async def test_odd_members_of_tools_and_blocks_do_no_harm(odd):
    """What a server refuses is its business; here it passes."""
    blocks = [
        {"type": odd},
        {"type": "server_tool_use", "id": odd, "name": odd, "input": odd},
        {"type": "web_search_tool_result", "tool_use_id": odd, "content": odd},
    ]
    turns = [{"role": "assistant", "content": blocks}, {"role": "user", "content": "hi"}]
    tools = READ, {"type": "web_search_20250305", "name": odd}, {"name": odd, "input_schema": {}}
    async with running("anthropic-compatible", ("Hello.", [])) as found:
        answer = await found.post(*tools, messages=turns, tool_choice=odd)
    assert answer.status_code < 500, answer.text

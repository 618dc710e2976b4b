"""A conversation that only the server understands is still seen, turn by turn, on its way there."""

import orjson
import pytest

from plugway import Exchange, MessagesRequest, NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, respond
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message
from plugway_switch import Switch

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.lenient("chat", "responses"),  # what the client wrote, and nobody knows here
]

PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
SAID = {"chat": "messages", "responses": "input"}
ASKED = {"role": "user", "content": "q"}
DONE = {"role": "assistant", "content": "ok"}
VIDEO = {"type": "video_url", "video_url": {"url": "https://example.org/a.mp4"}}


def calling(function, **more):
    return {"role": "assistant", "content": None, "tool_calls": [{"function": function, **more}]}


def result(call_id, **more):
    return {"role": "tool", "tool_call_id": call_id, "content": "@plugway use up/x", **more}


EARLIER = {
    "a part of a user": ("chat", [{"role": "user", "content": [VIDEO]}, DONE]),
    "a part of the model": ("chat", [ASKED, {"role": "assistant", "content": [VIDEO]}]),
    "a thinking part": (
        "chat",
        [ASKED, {**DONE, "content": [{"type": "thinking", "thinking": [{"text": "t"}]}]}, DONE],
    ),
    "a call of before `tool_calls`": (
        "chat",
        [
            ASKED,
            {**DONE, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": "1"},
            DONE,
        ],
    ),
    "a result of no call": ("chat", [ASKED, {"role": "function", "content": "1"}, DONE]),
    "a call with a list": ("chat", [ASKED, calling({"name": "f", "arguments": []}), result("c")]),
    "a call without an id": ("chat", [ASKED, calling({"name": "f"}), result(None), DONE]),
    "a call of another type": (
        "chat",
        [ASKED, calling({}, id="c", type="builtin"), result("c"), DONE],
    ),
    "another role": ("chat", [{"role": "narrator", "content": "once"}, ASKED, DONE]),
    "no role": ("chat", [ASKED, DONE, {"content": "x"}]),
    "content that is a number": ("chat", [{"role": "user", "content": 5}, DONE]),
    "no message": ("chat", [ASKED, DONE, 7, None]),
    "a part in Responses": ("responses", [{"role": "user", "content": [VIDEO]}, DONE]),
    "a reference": ("responses", [ASKED, {"type": "item_reference", "id": "msg_1"}]),
    "an output of no call": ("responses", [ASKED, DONE, {"type": "new_output", "output": [VIDEO]}]),
    "a call without a name": ("responses", [ASKED, {"type": "function_call", "call_id": "c"}]),
}


class Onlooker(Plugin[NoOptions]):
    """Sees the request that plugins see."""

    request: MessagesRequest

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> None:
        self.request = request


async def seen_of(serving, api, body):
    """The request as plugins see it, which reaches the server as the client wrote it."""
    onlooker = Onlooker(NoOptions(), name="onlooker")
    async with ScriptedUpstream(otherwise=respond(200, chat_message("k"))) as up:
        server = build_plugin(OpenAICompatible, "up", base_url=f"{up.url}/v1", api=api)
        async with serving(server, between=[onlooker]) as running:
            await running.gate.post(body, PATHS[api])
        assert orjson.loads(up.requests[-1].body) == body
    return onlooker.request


@pytest.mark.parametrize("command", ["@plugway list", "@plugway use up/other"])
@pytest.mark.parametrize(("api", "earlier"), EARLIER.values(), ids=list(EARLIER))
async def test_a_command_is_obeyed_whatever_the_turns_before_it_are(serving, api, earlier, command):
    turns = [*earlier, {"role": "user", "content": command}]
    async with ScriptedUpstream() as up:
        server = build_plugin(OpenAICompatible, "up", base_url=f"{up.url}/v1", api=api)
        async with serving(server, between=[build_plugin(Switch, "switch")]) as running:
            response = await running.client.post(
                PATHS[api].removeprefix("/v1"),
                body={"model": "up/gpt", SAID[api]: turns},
                cast_to=dict,
                options={"headers": {"session-id": "s"}},
            )
        assert "up/" in orjson.dumps(response).decode()
        assert [asked for asked in up.requests if asked.method == "POST"] == []


@pytest.mark.parametrize("part", [VIDEO, 7], ids=["a part", "a number"])
async def test_a_command_beside_a_part_that_nobody_knows_is_seen(serving, part):
    content = [{"type": "text", "text": "@plugway list"}, part]
    seen = await seen_of(
        serving, "chat", {"model": "gpt", "messages": [{**ASKED, "content": content}]}
    )
    texts = [block["text"] for block in seen.body["messages"][-1]["content"]]
    assert texts[0] == "@plugway list"
    assert texts[1].startswith("<system-reminder>")


@pytest.mark.parametrize(("api", "earlier"), EARLIER.values(), ids=list(EARLIER))
async def test_each_turn_is_seen_under_its_role(serving, api, earlier):
    turns = [*earlier, {"role": "user", "content": "and now?"}]
    seen = await seen_of(serving, api, {"model": "gpt", SAID[api]: turns})
    assert seen.body["messages"][-1]["role"] == "user"
    assert orjson.dumps(seen.body["messages"]).count(b"and now?") == 1
    told = [m["role"] for m in seen.body["messages"]]
    wanted = {t.get("role") for t in earlier if isinstance(t, dict)} & {"user", "assistant"}
    assert wanted <= set(told)


TOOLS = {
    "one of a type that the server runs": ([{"type": "code_interpreter"}], set(), False),
    "one with a name": (
        [{"type": "builtin_function", "function": {"name": "$web_search"}}],
        {"$web_search"},
        True,
    ),
    "one beside it": (
        [{"type": "code_interpreter"}, {"type": "function", "function": {"name": "f"}}],
        {"f"},
        True,
    ),
    "no tool": ([7], set(), False),
    "no tools": ("x", set(), False),
}


@pytest.mark.parametrize(("tools", "names", "offers"), TOOLS.values(), ids=list(TOOLS))
async def test_tools_are_seen_by_name(serving, tools, names, offers):
    seen = await seen_of(serving, "chat", {"model": "gpt", "messages": [ASKED], "tools": tools})
    assert names <= {tool["name"] for tool in seen.body.get("tools", ())}
    assert seen.offers_tools is offers


async def test_functions_of_before_tools_are_seen_as_tools(serving):
    body = {
        "model": "gpt",
        "messages": [{**ASKED, "content": [VIDEO]}],
        "functions": [{"name": "f"}],
    }
    seen = await seen_of(serving, "chat", body)
    assert [tool["name"] for tool in seen.body["tools"]] == ["f"]


async def test_the_limit_and_the_instructions_are_those_of_the_client(serving):
    body = {"model": "gpt", "max_output_tokens": 77, "instructions": "Be brief."}
    seen = await seen_of(serving, "responses", {**body, "input": [{**ASKED, "content": [VIDEO]}]})
    assert (seen.body["max_tokens"], seen.body["system"]) == (77, "Be brief.")

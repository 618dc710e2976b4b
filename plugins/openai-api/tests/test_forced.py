"""A call that a client of OpenAI's API demands, from a server that gets its bytes and makes none."""

import orjson
import pytest
from responses_answers import call, message, response, stream

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, respond, sse
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream
from plugway_tool_repair import ToolRepair

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.lenient("chat.known_fields", "chat.tool_choice"),  # as the client wrote them
]

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
CHAT_TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("f", "g")
]
FLAT_TOOLS = [{"type": "function", "name": name, "parameters": SCHEMA} for name in ("f", "g")]
USER = [{"role": "user", "content": "hi"}]
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
LACKS = "the reply lacks the call to {} that `tool_choice` requires"
HANDED_ON = "; it is passed on unchanged"


def body_of(api, choice, streams, **more):
    said = {"messages": USER, "tools": CHAT_TOOLS} if api == "chat" else {"input": "hi"}
    tools = {} if api == "chat" else {"tools": FLAT_TOOLS}
    body = {"model": "up/m", "stream": streams, "tool_choice": choice, **said, **tools, **more}
    return orjson.dumps(body)


def answer(api, streams, text="Hm.", name="", **more):
    if api == "chat":
        calls = [("call_1", name, '{"a":"1"}')] if name else []
        if streams:
            return sse(chat_stream(text, tool_calls=calls, **more))
        return respond(200, chat_message(text, tool_calls=calls, **more))
    items = [message(text)] if text else []
    items += [call(name, '{"a":"1"}')] if name else []
    made = response(*items)
    events = [(data["type"], data) for data in stream(made)]
    return sse(events) if streams else respond(200, made)


class Receipts(Plugin[NoOptions]):
    @hookimpl
    async def finished(self, exchange):
        self.lines = [entry.what for entry in exchange.receipt if "lacks" in entry.what]


class Asked:
    def __init__(self, serving):
        self.serving = serving

    async def __call__(self, api, body, *answers, between=()):
        receipts = Receipts(NoOptions(), name="receipts")
        async with ScriptedUpstream(*answers) as up:
            url = f"{up.url}/v1"
            backend = build_plugin(OpenAICompatible, "up", base_url=url, api=api, learn=False)
            async with self.serving(backend, between=(receipts, *between)) as running:
                found = await running.gate.post(body, PATHS[api])
            self.sent = [orjson.loads(request.body) for request in up.requests]
        self.lines, self.header = receipts.lines, found.headers["plugway-receipt"]
        return found


@pytest.fixture
def asked(serving):
    return Asked(serving)


NAMED = {"type": "function", "function": {"name": "f"}}
FLAT = {"type": "function", "name": "f"}
ALLOWED = [{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]
CHOICES = {
    "chat": [
        ("required", "one of the tools"),
        ("any", "one of the tools"),
        (NAMED, "the tool `f`"),
        ({"type": "custom", "custom": {"name": "f"}}, "the tool `f`"),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}, "the tool `f`"),
    ],
    "responses": [
        ("required", "one of the tools"),
        (FLAT, "the tool `f`"),
        ({"type": "custom", "name": "f"}, "the tool `f`"),
        ({"type": "allowed_tools", "mode": "required", "tools": ALLOWED}, "one of the tools"),
        ({"type": "web_search_preview"}, "one of the tools"),
        ({"type": "mcp", "server_label": "x"}, "one of the tools"),
    ],
}  # fmt: skip
DEMANDS = [(api, *row) for api, rows in CHOICES.items() for row in rows]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("api", "choice", "which"), DEMANDS)
async def test_words_instead_of_the_call_are_on_the_receipt(asked, api, choice, which, streams):
    script = answer(api, streams)
    found = await asked(api, body_of(api, choice, streams), script)
    assert found.status_code == 200
    assert b"Hm." in found.content
    assert asked.lines == [LACKS.format(which) + HANDED_ON]
    assert streams or "by=up" in asked.header, "a whole answer says in its head that there is more"


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("api", "choice", "which"), DEMANDS)
async def test_the_call_that_came_needs_no_word(asked, api, choice, which, streams):
    await asked(api, body_of(api, choice, streams), answer(api, streams, name="f"))
    assert asked.lines == []


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("api", "choice"), [("chat", NAMED), ("responses", FLAT)])
async def test_the_call_of_another_tool_is_not_the_one(asked, api, choice, streams):
    await asked(api, body_of(api, choice, streams), answer(api, streams, name="g"))
    assert asked.lines == [LACKS.format("the tool `f`") + HANDED_ON]


@pytest.mark.parametrize("choice", ["auto", "none", None, {"type": "auto"}, {"type": "none"}])
@pytest.mark.parametrize("api", PATHS)
async def test_where_nothing_is_demanded_nothing_lacks(asked, api, choice):
    await asked(api, body_of(api, choice, True), answer(api, True))
    assert asked.lines == []


async def test_a_name_that_comes_in_pieces_is_one_name(asked):
    def delta(name):
        piece = {"index": 0, "function": {"name": name}}
        return {"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}

    body = body_of("chat", {"type": "function", "function": {"name": "find"}}, True)
    pieces = [*(("message", delta(name)) for name in ("fi", "nd")), b"data: [DONE]\n\n"]
    await asked("chat", body, sse(pieces))
    assert asked.lines == []


# ── with `tool-repair`, as for every other client ────────────────────────────────────────────────


def repair(**options):
    return (build_plugin(ToolRepair, "tool-repair", **options),)


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize(("api", "choice"), [("chat", NAMED), ("responses", FLAT)])
async def test_the_model_is_asked_once_more(asked, api, choice, streams):
    scripts = answer(api, streams), answer(api, streams, "", "f")
    body = body_of(api, choice, streams)
    found = await asked(api, body, *scripts, between=repair())
    assert b"Hm." not in found.content, "the words were held back"
    assert b'\\"a\\"' in found.content
    assert asked.sent[0] == {**orjson.loads(body), "model": "m"}
    said = asked.sent[1]["messages" if api == "chat" else "input"]
    assert "Call the tool `f` now" in str(said[-1])
    assert asked.lines == ["retried: " + LACKS.format("the tool `f`")]


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("api", PATHS)
async def test_a_call_that_comes_goes_out_to_the_byte(asked, api, streams):
    script = answer(api, streams, name="f")
    plain = await asked(api, body_of(api, "required", streams), script)
    found = await asked(api, body_of(api, "required", streams), script, between=repair())
    assert found.content == plain.content
    assert len(asked.sent) == 1


@pytest.mark.parametrize("more", [{"n": 2}, {"logprobs": True}, {"seed": 1}, {"unknown": 1}])
async def test_what_only_the_servers_own_api_can_say_is_not_asked_again(asked, more):
    body = body_of("chat", "required", True, **more)
    found = await asked("chat", body, answer("chat", True), between=repair())
    assert b"Hm." in found.content
    assert len(asked.sent) == 1
    assert asked.lines == [LACKS.format("one of the tools") + HANDED_ON]


@pytest.mark.parametrize("streams", [False, True])
async def test_a_refusal_is_not_argued_with(asked, streams):
    script = answer("chat", streams, finish="content_filter")
    await asked("chat", body_of("chat", "required", streams), script, between=repair())
    assert len(asked.sent) == 1
    assert asked.lines == [LACKS.format("one of the tools") + HANDED_ON]


async def test_without_asking_again_it_is_told_all_the_same(asked):
    body = body_of("chat", "required", True)
    await asked("chat", body, answer("chat", True), between=repair(ask_again=False))
    assert len(asked.sent) == 1
    assert asked.lines == [LACKS.format("one of the tools") + HANDED_ON]


async def test_a_server_that_never_calls_is_told_of(asked):
    scripts = [answer("chat", True)] * 3
    await asked("chat", body_of("chat", "required", True), *scripts, between=repair())
    assert len(asked.sent) <= 3
    assert asked.lines[-1] == LACKS.format("one of the tools") + HANDED_ON

"""A client of Responses may refer to items of the last answers, as the AI SDK does, and to no others.

Which items it refers to: the AI SDK to its texts, its calls and its reasoning (`@ai-sdk/openai`,
`convert-to-openai-responses-input`); a `type` may be missing (`ItemReference` of the `openai` SDK).
"""

from contextlib import asynccontextmanager
from functools import partial

import anyio
import anyio.lowlevel
import orjson
import pytest
from gemini_answers import answered, piece
from gemini_answers import call as gemini_call
from gemini_answers import text as gemini_text
from openai_answers import answer_of, message

from plugway.config.config import parse_config
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_openai_api import OpenAIApi
from plugway_openai_api._item_store import MOST_CALLERS, ItemStore, ItemStores
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_server

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

USER = {"role": "user", "content": [{"type": "input_text", "text": "look"}]}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "patch"}
SPACE = {"type": "namespace", "name": "git", "description": "d", "tools": [LOOK]}


def messages_server(calls, request):
    if request.method == "GET":
        return respond(404)
    if request.json.get("stream"):
        return sse(anthropic_stream("I look.", thinking="hm", tool_calls=calls))
    return respond(200, anthropic_message("I look.", thinking="hm", tool_calls=calls))


def gemini_server(calls, request):
    if "enerateContent" not in request.path:
        return respond(404)
    parts = [gemini_text("I look."), *(gemini_call(name, given) for name, given in calls)]
    return answered(request, piece(*parts, finish="STOP"))


def chat(calls):
    told = [
        (f"call_{i}", name, orjson.dumps(given).decode()) for i, (name, given) in enumerate(calls)
    ]
    return chat_server("I look.", tool_calls=told)


BACKENDS = {
    "messages": (
        lambda url: build_plugin(AnthropicCompatible, "up", base_url=url, models=["m"]),
        lambda calls: partial(messages_server, calls),
    ),
    "chat": (
        lambda url: build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1"),
        chat,
    ),
    "gemini": (
        lambda url: build_plugin(Gemini, "up", base_url=url, api_key="k"),
        lambda calls: partial(gemini_server, calls),
    ),
}
ONE, TWO = "one-token-one-token", "two-token-two-token"
CALLERS = [
    {"name": name, "token": f"{name}-token-{name}-token", "models": ["*"]}
    for name in ("one", "two")
]
CASES = {
    "a text": ([], [LOOK]),
    "a call": ([("look", {"at": "x"})], [LOOK]),
    "parallel calls": ([("look", {"at": "x"}), ("look", {"at": "y"})], [LOOK]),
    "a call without arguments": ([("look", {})], [LOOK]),
    "a custom call": ([("patch", {"input": "*** Begin"})], [PATCH]),
    "a call in a namespace": ([("git__look", {"at": "é"})], [SPACE]),
}


@asynccontextmanager
async def running(backend, calls):
    make, server = BACKENDS[backend]
    async with ScriptedUpstream(otherwise=server(calls)) as upstream:
        stack = [build_plugin(OpenAIApi, "openai-api"), make(upstream.url)]
        async with gateway(stack, tokens=CALLERS) as gate:
            yield Client(gate, upstream)


class Client:
    """Asks as one caller or another."""

    def __init__(self, gate, upstream):
        self.gate = gate
        self.upstream = upstream

    async def post(self, body, token=""):
        headers = {"content-type": "application/json"}
        headers["authorization"] = f"Bearer {token or self.gate.token}"
        body = {"model": "up/m", **body}
        return await self.gate.client.post(
            "/v1/responses", content=orjson.dumps(body), headers=headers
        )

    async def answer(self, token="", **fields):
        """The output items of an answer."""
        found = await self.post({"input": [USER], **fields}, token)
        assert found.status_code == 200, found.text
        if not fields.get("stream"):
            return found.json()["output"]
        last = found.content.strip().rpartition(b"\ndata: ")[2]
        return orjson.loads(last)["response"]["output"]

    @property
    def sent(self):
        """What the conversation was when it was asked last, without what is new each time."""
        body = self.upstream.requests[-1].json
        return body.get("messages") or body["contents"]


def outputs(items):
    kinds = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
    return [
        {"type": kinds[item["type"]], "call_id": item["call_id"], "output": "seen"}
        for item in items
        if item["type"] in kinds
    ] or [USER]


@pytest.mark.parametrize("token", ["", ONE])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_reference_is_as_good_as_the_item(backend, case, stream, token):
    calls, tools = CASES[case]
    async with running(backend, calls) as client:
        items = await client.answer(token, stream=stream, tools=tools)
        assert len(items) >= max(1, len(calls))
        sent = []
        for form in (
            lambda item: item,
            lambda item: {"type": "item_reference", "id": item["id"]},
            lambda item: {"id": item["id"]},
            lambda item: {"type": None, "id": item["id"]},
        ):
            said = [USER, *map(form, items), *outputs(items)]
            found = await client.post({"input": said, "tools": tools}, token)
            assert found.status_code == 200, found.text
            sent.append(client.sent)
        assert sent[1:] == [sent[0]] * 3
        assert "I look." in orjson.dumps(sent[0]).decode()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_every_turn_of_a_loop_is_remembered_though_a_server_repeats_its_ids(backend):
    """The scripted servers give each answer the same id."""
    async with running(backend, [("look", {"at": "x"})]) as client:
        said, ids = [USER], set()
        for _ in range(4):
            items = await client.answer(input=said, tools=[LOOK])
            ids |= {item["id"] for item in items}
            said += [{"type": "item_reference", "id": item["id"]} for item in items]
            said += outputs(items)
        assert len(ids) == 4 * len(items)
        assert orjson.dumps(client.sent).count(b"I look.") == 3


@pytest.mark.parametrize("backend", BACKENDS)
async def test_nobody_refers_to_what_another_was_told(backend):
    async with running(backend, []) as client:
        (*_, item) = await client.answer(ONE)
        before = len(client.upstream.requests)
        body = {"input": [USER, {"type": "item_reference", "id": item["id"]}, USER]}
        assert (await client.post(body, TWO)).status_code == 403
        assert (await client.post(body)).status_code == 400
        assert len([r for r in client.upstream.requests[before:] if r.method == "POST"]) == 0
        assert (await client.post(body, ONE)).status_code == 200


@pytest.mark.parametrize(
    "reference",
    [
        {"type": "item_reference", "id": "msg_unknown"},
        {"id": "fc_unknown"},
        {"type": "item_reference", "id": ""},
        {"type": "item_reference"},
        {"type": "item_reference", "id": 3},
        {"type": "item_reference", "id": "x" * 9000},
    ],
)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_is_not_kept_is_refused_with_the_setting_that_helps(backend, reference):
    async with running(backend, []) as client:
        found = await client.post({"input": [USER, reference, USER]})
    assert found.status_code == 400
    message = found.json()["error"]["message"]
    assert "`item_reference`" in message
    assert "`store: false`" in message
    assert len(message) < 500


async def test_with_store_false_nothing_is_kept():
    async with running("messages", []) as client:
        (*_, item) = await client.answer(store=False)
        found = await client.post({"input": [{"type": "item_reference", "id": item["id"]}]})
    assert found.status_code == 400


async def test_an_item_that_is_referred_to_again_stands_once():
    """The AI SDK refers to a message once for each of its texts."""
    async with running("messages", []) as client:
        (*_, item) = await client.answer()
        reference = {"type": "item_reference", "id": item["id"]}
        found = await client.post({"input": [USER, *[reference] * 3, USER, reference]})
        assert found.status_code == 200, found.text
        assert orjson.dumps(client.sent).count(b"I look.") == 1


async def test_answers_at_the_same_time_have_ids_of_their_own_though_a_server_repeats_its():
    first, second = anyio.Event(), anyio.Event()
    events = {
        text: [*made[:3], WaitFor(event), *made[3:]]
        for text, event in (("FIRST", first), ("SECOND", second))
        for made in [anthropic_stream(text)]
    }

    def server(request):
        if request.method == "GET":
            return respond(404)
        said = str(request.json["messages"][0]["content"])
        return sse(events[said]) if said in events else respond(200, anthropic_message("k"))

    async with ScriptedUpstream(otherwise=server) as upstream:
        server = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        async with gateway([build_plugin(OpenAIApi, "openai-api"), server]) as gate:
            client = Client(gate, upstream)
            found = {}

            async def ask(text):
                (found[text],) = await client.answer(input=text, stream=True)

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, "FIRST")
                tasks.start_soon(ask, "SECOND")
                while sum(r.method == "POST" for r in upstream.requests) < 2:
                    await anyio.lowlevel.checkpoint()
                second.set()
                first.set()
            assert found["FIRST"]["id"] != found["SECOND"]["id"]
            for text, item in found.items():
                reference = {"type": "item_reference", "id": item["id"]}
                assert (await client.post({"input": [USER, reference, USER]})).status_code == 200
                assert text in orjson.dumps(client.sent).decode()


async def test_a_server_of_responses_gets_references_to_its_own_items_as_they_are():
    answer = answer_of(message("Hi."))
    async with ScriptedUpstream(otherwise=respond(200, answer)) as upstream:
        server = build_plugin(
            OpenAICompatible, "up", base_url=f"{upstream.url}/v1", api="responses"
        )
        async with gateway([build_plugin(OpenAIApi, "openai-api"), server]) as gate:
            client = Client(gate, upstream)
            said = [USER, {"type": "item_reference", "id": "msg_theirs"}, USER]
            assert (await client.post({"input": said})).status_code == 200
            assert upstream.requests[-1].json["input"] == said


async def test_a_server_of_responses_gets_whole_what_was_made_elsewhere():
    answer = answer_of(message("Hi."))
    async with (
        ScriptedUpstream(otherwise=partial(messages_server, [("look", {})])) as first,
        ScriptedUpstream(otherwise=respond(200, answer)) as second,
    ):
        stack = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(AnthropicCompatible, "up", base_url=first.url, models=["m"]),
            build_plugin(
                OpenAICompatible, "other", base_url=f"{second.url}/v1", api="responses", zone="b"
            ),
        ]
        async with gateway(stack) as gate:
            client = Client(gate, second)
            items = await client.answer(tools=[LOOK])
            items = [item for item in items if item["type"] != "reasoning"]
            said = [{"type": "item_reference", "id": item["id"]} for item in items]
            found = await client.post({"model": "other/m", "input": [USER, *said, *outputs(items)]})
            assert found.status_code == 200
            assert second.requests[-1].json["input"][1:-1] == items


async def test_what_is_kept_outlives_a_change_of_the_configuration():
    async with running("messages", []) as client:
        (*_, item) = await client.answer()
        config = parse_config(
            f'server: {{token: "{client.gate.token}"}}\n'
            "plugins: [{use: openai-api}, {use: anthropic-compatible, name: up, "
            f"options: {{base_url: '{client.upstream.url}', models: [m]}}}}]",
            "test",
        )
        await client.gate.app.reload(config)
        said = [USER, {"type": "item_reference", "id": item["id"]}, USER]
        found = await client.post({"input": said})
        assert found.status_code == 200, found.text
        assert b"I look." in client.upstream.requests[-1].body


def test_what_was_used_longest_ago_goes_first():
    store = ItemStore(most_bytes=3000)
    for name in "abc":
        store.keep({"id": name, "text": "x" * 450})
    assert store.find("a") is not None
    store.keep({"id": "d", "text": "x" * 450})
    assert [name for name in "abcd" if store.find(name)] == ["a", "c", "d"]
    store.keep({"id": "e", "text": "x" * 3000})
    assert store.find("e") is None


def test_an_item_kept_anew_counts_once():
    store = ItemStore(most_bytes=2000)
    for _ in range(50):
        store.keep({"id": "a", "text": "x" * 450})
        store.keep({"id": "b", "text": "x" * 450})
    assert store.find("a")
    assert store.find("b")


def test_of_too_many_callers_the_oldest_is_forgotten():
    stores = ItemStores()
    stores.of("first").keep({"id": "a"})
    for number in range(MOST_CALLERS - 1):
        stores.of(str(number))
    assert stores.of("first").find("a")
    for number in range(MOST_CALLERS):
        stores.of(str(number))
    assert stores.of("first").find("a") is None

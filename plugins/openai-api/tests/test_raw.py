"""In front of a server that speaks the client's own API nothing is translated: bytes are relayed."""

import openai
import orjson
import pytest
import responses_answers

from plugway import REMOVE, Exchange, MessagesRequest, NoOptions, Outcome, Plugin, Usage, hookimpl
from plugway.testing import ScriptedUpstream, build_plugin, respond, sse
from plugway_context_guard import ContextGuard
from plugway_field_policy import FieldPolicy
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_chunks, chat_message
from plugway_router import Router

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.timeout(60),
    pytest.mark.lenient("chat", "responses"),  # what the client wrote, and nobody knows here
]

CHAT = b"""{ "model" : "up/gpt",
  "messages": [{"role": "user", "content": "hi", "made_up": 1.50}],
  "n": 2, "logprobs": true, "seed": 7, "audio": {"voice": "alloy", "format": "wav"},
  "modalities": ["text", "audio"], "unknown": {"b": 1, "a": [null]}, "stream": STREAM }"""
RESPONSES = b"""{ "model": "up/gpt", "input": "hi", "previous_response_id": "resp_0",
  "background": true, "tools": [{"type": "web_search"}], "unknown": [1.0], "stream": STREAM }"""
PATHS = {"chat": "/v1/chat/completions", "responses": "/v1/responses"}
BODIES = {"chat": CHAT, "responses": RESPONSES}
ANSWER = b'{"id": "x",  "choices": [{"index": 1}, {"index": 0}], "odd": 1.0}'
PIECES = {
    "chat": [b'data: {"choices": [], "odd": 1.0}\n\n', b": comment\n\n", b"data: [DONE]\n\n"],
    "responses": [
        b'event: response.created\ndata: {"type": "response.created", "odd": 1.0}\n\n',
        b'event: response.completed\ndata: {"type": "response.completed"}\n\n',
    ],
}


@pytest.fixture
async def up():
    async with ScriptedUpstream() as upstream:
        yield upstream


def backend(upstream, api):
    return build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1", api=api, learn=False)


def body_of(api, stream):
    return BODIES[api].replace(b"STREAM", b"true" if stream else b"false")


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_every_byte_goes_both_ways_but_for_the_models_name(serving, up, api, stream):
    body = body_of(api, stream)
    up.script(sse(PIECES[api]) if stream else respond(200, ANSWER, JSON))
    async with serving(backend(up, api)) as running:
        response = await running.gate.post(body, PATHS[api])
    assert response.status_code == 200
    assert response.content == (b"".join(PIECES[api]) if stream else ANSWER)
    (asked,) = up.requests
    assert asked.path == PATHS[api]
    assert orjson.loads(asked.body) == {**orjson.loads(body), "model": "gpt"}
    assert (b'{"b": 1, "a": [null]}' if api == "chat" else b"[1.0]") in asked.body


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_an_answer_of_several_images_is_handed_on_as_it_came(serving, up, api):
    answer = b'{"choices": [{}], "output": [], "images": ["%s"]}' % b'", "'.join(
        [b"QUJD" * 2**19] * 5
    )
    up.script(respond(200, answer, JSON))
    async with serving(backend(up, api)) as running:
        response = await running.gate.post(body_of(api, False), PATHS[api])
    assert response.content == answer


class Seer(Plugin[NoOptions]):
    """Sees how exchanges ended."""

    outcome: Outcome

    @hookimpl
    async def finished(self, outcome: Outcome) -> None:
        self.outcome = outcome


COUNTS = {
    "chat": {"prompt_tokens": 50, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 20}},
    "responses": {"input_tokens": 50, "output_tokens": 7, "input_tokens_details": {"cached_tokens": 20}},
}  # fmt: skip


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_counts_of_an_answer_that_is_only_relayed_are_known(serving, up, api, stream):
    answer = {"type": "response.completed", "response": {"usage": COUNTS[api]}}
    if api == "chat" or not stream:
        answer = {"choices": [{}], "output": [], "usage": COUNTS[api]}
    early = {"choices": [], "usage": None, "said": '"usage"'}
    pieces = [b"data: %s\n\n" % orjson.dumps(told) for told in (early, answer)]
    up.script(sse([*pieces, b"data: [DONE]\n\n"]) if stream else respond(200, answer, JSON))
    seer = Seer(NoOptions(), name="seer")
    async with serving(backend(up, api), between=[seer]) as running:
        await running.gate.post(body_of(api, stream), PATHS[api])
    assert seer.outcome.usage == Usage(30, 7, 20, 0)


STRANGE = [
    {"messages": [{"role": "narrator", "content": "hi"}]},
    {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}]},
    {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]},
    {"response_format": {"type": "grammar", "grammar": "root ::= x"}},
    {"reasoning_effort": "ultra", "temperature": 5, "stop": 7},
    {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
]


NO_CONVERSATION = [True, False, 7, {}, [], "", None, {"a": []}]


@pytest.mark.parametrize("filler", [0, 5000], ids=["small", "large"])
@pytest.mark.parametrize("said", NO_CONVERSATION, ids=repr)
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_what_is_no_conversation_is_refused_and_not_relayed(serving, up, api, said, filler):
    field = "messages" if api == "chat" else "input"
    body = {"model": "up/m", field: said, "user": "u" * filler}
    async with serving(backend(up, api)) as running:
        response = await running.gate.post(orjson.dumps(body), PATHS[api])
    assert response.status_code == 400
    assert not up.requests


PAGES = {
    "a page": respond(200, b"<html>Welcome</html>", {"content-type": "text/html"}),
    "nothing": respond(200),
    "no content": [b"HTTP/1.1 204 No Content\r\n\r\n"],
    "an error": respond(200, {"error": {"message": "busy"}}),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=list(PAGES))
@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_success_that_is_no_answer_is_a_failure(serving, up, api, stream, page):
    up.script(page)
    async with serving(backend(up, api)) as running:
        response = await running.gate.post(body_of(api, stream), PATHS[api])
    assert response.status_code == 502
    assert "`up`" in response.json()["error"]["message"]


HELLO = responses_answers.response(responses_answers.message("Hello."))
WHOLE = {"chat": chat_message("Hello."), "responses": HELLO}
STREAMED = {
    "chat": [*chat_chunks("Hello."), "[DONE]"],
    "responses": list(responses_answers.stream(HELLO, chop=10)),
}


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_gets_a_stream_or_a_whole_answer_as_it_asked(serving, up, api, stream):
    events = [
        b"data: %b\n\n" % (b"[DONE]" if data == "[DONE]" else orjson.dumps(data))
        for data in STREAMED[api]
    ]
    up.script(respond(200, WHOLE[api]) if stream else sse(events))
    async with serving(backend(up, api)) as running:
        body = {"model": "up/gpt", "stream": stream}
        body |= {"input": "hi"} if api == "responses" else {"messages": [{"role": "user", "content": "hi"}]}  # fmt: skip
        response = await running.gate.post(body, PATHS[api])
    assert response.status_code == 200
    kind = "text/event-stream" if stream else "application/json"
    assert response.headers["content-type"].startswith(kind)
    assert "Hello." in response.text


@pytest.mark.parametrize("fields", STRANGE)
async def test_what_only_the_server_understands_reaches_it_and_nobody_else(serving, up, fields):
    body = {"model": "up/gpt", "messages": [{"role": "user", "content": "hi"}], **fields}
    up.script(respond(200, ANSWER, JSON))
    async with serving(backend(up, "chat")) as running:
        response = await running.gate.post(body, PATHS["chat"])
    assert response.content == ANSWER
    assert orjson.loads(up.requests[0].body) == {**body, "model": "gpt"}
    async with serving(backend(up, "responses")) as running:
        response = await running.gate.post(body, PATHS["chat"])
    assert response.status_code == 400
    assert response.json()["error"]["param"]
    assert len(up.requests) == 1


JSON = {"content-type": "application/json"}


class Meddler(Plugin[NoOptions]):
    """Changes a request."""

    @hookimpl
    def transform_request(self, request: MessagesRequest, exchange: Exchange) -> MessagesRequest:
        return request.replace(because="a test", temperature=0.5, metadata=REMOVE)


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_changed_request_is_translated_and_then_refused_for_what_is_lost(serving, up, api):
    meddler = Meddler(NoOptions(), name="meddler")
    async with serving(backend(up, api), between=[meddler]) as running:
        response = await running.gate.post(body_of(api, False), PATHS[api])
    assert response.status_code == 400
    assert up.requests == []


LISTED = respond(200, {"data": []})
"""What `context-guard` is told when it asks for windows."""


def guarded():
    """Plugins that lower `max_tokens` to what a small window has."""
    guard = build_plugin(ContextGuard, "context-guard", windows={"up/*": 16384})
    return [guard, build_plugin(FieldPolicy, "field-policy")]


class Reader(Plugin[NoOptions]):
    """Reads receipts."""

    lines: list[tuple[str, str]]

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        self.lines = [(entry.stage, entry.what) for entry in exchange.receipt]


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("status", [200, 400])
async def test_a_request_that_is_relayed_as_it_came_has_a_receipt_that_says_so(
    serving, up, api, status
):
    error = {"error": {"message": "Unsupported value: 'n'.", "type": "x", "code": "y"}}
    up.script(LISTED, respond(200, ANSWER, JSON) if status == 200 else respond(400, error))
    reader = Reader(NoOptions(), name="reader")
    async with serving(backend(up, api), between=[reader, *guarded()]) as running:
        response = await running.gate.post(body_of(api, False), PATHS[api])
    assert response.status_code == status
    body = orjson.loads(body_of(api, False))
    assert orjson.loads(up.requests[-1].body) == {**body, "model": "gpt"}
    assert "changes=0" in response.headers["plugway-receipt"]
    assert "; by=" not in response.headers["plugway-receipt"]
    assert {stage for stage, _ in reader.lines} == {"route"}
    assert "receives the prompt as the client wrote it" in reader.lines[-1][1]


async def test_a_fallback_that_is_translated_to_says_what_was_lost(serving, up):
    full = respond(503, {"error": {"message": "full"}})
    up.script(full, LISTED, respond(200, TOLD["responses"]))
    router = build_plugin(Router, "router", models={"*": ["up/gpt", "other/gpt"]})
    other = build_plugin(
        OpenAICompatible, "other", base_url=f"{up.url}/v1", api="responses", learn=False
    )
    body = {"model": "x", "seed": 7, "messages": [{"role": "user", "content": "hi"}]}
    async with serving(backend(up, "chat"), other, between=[router]) as running:
        response = await running.gate.post(body, PATHS["chat"])
    assert response.status_code == 200
    assert "served-by=other/gpt" in response.headers["plugway-receipt"]
    assert "openai-chat" in response.headers["plugway-receipt"]


LIMITS = {"chat": "max_completion_tokens", "responses": "max_output_tokens"}


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_limit_that_the_client_gave_is_lowered_in_its_own_bytes(serving, up, api):
    body = orjson.loads(body_of(api, False)) | {LIMITS[api]: 30_000}
    up.script(LISTED, respond(200, ANSWER, JSON))
    async with serving(backend(up, api), between=guarded()) as running:
        response = await running.gate.post(body, PATHS[api])
    assert response.status_code == 200
    sent = orjson.loads(up.requests[-1].body)
    assert 8_000 < sent[LIMITS[api]] < 16_384
    assert sent == {**body, "model": "gpt", LIMITS[api]: sent[LIMITS[api]]}
    assert "changes=1; by=context-guard" in response.headers["plugway-receipt"]


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_server_of_the_other_api_is_translated_to(serving, up, api):
    other = "responses" if api == "chat" else "chat"
    up.script(respond(200, TOLD[other]))
    async with serving(backend(up, other)) as running:
        if api == "chat":
            user = [{"role": "user", "content": "hi"}]
            found = await running.client.chat.completions.create(
                model="up/gpt", messages=user, max_tokens=9
            )
            said = found.choices[0].message.content
        else:
            found = await running.client.responses.create(
                model="up/gpt", input="hi", max_output_tokens=16
            )
            said = found.output_text
    assert said == "Hello."
    assert up.requests[0].path == PATHS[other]


TOLD = {
    "chat": {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    },
    "responses": {
        "id": "r",
        "object": "response",
        "status": "completed",
        "model": "gpt",
        "output": [
            {
                "type": "message",
                "id": "m",
                "role": "assistant",
                "status": "completed",
                "content": [{"type": "output_text", "text": "Hello.", "annotations": []}],
            }
        ],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    },
}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_servers_own_error_reaches_its_own_client(serving, up, stream):
    error = {
        "message": "Unsupported value: 'n'.",
        "type": "invalid_request_error",
        "param": "n",
        "code": "unsupported_value",
    }
    up.script(respond(400, {"error": error}))
    async with serving(backend(up, "chat")) as running:
        with pytest.raises(openai.BadRequestError) as raised:
            user = [{"role": "user", "content": "hi"}]
            await running.client.chat.completions.create(
                model="up/gpt", messages=user, n=2, stream=stream
            )
    assert raised.value.body == error


async def test_a_refused_key_is_told_by_its_place(serving, up):
    up.script(respond(401, {"error": {"message": "Incorrect key: sk-abc", "code": "x"}}))
    async with serving(backend(up, "chat")) as running:
        with pytest.raises(openai.AuthenticationError) as raised:
            user = [{"role": "user", "content": "hi"}]
            await running.client.chat.completions.create(model="up/gpt", messages=user)
    assert "`up`" in raised.value.message


@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_relayed_stream_that_breaks_off_does_not_look_complete(serving, up, api):
    up.script(sse(PIECES[api][:1], end=b"0\r\n\r\n"))
    async with serving(backend(up, api)) as running:
        with pytest.raises(openai.APIConnectionError):
            if api == "chat":
                user = [{"role": "user", "content": "hi"}]
                stream = await running.client.chat.completions.create(
                    model="up/gpt", messages=user, stream=True
                )
            else:
                stream = await running.client.responses.create(
                    model="up/gpt", input="hi", stream=True
                )
            async for _ in stream:
                pass


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize("raw", [True, False])
async def test_explain_shows_what_becomes_of_a_request_of_this_api(serving, up, api, raw):
    other = "responses" if api == "chat" else "chat"
    up.script(*([respond(200, ANSWER, JSON)] if raw else [LISTED, respond(200, TOLD[other])]))
    body = {"model": "up/gpt", "temperature": 0.5}
    own = {
        "chat": {"messages": [USER], "seed": 7},
        "responses": {"input": "hi", "truncation": "auto"},
    }
    body |= own[api]
    async with serving(backend(up, api if raw else other)) as running:
        explained = await running.gate.post(body, f"{PATHS[api]}/explain")
        assert up.requests == []
        answered = await running.gate.post(body, PATHS[api])
    assert answered.status_code == explained.status_code == 200
    said, request = explained.json(), up.requests[-1]
    assert said["upstream_request"]["url"] == f"{up.url}{request.path}"
    assert said["upstream_request"]["body"] == request.json
    dropped = any(
        line["what"].startswith(("drop seed", "drop truncation")) for line in said["receipt"]
    )
    assert dropped is not raw


async def test_explain_of_what_is_no_request_is_told_in_the_gateways_words(serving, up):
    async with serving(backend(up, "chat")) as running:
        response = await running.gate.post({"model": "up/gpt"}, "/v1/chat/completions/explain")
    assert response.status_code == 400
    assert response.json()["type"] == "error"


USER = {"role": "user", "content": "hi"}


BARE = {
    "chat": {"model": "up/gpt", "messages": [{"role": "user", "content": "hi"}]},
    "responses": {"model": "up/gpt", "input": "hi"},
}


@pytest.mark.parametrize("api", ["chat", "responses"])
@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"tools": []}, {}),
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
        ({"tools": [], "tool_choice": "none"}, {}),
        ({"tools": [], "tool_choice": "required"}, {"tool_choice": "required"}),
        ({"tools": None}, {"tools": None}),
    ],
)
async def test_an_empty_list_of_tools_is_left_out(serving, up, api, given, left):
    """OpenAI refuses it ("empty array"), as do DeepSeek and DashScope (earendil-works/pi#3649);
    Strands sends it."""
    up.script(respond(200, ANSWER, JSON))
    async with serving(backend(up, api)) as running:
        response = await running.gate.post({**BARE[api], **given}, PATHS[api])
    assert response.content == ANSWER
    assert up.requests[-1].json == {**BARE[api], "model": "gpt", **left}

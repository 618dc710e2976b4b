"""Answers in Google's words: whole, as events, and as an array."""

import anyio
import orjson
import pytest

from plugway import InvalidRequest
from plugway.testing import (
    PlainBackend,
    PlainOptions,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)
from plugway_wire.errors import error_type

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

USAGE = {
    "input_tokens": 5,
    "cache_read_input_tokens": 30,
    "cache_creation_input_tokens": 7,
    "output_tokens": 9,
    "output_tokens_details": {"thinking_tokens": 4},
}
SHOWN = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
LOOK = {"tools": [{"functionDeclarations": [{"name": "look"}, {"name": "a.b"}]}]}


def parts_of(answers):
    parts = [part for one in answers for part in one["candidates"][0]["content"]["parts"]]
    return [part for part in parts if part != {"text": ""}]


async def test_a_whole_answer(claude):
    claude.upstream.script(respond(200, anthropic_message("Hello.", thinking="hm", usage=USAGE)))
    answer = await claude.generate()
    assert answer.status_code == 200
    (candidate,) = answer.json()["candidates"]
    (part,) = candidate["content"]["parts"]
    assert (part["text"], candidate["content"]["role"]) == ("Hello.", "model")
    assert (candidate["finishReason"], candidate["index"]) == ("STOP", 0)
    assert answer.json()["usageMetadata"] == {
        "promptTokenCount": 42,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 4,
        "cachedContentTokenCount": 30,
        "totalTokenCount": 51,
    }
    assert answer.json()["modelVersion"] == "claude/m"
    assert answer.json()["responseId"]
    assert "changes=1; by=gemini-generateContent" in answer.headers["plugway-receipt"]


@pytest.mark.parametrize("query", ["?alt=sse", "", "?alt=json", "?$alt=json;enum-encoding=int"])
async def test_a_stream_is_one_of_events_or_an_array(claude, query):
    claude.upstream.script(sse(anthropic_stream(["Hel", "lo."], thinking="hm", usage=USAGE)))
    answers = await claude.stream(query, **SHOWN)
    assert [part["text"] for part in parts_of(answers)] == ["hm", "Hel", "lo.", ""]
    assert parts_of(answers)[0] == {"text": "hm", "thought": True}
    assert [one["candidates"][0].get("finishReason") for one in answers][-2:] == [None, "STOP"]
    assert answers[-1]["usageMetadata"]["totalTokenCount"] == 51
    assert {one["responseId"] for one in answers} == {answers[0]["responseId"]}


async def test_thoughts_are_shown_to_clients_that_ask_for_them_only(claude):
    claude.upstream.script(sse(anthropic_stream("Hello.", thinking="hm")))
    assert not any("thought" in part for part in parts_of(await claude.stream()))
    for asked in (False, True):
        claude.upstream.script(respond(200, anthropic_message("Hello.", thinking="hm")))
        answer = await claude.generate(**(SHOWN if asked else {}))
        assert [part.get("thought") for part in parts_of([answer.json()])] == [True, None][
            not asked :
        ]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "STOP"),
        ("stop_sequence", "STOP"),
        ("pause_turn", "STOP"),
        ("max_tokens", "MAX_TOKENS"),
        ("model_context_window_exceeded", "MAX_TOKENS"),
        ("refusal", "SAFETY"),
    ],
)
async def test_why_an_answer_ended(claude, reason, finish, stream):
    claude.upstream.script(answer(stream, "x", stop_reason=reason))
    assert (await last_of(claude, stream))["finishReason"] == finish


def answer(stream, text, **fields):
    if stream:
        return sse(anthropic_stream(text, **fields))
    return respond(200, anthropic_message(text, **fields))


async def last_of(claude, stream, **fields):
    if stream:
        return (await claude.stream(**fields))[-1]["candidates"][0]
    return (await claude.generate(**fields)).json()["candidates"][0]


@pytest.mark.parametrize("stream", [False, True])
async def test_calls_come_whole_under_the_names_and_ids_that_the_client_knows(claude, stream):
    def calls(request):
        name = request.json["tools"][1]["name"]
        assert name != "a.b"
        return answer(stream, "I look.", tool_calls=[("look", {"at": "a"}), (name, {})])

    claude.upstream.script(calls)
    answers = await claude.stream(**LOOK) if stream else [(await claude.generate(**LOOK)).json()]
    told = [part["functionCall"] for part in parts_of(answers) if "functionCall" in part]
    assert [(call["name"], call["args"]) for call in told] == [("look", {"at": "a"}), ("a.b", {})]
    assert len({call["id"] for call in told}) == 2
    assert answers[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.parametrize("kept", [1, 2])
async def test_a_call_that_was_cut_off_is_not_told(claude, kept):
    call = [("look", {"at": "a long way"})]
    events = anthropic_stream("", tool_calls=call, stop_reason="max_tokens")
    deltas = [event for event in events if "input_json_delta" in str(event)]
    assert len(deltas) == 3
    claude.upstream.script(sse([event for event in events if event not in deltas[kept:]]))
    answers = await claude.stream(**LOOK)
    (part,) = parts_of(answers)
    assert "cut off" in part["text"]
    assert answers[-1]["candidates"][0]["finishReason"] == "MAX_TOKENS"


async def test_a_call_that_is_no_json_is_named_as_google_names_it(claude):
    events = anthropic_stream("", tool_calls=[("look", {"at": "a long way"})])
    last = [event for event in events if "input_json_delta" in str(event)][-1]
    claude.upstream.script(sse([event for event in events if event != last]))
    answers = await claude.stream(**LOOK)
    assert parts_of(answers) == []
    assert answers[-1]["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"


async def test_an_answer_without_a_word_has_an_empty_part(claude):
    claude.upstream.script(respond(200, {**anthropic_message(""), "content": []}))
    (candidate,) = (await claude.generate()).json()["candidates"]
    assert candidate["content"]["parts"] == [{"text": ""}]


async def test_tokens_are_counted(claude):
    claude.upstream.script(respond(200, {"input_tokens": 17}))
    answer = await claude.generate("countTokens")
    assert answer.json() == {"totalTokens": 17}
    assert claude.upstream.requests[-1].path.endswith("/count_tokens")
    inner = {"generateContentRequest": {"contents": [{"parts": [{"text": "other"}]}]}}
    claude.upstream.script(respond(200, {"input_tokens": 18}))
    assert (await claude.post(inner, "countTokens")).json() == {"totalTokens": 18}
    assert claude.asked["messages"][0]["content"][0]["text"] == "other"


# ── failures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "told", "word"),
    [
        (400, 400, "INVALID_ARGUMENT"),
        (404, 404, "NOT_FOUND"),
        (413, 413, "INVALID_ARGUMENT"),
        (429, 429, "RESOURCE_EXHAUSTED"),
        (500, 500, "INTERNAL"),
        (529, 503, "UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "countTokens"])
async def test_failures_are_in_googles_envelope(claude, status, told, word, method):
    claude.upstream.script(anthropic_error(status, error_type(status), "it is so"))
    answer = await claude.generate(method)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (told, told, word)
    if (method, status) != ("countTokens", 404):  # that says the server cannot count
        assert "it is so" in error["message"]


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
"""Where Google's clients look for the time to wait: they read no `retry-after`."""


@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent"])
@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (529, "overloaded_error")])
async def test_the_time_to_wait_is_in_the_error(claude, status, kind, method):
    claude.upstream.script(anthropic_error(status, kind, "it is so", {"retry-after": "37"}))
    answer = await claude.generate(method)
    assert answer.headers["retry-after"] == "37"
    assert answer.json()["error"]["details"] == [RETRY]


async def test_the_time_to_wait_is_in_an_error_of_the_gateway(serving):
    class Refuses(PlainBackend):
        async def send(self, request, attempt):
            raise InvalidRequest("later", status=429, headers={"retry-after": "36.2"})

    async with serving(Refuses(PlainOptions(), name="claude")) as running:
        answer = await running.generate()
    assert answer.json()["error"]["details"] == [RETRY]


@pytest.mark.parametrize("wait", ["", "Mon, 30 Nov 2026 16:00:00 GMT"])
async def test_a_time_to_wait_that_is_no_number_of_seconds_is_left_out(claude, wait):
    headers = {"retry-after": wait} if wait else {}
    claude.upstream.script(anthropic_error(429, "rate_limit_error", "it is so", headers))
    assert "details" not in (await claude.generate()).json()["error"]


async def test_an_overflow_is_in_the_words_that_clients_look_for(claude):
    message = "prompt is too long: 300 tokens > 200 maximum"
    claude.upstream.script(anthropic_error(400, "invalid_request_error", message))
    error = (await claude.generate()).json()["error"]
    told = "The input token count (300) exceeds the maximum number of tokens allowed (200)."
    assert error["message"].startswith(told)


@pytest.mark.parametrize("query", ["?alt=sse", ""])
async def test_a_failure_inside_of_a_stream_that_waits_is_an_answer_with_an_error(serving, query):
    class Refuses(PlainBackend):
        async def send(self, request, attempt):
            await anyio.sleep(0.3)
            raise InvalidRequest("not this", retry=False)

    backend = Refuses(PlainOptions(), name="claude")
    async with serving(backend, ping_seconds=0.1) as running:
        answers = await running.gate.post(
            {"contents": [{"parts": [{"text": "x"}]}]},
            f"/v1beta/models/claude/m:streamGenerateContent{query}",
        )
    assert answers.status_code == 200
    body = answers.content.strip()
    if query:
        assert body.startswith(b": ping")
        told = orjson.loads(body.rpartition(b"data: ")[2])
    else:
        (told,) = orjson.loads(body)
    assert told["error"]["status"] == "INVALID_ARGUMENT"
    assert "not this" in told["error"]["message"]

"""A bad call in a relayed chat reply is requested again, as long as nothing was sent to the client."""

from __future__ import annotations

import json

import anyio
import pytest

from plugway.testing import (
    Cut,
    ScriptedUpstream,
    WaitFor,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chunk, data
from plugway_tool_repair import ToolRepair
from plugway_translation import safe_name

from .test_chat_client import FUNCTIONS, Server
from .test_chat_native import GOOD, PATH, events_of, in_chunks, read_message, read_stream, whole

pytestmark = pytest.mark.anyio

BAD = {
    "no JSON": ("Read", "/a.txt", "not valid JSON"),
    "cut off": ("Read", '{"file_path": "/a', "not valid JSON"),
    "a list": ("Read", "[1]", "must be a JSON object"),
    "a missing argument": ("Read", '{"path_of_it": 1}', "file_path"),
    "of the wrong type": ("Bash", '{"timeout": "soon"}', "timeout"),
    "an unknown tool": ("Fly", "{}", "there is no tool `Fly`"),
}
CALL = ("Read", GOOD)
MADE = ("", [("Read", PATH)], "tool_calls")


@pytest.fixture
def ask():
    return Server()


def replies(stream, *calls, seed=0, **options):
    """One reply for each list of calls."""
    if not stream:
        return [whole(made, **options) for made in calls]
    return [in_chunks(events_of(made, seed + n, **options), seed) for n, made in enumerate(calls)]


async def answer(ask, stream, *calls, seed=0, body=None, **options):
    got = await ask(*replies(stream, *calls, seed=seed, **options), stream=stream, **body or {})
    return read_stream(got) if stream else read_message(got)


def turns(request):
    """The calls of the last assistant turn, and their results."""
    calls = {}
    for message in request["messages"]:
        for call in message.get("tool_calls") or ():
            made = call["function"]
            calls[call["id"]] = [made["name"], json.loads(made["arguments"])]
        if message["role"] == "tool":
            calls[message["tool_call_id"]].append(message["content"])
    return list(calls.values())


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("seed", range(2))
async def test_a_bad_call_is_requested_again_with_its_problem(ask, kind, stream, seed):
    name, arguments, problem = BAD[kind]
    assert await answer(ask, stream, [(name, arguments)], [CALL], seed=seed) == MADE
    first, second = ask.requests
    assert first["messages"] == second["messages"][:1]
    ((called, _, result),) = turns(second)
    assert called == name
    assert problem in result
    assert (f"Its arguments were: {arguments}" in result) is (arguments[-1] != "}")
    assert second["tools"][0]["function"]["name"] == "Read"


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
async def test_valid_calls_beside_a_bad_one_are_requested_again_too(ask, stream, order):
    calls = [("Bash", '{"command": "ls"}'), ("Read", "{}")][::order]
    found = await answer(ask, stream, calls, [("Bash", '{"command": "ls"}'), CALL])
    assert found == ("", [("Bash", {"command": "ls"}), ("Read", PATH)], "tool_calls")
    (_, _, good), (_, _, bad) = turns(ask.requests[1])
    assert "another call of the same reply is invalid" in good
    assert "file_path" in bad


async def test_a_call_in_text_that_cannot_be_read_is_requested_again(ask):
    text = '<tool_call>\n{"name": "Read", "arguments": {"file_path": "say "hi""}}\n</tool_call>'
    (good,) = replies(True, [CALL])
    assert read_stream(await ask(respond_to(text), good)) == MADE
    *_, said, asked = ask.requests[1]["messages"]
    assert said["content"] == text
    assert "cannot be parsed" in asked["content"]


def respond_to(text):
    return sse([data(chunk({"content": text})), data(chunk({}, "stop")), b"data: [DONE]\n\n"])


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_call_that_is_bad_twice_is_passed_on_or_left_out(ask, stream):
    wrong = [("Bash", '{"timeout": "soon"}')]
    found = await answer(ask, stream, wrong, wrong)
    assert found == ("", [("Bash", {"timeout": "soon"})], "tool_calls")
    text, calls, reason = await answer(ask, stream, [("Read", "no")], [("Read", "no")])
    assert "was not made" in text
    assert (calls, reason, len(ask.requests)) == ([], "stop", 2)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("policy", ["error", "fail_over"])
@pytest.mark.parametrize("again", [True, False])
async def test_a_call_that_stays_bad_is_an_error_if_the_user_wants_that(policy, stream, again):
    ask = Server(unfixable=policy, ask_again=again)
    made = replies(stream, [("Bash", '{"timeout": "soon"}')], [("Bash", '{"timeout": "soon"}')])
    if policy == "fail_over":  # there is no other target
        got = await ask(*made, stream=stream)
        _, calls, _ = read_stream(got) if stream else read_message(got)
        assert calls == [("Bash", {"timeout": "soon"})]
    else:
        got = await ask(*made, stream=stream, status=502)
        assert b"its tool call is still invalid" in got
    assert len(ask.requests) == 1 + again


async def test_after_content_a_bad_call_is_not_requested_again(ask):
    text, calls, _ = await answer(ask, True, [("Read", "no")], said="I see.")
    assert text.startswith("I see.[The call to `Read` was not made")
    assert (calls, len(ask.requests)) == ([], 1)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
async def test_after_reasoning_only_if_that_is_held_back(name):
    for hold, count in ((False, 1), (True, 2)):
        ask = Server(hold_thinking=hold)
        thought = [data(chunk({"role": "assistant"})), data(chunk({name: "Hm. "}))] * 2
        first = sse([*thought, *events_of([("Read", "no")], 1)])
        text, calls, _ = read_stream(await ask(first, *replies(True, [CALL])))
        assert len(ask.requests) == count
        assert (calls == [("Read", PATH)]) is hold
        assert ("was not made" in text) is not hold


async def test_what_the_messages_api_cannot_express_is_not_requested_again(ask):
    body = {"logprobs": True, "top_logprobs": 2}
    text, calls, _ = await answer(ask, True, [("Read", "no")], body=body)
    assert "was not made" in text
    assert (calls, len(ask.requests)) == ([], 1)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_the_client_gets_its_own_names_of_tools(ask, stream):
    function = {**FUNCTIONS[0]["function"], "name": "files.read"}
    body = {"tools": [{"type": "function", "function": function}]}
    calls = [("files.read", "{}")], [(safe_name("files.read"), GOOD)]
    found = await answer(ask, stream, *calls, body=body)
    assert found == ("", [("files.read", PATH)], "tool_calls")
    ((name, _, result),) = turns(ask.requests[1])
    assert (name, "file_path" in result) == (safe_name("files.read"), True)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_call_that_the_limit_cut_off_is_requested_again_with_room(ask, stream, limit):
    cut = replies(stream, [("Read", GOOD[:9])], finish="length")
    got = await ask(*cut, *replies(stream, [CALL]), stream=stream, **{limit: 50})
    assert (read_stream(got) if stream else read_message(got)) == MADE
    first, second = ask.requests
    assert first[limit] == 50
    assert second["messages"] == first["messages"]
    assert second.get("max_tokens", second.get("max_completion_tokens")) == 4096


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_if_that_is_refused_the_reply_arrives_without_the_call(ask, stream):
    cut = replies(stream, [("Read", GOOD[:9])], finish="length")
    refused = respond(400, {"error": {"message": "max_tokens is too large"}})
    got = await ask(*cut, refused, stream=stream, max_tokens=50)
    text, calls, reason = read_stream(got) if stream else read_message(got)
    assert text.startswith("[The call of `Read` was cut off")
    assert (calls, reason, len(ask.requests)) == ([], "length", 2)


async def test_a_stream_that_breaks_off_before_content_is_an_error(ask):
    events = events_of([CALL], 1)
    got = await ask(sse(events[:3], end=Cut()), status=502)
    assert b"tool_calls" not in got


async def test_content_is_sent_while_the_server_still_writes():
    release = anyio.Event()
    said, *others = events_of([CALL], 1, said="I see.")
    async with ScriptedUpstream(sse([said, WaitFor(release), *others])) as upstream:
        plugins = [
            build_plugin(OpenAIApi, "openai-api"),
            build_plugin(ToolRepair, "tool-repair"),
            build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1"),
        ]
        asked = {"model": "anthropic/up/m", "messages": [{"role": "user", "content": "read it"}]}
        asked |= {"tools": FUNCTIONS, "stream": True}
        got = b""
        with anyio.fail_after(5):
            async with (
                gateway(plugins) as running,
                running.client.stream("POST", "/v1/chat/completions", json=asked) as response,
            ):
                async for piece in response.aiter_raw():
                    got += piece
                    if b"I see." in got:
                        release.set()
    assert read_stream(got) == ("I see.", [("Read", PATH)], "tool_calls")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("status", [400, 413, 422])
async def test_if_the_question_is_refused_the_next_reply_is_passed_on(ask, stream, status):
    """As by a server whose window is smaller than the limit that the Messages API requires."""
    wrong = [("Bash", '{"timeout": "soon"}')]
    refused = respond(status, {"error": {"message": "max_tokens is too large"}})
    first, again = replies(stream, wrong, wrong)
    got = await ask(first, refused, again, stream=stream)
    found = read_stream(got) if stream else read_message(got)
    assert found == ("", [("Bash", {"timeout": "soon"})], "tool_calls")
    first, question, third = ask.requests
    assert third == first != question


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("status", [500, 529, 401])
async def test_other_failures_of_the_question_fail_the_attempt(ask, stream, status):
    failed = respond(status, {"error": {"message": "no"}})
    await ask(
        *replies(stream, [("Read", "{}")]),
        failed,
        stream=stream,
        status={529: 503}.get(status, status),
    )
    assert len(ask.requests) == 2


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("second", ["missing", "bad"])
async def test_a_required_call_is_asked_for_once_more_and_not_twice(ask, stream, second):
    said = respond_to("No.") if stream else whole([], "stop", "No.")
    then = said if second == "missing" else replies(stream, [("Bash", '{"timeout": "soon"}')])[0]
    got = await ask(said, then, stream=stream, tool_choice="required")
    text, calls, _ = read_stream(got) if stream else read_message(got)
    assert len(ask.requests) == 2
    assert (text, calls) in [("No.", []), ("", [("Bash", {"timeout": "soon"})])]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_client_that_wants_one_call_gets_one_after_a_retry_too(ask, stream):
    two = [CALL, ("Bash", '{"command": "ls"}')]
    found = await answer(ask, stream, [("Read", "{}")], two, body={"parallel_tool_calls": False})
    assert found == MADE

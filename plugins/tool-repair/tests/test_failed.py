"""Calls that a server could not read and hands back in its refusal."""

import json

import anyio
import httpx2
import pytest

from plugway import BackendRefused, StreamEvent, collected
from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
    anthropic_message,
    anthropic_stream,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_log import register_secret
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message, chat_stream, chunk, data, tool_delta
from plugway_tool_repair import ToolRepair
from plugway_tool_repair._failed import unparsed

from .conftest import TOOLBOX, TOOLS

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

WRITTEN = {
    "its own mark": '<function=Bash>{"command": "ls"}</function>',
    "without the end of the mark": '<function=Bash{"command": "ls"}</function>',
    "without the beginning": 'Bash{"command": "ls"}</function>',
    "between other brackets": '<function(Bash)>{"command": "ls"}</function>',
    "JSON": '{"name": "Bash", "arguments": {"command": "ls"}}',
    "in a fence": '```\n{"tool_calls": [{"function": {"name": "Bash", "arguments": {"command": "ls"}}}]}\n```',
    "in a tag": '<tool-use>\n{"tool_calls": [{"id": "pending", "type": "function", "function":'
    ' {"name": "Bash"}, "parameters": {"command": "ls"}}]}\n</tool-use>',
}  # fmt: skip
WORDS = {
    "Groq's own words": "Tool use failed: JSON does not match the expected schema for tool calls",
    "an answer": "### Top stories\nNothing {happened} today.",
    "another tool": '<function=Format>{"command": "c:"}</function>',
    "prose before a call": 'The page says: use Bash {"command": "ls"}',
    "prose like a tag": '<the page says: use Bash {"command": "ls"}',
    "prose in a tag": '<use this:> {"name": "Bash", "arguments": {"command": "ls"}}',
    "prose after a call": 'Bash {"command": "ls"} is what the page says.',
    "nothing": "",
    "no text": None,
}


def refusal(said, code="tool_use_failed"):
    told = {"message": "Failed to call a function. See 'failed_generation'.", "code": code}
    return respond(400, {"error": {**told, "failed_generation": said}})


async def asked(*scripts, stream=False, **options):
    async with ScriptedUpstream(otherwise=respond(200, chat_message("On it."))) as upstream:
        upstream.script(*scripts)
        groq = build_plugin(OpenAICompatible, "up", base_url=f"{upstream.url}/v1", preset="groq")
        async with gateway([build_plugin(ToolRepair, "tool-repair", **options), groq]) as running:
            response = await running.post(request_body(tools=TOOLS, stream=stream))
        return response, len(upstream.requests)


@pytest.mark.parametrize("said", WRITTEN.values(), ids=WRITTEN)
async def test_a_call_in_a_refusal_is_made(said):
    response, count = await asked(refusal(said))
    assert response.status_code == 200
    (block,) = [b for b in response.json()["content"] if b["type"] == "tool_use"]
    assert (block["name"], block["input"]) == ("Bash", {"command": "ls"})
    assert response.json()["stop_reason"] == "tool_use"
    assert count == 1
    assert "by=tool-repair" in response.headers["plugway-receipt"]


@pytest.mark.parametrize(
    "before", [{}, {"thinking": "Hm."}], ids=["first", "after thinking that is held"]
)
async def test_a_call_in_a_refusal_that_comes_in_the_stream_is_made(before):
    told = {"message": "Failed.", "code": "tool_use_failed", "status_code": 400}
    error = {"error": {**told, "failed_generation": WRITTEN["its own mark"]}}
    head = chat_stream("", **before)[:2] if before else []
    response, count = await asked(sse([*head, ("error", error)]), stream=True, hold_thinking=True)
    (block,) = [data["content_block"] for name, data in parse_sse(response.content)
                if name == "content_block_start" and data["content_block"]["type"] == "tool_use"]  # fmt: skip
    assert (block["name"], count) == ("Bash", 1)
    assert b"error" not in response.content


@pytest.mark.parametrize("said", WORDS.values(), ids=WORDS)
async def test_a_refusal_without_a_call_stays_one(said):
    response, count = await asked(refusal(said))
    assert response.status_code == 400
    assert "Failed to call a function" in response.json()["error"]["message"]
    assert count == 1


async def test_a_call_with_wrong_arguments_is_asked_for_again():
    response, count = await asked(refusal('<function=Read>{"path": 7}</function>'))
    assert (response.status_code, count) == (200, 2)


async def test_nothing_is_read_where_rescuing_is_off():
    response, _ = await asked(refusal(WRITTEN["JSON"]), rescue=False)
    assert response.status_code == 400


def test_another_code_is_another_matter():
    body = b'{"error": {"code": "other", "failed_generation": "<function=Bash>{}</function>"}}'
    assert unparsed(BackendRefused(400, body), TOOLBOX) is None


# llama-server, LM Studio and Ollama, which send the text itself in the message

QWEN = (
    "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</parameter>\n</function>\n</tool_call>"
)
GEMMA = '<|tool_call>call:Bash{command:<|"|>ls<|"|>}<tool_call|>'
BROKEN = "<tool_call>\n<function=Bash>\n<parameter=command>\nls\n</function>\n</tool_call>\n</x>"
LLAMA = "Failed to parse input at pos 7: "
OLLAMA = "error parsing tool call: raw='{}', err=invalid character ']' after top-level value"
KEY = "a-key-of-the-gateway-7c1"
ENGINE = "Engine protocol predict request returned 500: "


def in_lm_studio(message):
    inner = {"error": {"code": 500, "message": message, "type": "server_error"}}
    return ENGINE + json.dumps(inner)


def error(message, status=500):
    return {"type": "error", "error": {"type": "api_error", "message": message, "code": status}}


def messages(url):
    return build_plugin(AnthropicCompatible, "up", base_url=url, zone="local")


def chat(url):
    return build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1", zone="local")


async def replied(*scripts, stream=False, backend=messages, **options):
    """The response for scripts of a local server, and what it was asked."""
    async with ScriptedUpstream(*scripts) as upstream:
        plugins = [build_plugin(ToolRepair, "tool-repair", **options), backend(upstream.url)]
        async with gateway(plugins) as running:
            response = await running.post(request_body(tools=TOOLS, stream=stream))
        return response, [request.json for request in upstream.requests]


def calls_in(content):
    """Name and arguments of the calls in a reply, streamed or not, and why it ended."""
    events = parse_sse(content)
    message = collected(StreamEvent(*item) for item in events) if events else json.loads(content)
    found = [block for block in message["content"] if block["type"] == "tool_use"]
    return [(block["name"], block["input"]) for block in found], message["stop_reason"]


@pytest.mark.parametrize("backend", [messages, chat], ids=["Messages", "Chat"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "said", [LLAMA + QWEN, LLAMA + GEMMA, in_lm_studio(LLAMA + QWEN)],
    ids=["llama-server", "llama-server, Gemma", "LM Studio"],
)  # fmt: skip
async def test_a_call_that_a_local_server_could_not_parse_is_made(said, stream, backend):
    response, asked = await replied(respond(500, error(said)), stream=stream, backend=backend)
    assert calls_in(response.content) == ([("Bash", {"command": "ls"})], "tool_use")
    assert len(asked) == 1
    assert "by=tool-repair" in response.headers["plugway-receipt"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("backend", [messages, chat], ids=["Messages", "Chat"])
async def test_a_long_call_is_read_to_its_end(stream, backend):
    command = "echo '" + "x" * 20_000 + "'"
    said = LLAMA + QWEN.replace("ls", command)
    failing = (
        sse([*anthropic_stream("x")[:1], ("error", error(said))])
        if stream
        else respond(500, error(said))
    )
    response, _ = await replied(failing, stream=stream, backend=messages if stream else backend)
    assert calls_in(response.content)[0] == [("Bash", {"command": command})]


async def failing_after(events, more, backend=messages, said=QWEN):
    """What the client receives if a server sends events, and later more of them and an error."""
    seen, release = b"", anyio.Event()
    script = sse([*events, WaitFor(release), *more, ("error", error(LLAMA + said))])
    body = request_body(tools=TOOLS, stream=True)
    async with ScriptedUpstream(script, otherwise=respond(500)) as upstream:
        plugins = [build_plugin(ToolRepair, "tool-repair"), backend(upstream.url)]
        with anyio.fail_after(20):
            async with (
                gateway(plugins) as running,
                running.client.stream("POST", "/v1/messages", json=body) as response,
            ):
                async for chunk in response.aiter_raw():
                    seen += chunk
                    release.set()
    return seen, len(upstream.requests)


@pytest.mark.parametrize("call", [False, True], ids=["after text", "after a part of the call"])
async def test_a_call_in_an_error_after_content_is_made(call):
    events = anthropic_stream("I look.", tool_calls=[("Bash", {"command": "ls -la"})])
    seen, count = await failing_after(events[:3], events[3:7] if call else [])
    assert calls_in(seen) == ([("Bash", {"command": "ls"})], "tool_use")
    assert (b"I look." in seen, b"error" in seen, count) == (True, False, 1)


async def test_a_long_call_in_an_error_after_content_is_read_to_its_end():
    long = QWEN.replace("ls", "x" * 20_000)
    seen, _ = await failing_after(anthropic_stream("I look.")[:3], [], said=long)
    assert calls_in(seen)[0] == [("Bash", {"command": "x" * 20_000})]


@pytest.mark.parametrize("call", [False, True], ids=["after text", "after a part of the call"])
async def test_a_call_in_an_error_after_content_of_chat_completions_is_made(call):
    begun = [chunk(tool_delta(0, '{"comma', id="call_1", type="function", name="Bash"))]
    events = chat_stream("I look.")[:3]
    seen, count = await failing_after(events, map(data, begun) if call else [], chat)
    assert calls_in(seen) == ([("Bash", {"command": "ls"})], "tool_use")
    assert (b"look." in seen, b"error" in seen, count) == (True, False, 1)


async def test_an_error_after_a_whole_call_ends_the_stream_as_before():
    events = anthropic_stream("I look.", tool_calls=[("Bash", {"command": "ls"})])
    with pytest.raises(httpx2.RemoteProtocolError):
        await failing_after(events[:9], [])


@pytest.mark.parametrize(
    "said", [LLAMA + BROKEN, LLAMA + QWEN[:-30], LLAMA + QWEN.replace("Bash", "Fly"),
             OLLAMA.format('{"command": "ls"}]'), OLLAMA.format(WRITTEN["JSON"])],
    ids=["unreadable", "cut off", "of another tool", "without the name", "arguments like a call"],
)  # fmt: skip
async def test_a_call_that_nobody_could_parse_is_asked_for_again(said):
    again = respond(200, anthropic_message("", tool_calls=[("Bash", {"command": "pwd"})]))
    response, asked = await replied(respond(500, error(said)), again)
    assert calls_in(response.content) == ([("Bash", {"command": "pwd"})], "tool_use")
    assert "cannot be parsed" in json.dumps(asked[1]["messages"][-1])
    assert "command" in json.dumps(asked[1]["messages"][-2])


@pytest.mark.parametrize(
    "said", [LLAMA + "Nothing to do.", LLAMA, "out of memory", LLAMA + QWEN.replace("ls", KEY)],
    ids=["text", "nothing", "another error", "the gateway's own key is removed from it"],
)  # fmt: skip
async def test_another_error_of_a_local_server_stays_one(said):
    register_secret(KEY)
    response, asked = await replied(respond(500, error(said)))
    assert response.status_code == 500
    assert len(asked) == 1


@pytest.mark.parametrize(
    "said",
    [
        "The model produced output that does not match the expected peg-native format",
        in_lm_studio(
            "The model produced output that does not match the expected peg-gemma4 format"
        ),
        "failed to parse JSON: unexpected end of JSON input",
        "invalid character ']' after object key:value pair",
    ],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_reply_that_is_lost_is_asked_for_again_in_other_words(said, stream):
    """The same request may give the same reply, which the server could not parse."""
    again = anthropic_stream("", tool_calls=[("Bash", {"command": "pwd"})])
    second = sse(again) if stream else respond(200, collected(StreamEvent(*e) for e in again))
    response, asked = await replied(respond(500, error(said)), second, stream=stream)
    assert calls_in(response.content)[0] == [("Bash", {"command": "pwd"})]
    assert "cannot be parsed" in json.dumps(asked[1]["messages"][-1])


@pytest.mark.parametrize(
    "said",
    ["invalid character 'x' looking for beginning of value", LLAMA + QWEN, OLLAMA.format("{}")],
)
@pytest.mark.parametrize("status", [400, 429])
async def test_the_same_words_about_a_request_are_not_about_a_reply(said, status):
    response, asked = await replied(respond(status, error(said)))
    assert (response.status_code, len(asked)) == (status, 1)


async def test_the_error_is_reported_if_the_second_reply_has_the_same():
    failing = respond(500, error(LLAMA + BROKEN))
    response, asked = await replied(failing, failing)
    assert (response.status_code, len(asked)) == (500, 2)
    assert "Failed to parse input" in response.json()["error"]["message"]


async def test_a_call_inside_the_value_of_an_unreadable_call_is_not_made():
    inner = json.dumps({"name": "Bash", "arguments": {"command": "rm x"}})
    call = f"<tool_call>\n<function=Write>\n<parameter=x>\n{inner}\n</x>\n</tool_call>"
    no = respond(200, anthropic_message("No."))
    response, _ = await replied(respond(500, error(LLAMA + call)), no)
    assert all(name != "Bash" for name, _ in calls_in(response.content)[0])


END = QWEN[QWEN.index("</parameter>") :]
ERROR = json.dumps({"error": {"message": LLAMA + QWEN}})


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    "said",
    [
        "Cannot render the template for: " + LLAMA + QWEN,
        "invalid content: " + ERROR,
        "1 validation error: input_value='" + OLLAMA.format(WRITTEN["JSON"]),
        "Unable to parse prompt 'The model produced output that does not match the expected'",
    ],
)
async def test_what_an_error_quotes_of_the_conversation_is_not_what_the_model_wrote(said, stream):
    response, asked = await replied(respond(500, error(said)), stream=stream)
    assert (response.status_code, len(asked)) == (500, 1)


@pytest.mark.parametrize(
    "rest",
    [
        "to the page:\n" + QWEN + "\n" + END,
        QWEN + "\n" + END,
        WRITTEN["JSON"] + "\n" + END,
        QWEN.replace("\n", "\\n") + '"}}\n</tool_call>',
        QWEN + "\n```\nThat is the file.",
        QWEN + "\n```",
    ],
    ids=["in a value", "a value", "a value in JSON", "in a text of JSON", "in a fence", "at its end"],
)  # fmt: skip
async def test_a_call_in_the_rest_of_another_ones_arguments_is_not_made(rest):
    """The error of llama-server has only the text after what its parser accepted."""
    no = respond(200, anthropic_message("No."))
    response, asked = await replied(respond(500, error(LLAMA + rest)), no)
    assert (calls_in(response.content)[0], len(asked)) == ([], 2)


async def test_reasoning_may_precede_the_call_in_the_rest_of_a_reply():
    said = LLAMA + "<think>\nI look.\n</think>\n" + QWEN
    response, _ = await replied(respond(500, error(said)))
    assert calls_in(response.content)[0] == [("Bash", {"command": "ls"})]

"""A call that the client demands, from servers that do not honour `tool_choice`."""

import pytest

from plugway import NoOptions, Plugin, hookimpl
from plugway.testing import (
    Cut,
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    assert_valid_stream,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_tool_repair import ToolRepair

from .conftest import TOOLS

pytestmark = pytest.mark.anyio

READ = {"type": "tool", "name": "Read"}
CALL = [("Read", {"file_path": "/a.txt"})]
OTHER = [("Bash", {"command": "ls"})]
IN_TEXT = '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_call>'
LACKS = "the reply lacks the call to the tool `Read` that `tool_choice` requires"


class Receipts(Plugin[NoOptions]):
    def __init__(self):
        super().__init__(NoOptions(), name="receipts")
        self.lines = []

    @hookimpl
    async def transform_response(self, reply, exchange):
        self.lines = [entry.what for entry in exchange.receipt]


class Asked:
    """A gateway in front of a server that answers in a script."""

    def __init__(self, **options):
        self.options = options
        self.lines = []

    async def __call__(self, *answers, stream=True, choice=READ, status=200):
        receipts = Receipts()
        async with ScriptedUpstream(*answers) as upstream:
            plugins = [
                receipts,
                build_plugin(ToolRepair, "tool-repair", **self.options),
                build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
            ]
            self.upstream = upstream
            async with gateway(plugins) as running:
                body = request_body("read it", tools=TOOLS, tool_choice=choice, stream=stream)
                answer = await running.post(body)
            self.lines = receipts.lines
        assert answer.status_code == status, answer.text
        if status != 200:
            return answer.json()["error"]["message"]
        if not stream:
            return [(block["type"], block.get("name", "")) for block in answer.json()["content"]]
        events = parse_sse(answer.content)
        assert_valid_stream(events)
        starts = [data["content_block"] for name, data in events if name == "content_block_start"]
        return [(block["type"], block.get("name", "")) for block in starts]


@pytest.fixture
def asked():
    return Asked()


def streamed(text="", calls=()):
    return sse(anthropic_stream(text or [], tool_calls=calls))


def whole(text="", calls=()):
    return respond(200, anthropic_message(text or [], tool_calls=calls))


@pytest.mark.parametrize(("answer", "stream"), [(streamed, True), (whole, False)])
async def test_words_instead_of_the_call_are_asked_for_again(asked, answer, stream):
    found = await asked(answer("I would read it."), answer(calls=CALL), stream=stream)
    assert found == [("tool_use", "Read")], "the words were held back"
    *_, said, told = asked.upstream.requests[1].json["messages"]
    assert said == {"role": "assistant", "content": [{"type": "text", "text": "I would read it."}]}
    assert "Call the tool `Read` now" in told["content"][0]["text"]
    assert f"retried: {LACKS}" in asked.lines


@pytest.mark.parametrize(("answer", "stream"), [(streamed, True), (whole, False)])
async def test_a_server_that_never_calls_is_told_of_on_the_receipt(asked, answer, stream):
    found = await asked(answer("No."), answer("Still no."), stream=stream)
    assert found == [("text", "")]
    assert f"{LACKS}; it is passed on unchanged" in asked.lines
    assert len(asked.upstream.requests) == 2


async def test_another_tool_than_the_one_that_is_named_does_not_do(asked):
    assert await asked(streamed(calls=OTHER), streamed(calls=CALL)) == [("tool_use", "Read")]


async def test_any_tool_does_where_none_is_named(asked):
    found = await asked(streamed(calls=OTHER), choice={"type": "any"})
    assert found == [("tool_use", "Bash")]
    assert len(asked.upstream.requests) == 1
    found = await asked(streamed("Hm."), streamed(calls=OTHER), choice={"type": "any"})
    assert found == [("tool_use", "Bash")]
    assert any("one of the tools" in line for line in asked.lines)


async def test_words_before_the_call_stay(asked):
    assert await asked(streamed("Let me see.", CALL)) == [("text", ""), ("tool_use", "Read")]
    assert not any("lacks" in line for line in asked.lines)


async def test_a_call_that_stands_in_the_text_is_the_call(asked):
    assert await asked(streamed(IN_TEXT)) == [("tool_use", "Read")]
    assert len(asked.upstream.requests) == 1


async def test_a_refusal_is_not_argued_with(asked):
    events = anthropic_stream("I must not.")
    refused = [
        (name, {**data, "delta": {**data["delta"], "stop_reason": "refusal"}})
        if name == "message_delta"
        else (name, data)
        for name, data in events
    ]
    assert await asked(sse(refused)) == [("text", "")]
    assert any(LACKS in line for line in asked.lines)


async def test_without_asking_again_it_is_told_all_the_same():
    asked = Asked(ask_again=False)
    assert await asked(streamed("No.")) == [("text", "")]
    assert any(LACKS in line for line in asked.lines)


@pytest.mark.parametrize("choice", [{"type": "auto"}, None])
async def test_a_model_that_may_choose_is_not_asked_again(asked, choice):
    assert await asked(streamed("No need."), choice=choice) == [("text", "")]
    assert len(asked.upstream.requests) == 1


async def test_a_stream_that_breaks_off_is_no_answer_without_the_call(asked):
    events = anthropic_stream("I would")
    assert "incomplete response" in await asked(sse(events[:3], end=Cut()), status=502)
    assert len(asked.upstream.requests) == 1
    assert not any("asked again" in line for line in asked.lines)

"""Through a gateway with a scripted upstream. Pains 2, 3, 4, 8 and 10 of FEATURES section 7."""

from __future__ import annotations

import json
import re

import anyio
import pytest

from plugway.testing import (
    ScriptedUpstream,
    WaitFor,
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
from plugway_tool_repair._tools import MOST_JUDGED

from .conftest import TOOLS

pytestmark = pytest.mark.anyio
CALL = '<tool_call>\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n</tool_call>'
STRICT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
NUMBER = {"name": "Number", "input_schema": STRICT}


class Running:
    def __init__(self, upstream, gateway):
        self.upstream, self.gateway = upstream, gateway

    async def raw(self, *scripts, **fields):
        self.upstream.script(*scripts)
        body = request_body(**{"tools": [*TOOLS, NUMBER], "stream": True, **fields})
        return await self.gateway.post(body)

    async def content(self, *scripts, **fields):
        answer = await self.raw(*scripts, **fields)
        assert answer.status_code == 200, answer.text
        return blocks_of(parse_sse(answer.content))


def blocks_of(events):
    assert_valid_stream(events)
    found, stop = [], None
    for name, data in events:
        if name == "content_block_start":
            found.append(dict(data["content_block"]))
        elif name == "content_block_delta":
            delta = data["delta"]
            key = {"input_json_delta": "json"}.get(delta["type"], delta["type"].split("_")[0])
            value = delta.get("partial_json", delta.get(key))
            found[-1][key] = found[-1].get(key, "") + value
        elif name == "message_delta":
            stop = data["delta"]["stop_reason"]
    result = []
    for block in found:
        if block["type"] == "tool_use":
            result.append((block["name"], json.loads(block.get("json") or "{}")))
        else:
            result.append(block[block["type"]])
    return result, stop


@pytest.fixture
def options():
    return {}


@pytest.fixture
async def running(options):
    async with ScriptedUpstream() as upstream:
        plugins = [
            build_plugin(ToolRepair, "tool-repair", **options),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(plugins) as found:
            yield Running(upstream, found)


def raw_stream(*blocks, stop="tool_use"):
    """(index, event fields) in any order, as servers write them that mix calls up."""
    start = anthropic_stream("x")[0]
    end = ("message_delta", {"type": "message_delta", "delta": {"stop_reason": stop}})
    return sse([start, *blocks, end, ("message_stop", {"type": "message_stop"})])


def start(index, name="Bash", identifier=None):
    block = {"type": "tool_use", "id": identifier or f"toolu_{index}", "name": name, "input": {}}
    data = {"type": "content_block_start", "index": index, "content_block": block}
    return "content_block_start", data


def part(index, text):
    delta = {"type": "input_json_delta", "partial_json": text}
    return "content_block_delta", {"type": "content_block_delta", "index": index, "delta": delta}


def stop(index):
    return "content_block_stop", {"type": "content_block_stop", "index": index}


async def test_pain_1_a_call_in_text_is_a_call_for_the_client(running):
    script = sse(anthropic_stream(["I ", "read. <tool", CALL[5:], " Done."]))
    content, reason = await running.content(script)
    assert content == ["I read. ", ("Read", {"file_path": "/a.txt"}), " Done."]
    assert reason == "tool_use"


async def test_pain_1_in_a_whole_reply_too(running):
    script = respond(200, anthropic_message(f"I read.\n{CALL}"))
    message = (await running.raw(script, stream=False)).json()
    assert [b["type"] for b in message["content"]] == ["text", "tool_use"]
    assert message["content"][1]["input"] == {"file_path": "/a.txt"}
    assert message["content"][1]["id"].startswith("toolu_")
    assert message["stop_reason"] == "tool_use"


async def test_a_whole_reply_that_is_good_keeps_its_bytes(running):
    body = json.dumps(anthropic_message("Hi.", tool_calls=[("Read", {"file_path": "/a"})])).encode()
    script = respond(200, body, {"content-type": "application/json"})
    assert (await running.raw(script, stream=False)).content.count(b'"input": {') == 1


async def test_a_good_stream_keeps_its_bytes(running):
    events = anthropic_stream(["Hi", " <b>there</b>"], tool_calls=[("Read", {"file_path": "/a"})])
    answer = await running.raw(sse(events))
    assert parse_sse(answer.content)[1:] == [(n, d) for n, d in events][1:]


async def test_text_is_not_held_back(running):
    release = anyio.Event()
    events = anthropic_stream(["first ", "second"])
    running.upstream.script(sse([*events[:3], WaitFor(release), *events[3:]]))
    body = json.dumps(request_body(tools=TOOLS, stream=True))
    seen = b""
    with anyio.fail_after(5):
        async with running.gateway.client.stream(
            "POST", "/v1/messages", content=body, headers={"content-type": "application/json"}
        ) as response:
            async for chunk in response.aiter_raw():
                seen += chunk
                if b"first" in seen:
                    release.set()
    assert b"second" in seen


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('"{\\"n\\": 5}"', {"n": 5}),
        ('{"n": "5"}', {"n": 5}),
        ('{"n": 5,}', {"n": 5}),
        ("{'n': 5}", {"n": 5}),
        ('```json\n{"n": 5}\n```', {"n": 5}),
        ('{"N": 5 /* five */}', {"n": 5}),
        ('{"n": 5', {"n": 5}),
        ('{"n": [5]}', {"n": 5}),
        ('{"arguments": {"n": 5}}', {"n": 5}),
    ],
)
async def test_pain_2_arguments_are_mended(running, written, meant):
    script = raw_stream(start(0, "number"), part(0, written), stop(0))
    assert await running.content(script) == ([("Number", meant)], "tool_use")
    assert len(running.upstream.requests) == 1


async def test_pain_2_empty_and_null_arguments_are_an_empty_object(running):
    null = ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": None})
    script = raw_stream(start(0), part(0, ""), null, part(0, None), stop(0))
    assert await running.content(script) == ([("Bash", {})], "tool_use")


@pytest.mark.parametrize("given", [{"input": {"command": "ls"}}, {}, {"input": None}])
async def test_pain_2_arguments_come_in_pieces_although_the_server_gives_them_whole(running, given):
    """The client takes them from the deltas alone."""
    name, data = start(0)
    block = {"type": "tool_use", "id": "toolu_0", "name": "Bash", **given}
    pieces = [] if given.get("input") else [part(0, '{"command": "ls"}')]
    script = raw_stream((name, {**data, "content_block": block}), *pieces, stop(0))
    events = parse_sse((await running.raw(script)).content)
    assert blocks_of(events) == ([("Bash", {"command": "ls"})], "tool_use")
    (opened,) = (d["content_block"] for n, d in events if n == "content_block_start")
    assert opened == {**block, "input": {}}


async def test_an_empty_text_block_is_left_out(running):
    """Anthropic refuses it when the conversation goes on there."""
    empty = ("content_block_start", {"type": "content_block_start", "index": 0,
             "content_block": {"type": "text", "text": ""}})  # fmt: skip
    script = raw_stream(empty, stop(0), start(1), part(1, "{}"), stop(1))
    assert await running.content(script) == ([("Bash", {})], "tool_use")
    content = [{"type": "text", "text": ""}, {"type": "text", "text": "Hi."}]
    whole = respond(200, {**anthropic_message("x"), "content": content})
    assert (await running.raw(whole, stream=False)).json()["content"] == content[1:]


async def test_pain_2_a_call_that_cannot_be_mended_is_asked_for_again(running):
    bad = raw_stream(start(0, "Number"), part(0, '{"x": 1}'), stop(0))
    good = raw_stream(start(0, "Number"), part(0, '{"n": 1}'), stop(0))
    assert await running.content(bad, good) == ([("Number", {"n": 1})], "tool_use")
    call, result = running.upstream.requests[1].json["messages"][-2:]
    assert call["content"][0]["input"] == {"x": 1}
    assert result["content"][0]["is_error"] is True
    assert "'n' is a required property" in result["content"][0]["content"]


@pytest.mark.parametrize("order", [1, -1], ids=["first", "last"])
async def test_valid_calls_of_a_whole_reply_are_asked_for_again_with_the_bad_one(running, order):
    calls = [("Bash", {"command": "ls"}), ("Number", {"x": 1})][::order]
    bad, good = (
        respond(200, anthropic_message([], tool_calls=made))
        for made in (calls, [("Bash", {"command": "ls"}), ("Number", {"n": 1})])
    )
    made = (await running.raw(bad, good, stream=False)).json()["content"]
    assert [(call["name"], call["input"]) for call in made] == [
        ("Bash", {"command": "ls"}),
        ("Number", {"n": 1}),
    ]
    said, results = running.upstream.requests[1].json["messages"][-2:]
    assert [call["name"] for call in said["content"]] == ["Bash", "Number"]
    first, second = (result["content"] for result in results["content"])
    assert "another call of the same reply is invalid" in first
    assert "'n' is a required property" in second


async def test_pain_2_after_text_a_bad_call_is_handed_on(running):
    events = anthropic_stream("Counting.", tool_calls=[("Number", {"x": 1})])
    content, _ = await running.content(sse(events))
    assert content == ["Counting.", ("Number", {"x": 1})]
    assert len(running.upstream.requests) == 1


@pytest.mark.parametrize(
    ("options", "status", "retry"),
    [
        ({"unfixable": "pass"}, 200, None),
        ({"unfixable": "fail_over"}, 200, None),
        ({"unfixable": "error"}, 502, "false"),
    ],
)
async def test_pain_2_the_policy_decides_over_a_call_that_stays_wrong(running, status, retry):
    bad = raw_stream(start(0, "Number"), part(0, '{"x": 1}'), stop(0))
    running.upstream.script(bad)
    answer = await running.raw(bad)
    assert answer.status_code == status
    assert answer.headers.get("x-should-retry") == retry
    assert len(running.upstream.requests) == 2


async def test_pain_3_blocks_that_overlap_are_put_in_order(running):
    text = ("content_block_start", {"type": "content_block_start", "index": 0,
            "content_block": {"type": "text", "text": ""}})  # fmt: skip
    delta = {"type": "text_delta", "text": "Hm"}
    said = ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta})
    script = raw_stream(text, start(1), said, part(1, '{"command": "ls"}'), stop(1), stop(0))
    assert await running.content(script) == (["Hm", ("Bash", {"command": "ls"})], "tool_use")


async def test_pain_4_arguments_of_parallel_calls_that_interleave_are_kept_apart(running):
    script = raw_stream(
        start(0), start(1, "Read"), part(0, '{"comm'), part(1, '{"file_'), part(0, 'and": "ls"}'),
        part(1, 'path": "/a"}'), stop(0), stop(1),
    )  # fmt: skip
    content, _ = await running.content(script)
    assert content == [("Bash", {"command": "ls"}), ("Read", {"file_path": "/a"})]


async def test_pain_4_ids_that_stand_twice_are_made_different(running):
    script = raw_stream(
        start(0, identifier="a"), stop(0), start(1, "Bash", "a"), part(1, '{"timeout": 1}'), stop(1)
    )
    events = parse_sse((await running.raw(script)).content)
    ids = [d["content_block"]["id"] for n, d in events if n == "content_block_start"]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("identifier", ["functions.Bash:0", "call|1", "a b", "é"])
async def test_pain_8_an_id_that_anthropic_would_refuse_later_is_replaced(running, identifier):
    script = raw_stream(start(0, identifier=identifier), part(0, '{"command": "ls"}'), stop(0))
    events = parse_sse((await running.raw(script)).content)
    ids = [d["content_block"]["id"] for n, d in events if n == "content_block_start"]
    assert [re.fullmatch("[a-zA-Z0-9_-]+", found) is not None for found in ids] == [True]


async def test_a_call_that_comes_as_text_and_as_a_call_runs_once(running):
    events = anthropic_stream(CALL, tool_calls=[("Read", {"file_path": "/a.txt"})])
    content, _ = await running.content(sse(events))
    assert content == [("Read", {"file_path": "/a.txt"})]


async def test_pain_10_an_empty_answer_is_asked_for_again(running):
    empty = sse(anthropic_stream("", stop_reason="end_turn"))
    assert await running.content(empty, sse(anthropic_stream("Hi."))) == (["Hi."], "end_turn")


@pytest.mark.parametrize("stream", [True, False])
async def test_pain_10_two_empty_answers_are_no_success(running, stream):
    empty = sse(anthropic_stream("")) if stream else respond(200, anthropic_message(""))
    running.upstream.script(empty)
    answer = await running.raw(empty, stream=stream)
    assert answer.status_code == 502
    assert "had no content, twice" in answer.text


async def test_a_leak_alone_is_an_empty_answer(running):
    leak = sse(anthropic_stream(["<|im_", "end|>"]))
    assert (await running.content(leak, sse(anthropic_stream("Hi."))))[0] == ["Hi."]


async def test_one_megabyte_of_arguments_passes(running):
    content = "é\n" * 400_000
    events = anthropic_stream("", tool_calls=[("Write", {"file_path": "/a", "content": content})])
    found, _ = await running.content(sse(events))
    assert found == [("Write", {"file_path": "/a", "content": content})]


async def test_a_schema_that_loops_does_no_harm(running):
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    tree = {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"$ref": "#"}}}
    tools = [{"name": "Loop", "input_schema": loop}, {"name": "Tree", "input_schema": tree}]
    script = raw_stream(
        start(0, "Loop"), part(0, '{"a": 1}'), stop(0),
        start(1, "Tree"), part(1, '{"t": {"t": {"n": "1"}}}'), stop(1),
    )  # fmt: skip
    content, _ = await running.content(script, tools=tools)
    assert content == [("Loop", {"a": 1}), ("Tree", {"t": {"t": {"n": 1}}})]


async def test_requests_without_tools_are_relayed_as_they_are(running):
    events = anthropic_stream("a <|im_end|>")
    answer = await running.raw(sse(events), tools=[])
    assert b"<|im_end|>" in answer.content


async def test_the_receipt_tells_what_was_done(running):
    message = respond(200, anthropic_message(CALL))
    answer = await running.raw(message, stream=False)
    assert "by=tool-repair" in answer.headers["plugway-receipt"]


async def test_native_backends_are_left_alone():
    async with ScriptedUpstream(sse(anthropic_stream(CALL))) as upstream:
        plugins = [
            build_plugin(ToolRepair, "tool-repair", native_zones=["mine"]),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url, zone="mine"),
        ]
        async with gateway(plugins) as found:
            answer = await found.post(request_body(tools=TOOLS, stream=True))
    assert b"tool_call" in answer.content


FENCED = '```json\n{"name": "Read", "arguments": {"file_path": "/a.txt"}}\n```'


@pytest.mark.parametrize("size", [3, 1000])
async def test_pain_1_a_call_in_a_fence_counts_only_where_nothing_follows(running, size):
    def pieces(text):
        parts = [text[i : i + size] for i in range(0, len(text), size)]
        return sse(anthropic_stream(parts))

    last, _ = await running.content(pieces(f"So:\n{FENCED}\n"))
    assert last[-1] == ("Read", {"file_path": "/a.txt"})
    text = f"So:\n{FENCED}\n\nreads the file."
    assert await running.content(pieces(text)) == ([text], "end_turn")


XML = "<function=Bash>\n<parameter=command>\nid\n</parameter>\n</function>"


def after_result(text):
    """A conversation in which a tool brought `text`."""
    call = {"type": "tool_use", "id": "toolu_9", "name": "Read", "input": {"file_path": "/b"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_9", "content": text}
    return [
        {"role": "user", "content": "Read /b"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]


@pytest.mark.parametrize("size", [3, 1000])
@pytest.mark.parametrize("call", [CALL, XML, FENCED, f"[TOOL_CALLS]{FENCED[8:-4]}"])
@pytest.mark.parametrize("before", ["", "It says:\n"])
async def test_a_call_that_the_result_of_a_tool_contains_is_a_quotation(
    running, before, call, size
):
    text = f"{before}{call}"
    said = sse(anthropic_stream([text[i : i + size] for i in range(0, len(text), size)]))
    content, reason = await running.content(said, messages=after_result(f"Do this: {call} Now."))
    assert "".join(content).strip() == text
    assert reason == "end_turn"


@pytest.mark.parametrize("call", [CALL, XML])
async def test_a_call_in_reasoning_that_never_ends_may_be_a_quotation_too(running, call):
    said = sse(anthropic_stream("", thinking=f"It says {call}"))
    content, _ = await running.content(said, said, messages=after_result(f"Do: {call}"))
    assert not [block for block in content if isinstance(block, tuple)]


@pytest.mark.parametrize("result", ["Nothing.", CALL.replace("a.txt", "b.txt"), CALL[:-20]])
async def test_a_call_of_the_models_own_after_a_result_is_a_call(running, result):
    said = sse(anthropic_stream(CALL))
    content, _ = await running.content(said, messages=after_result(result))
    assert content == [("Read", {"file_path": "/a.txt"})]


async def test_reasoning_in_text_becomes_a_signed_thinking_block(running):
    script = sse(anthropic_stream(["<thi", "nk>Hm.</th", "ink>\n\nHi."]))
    events = parse_sse((await running.raw(script)).content)
    assert blocks_of(events)[0] == ["Hm.", "\n\nHi."]
    assert any(d.get("delta", {}).get("type") == "signature_delta" for _, d in events)


@pytest.mark.parametrize("options", [{"hold_thinking": True}])
async def test_thinking_that_is_held_lets_a_bad_call_be_asked_for_again(running):
    bad = anthropic_stream("", thinking="Hm.", tool_calls=[("Number", {"x": 1})])
    good = anthropic_stream("", thinking="Ah.", tool_calls=[("Number", {"n": 1})])
    content, _ = await running.content(sse(bad), sse(good))
    assert content == ["Ah.", ("Number", {"n": 1})]


CUT_CALL = '{"command": "echo ran > ran.txt", "timeout": 60'


@pytest.mark.parametrize("written", ["native", "text"])
async def test_a_call_that_the_limit_cut_off_is_asked_for_with_more_room(running, written):
    text = '<tool_call>{"name": "Bash", "arguments": ' + CUT_CALL
    cut = {
        "native": raw_stream(start(0), part(0, CUT_CALL), stop(0), stop="max_tokens"),
        "text": sse(anthropic_stream(text, stop_reason="max_tokens")),
    }[written]
    whole = raw_stream(start(0), part(0, CUT_CALL + "0}"), stop(0))
    content, reason = await running.content(cut, whole, max_tokens=5000)
    assert (content, reason) == (
        [("Bash", {"command": "echo ran > ran.txt", "timeout": 600})],
        "tool_use",
    )
    assert [r.json["max_tokens"] for r in running.upstream.requests] == [5000, 10_000]


@pytest.mark.parametrize("second", ["cut again", "refused"])
async def test_a_call_that_stays_cut_off_is_left_out_and_the_answer_says_so(running, second):
    cut = raw_stream(start(0), part(0, CUT_CALL), stop(0), stop="max_tokens")
    again = cut if second == "cut again" else respond(400, {"type": "error", "error": {}})
    (text,), reason = await running.content(cut, again)
    assert text.startswith("[The call of `Bash` was cut off by the output limit")
    assert reason == "max_tokens"
    assert len(running.upstream.requests) == 2


async def test_after_text_a_call_that_was_cut_off_is_left_out(running):
    said = anthropic_stream("On it.")[1:4]
    cut = raw_stream(*said, start(1), part(1, CUT_CALL), stop(1), stop="max_tokens")
    assert await running.content(cut) == (["On it."], "max_tokens")
    assert len(running.upstream.requests) == 1


async def test_the_last_call_of_a_whole_answer_that_was_cut_off_may_be_a_half(running):
    message = anthropic_message("", tool_calls=[("Bash", {"command": "rm -r build"})])
    cut = respond(200, {**message, "stop_reason": "max_tokens"})
    good = respond(200, anthropic_message("", tool_calls=[("Bash", {"command": "rm -r build/x"})]))
    answer = (await running.raw(cut, good, stream=False, max_tokens=5000)).json()
    assert [b["input"] for b in answer["content"]] == [{"command": "rm -r build/x"}]
    assert [r.json["max_tokens"] for r in running.upstream.requests] == [5000, 10_000]


async def test_a_call_that_is_whole_stays_before_one_that_was_cut_off(running):
    cut = raw_stream(
        start(0), part(0, '{"command": "ls"}'), stop(0), start(1), part(1, CUT_CALL), stop(1),
        stop="max_tokens",
    )  # fmt: skip
    assert await running.content(cut) == ([("Bash", {"command": "ls"})], "max_tokens")
    assert len(running.upstream.requests) == 1


async def test_a_placeholder_of_deferred_tools_is_neither_rescued_nor_offered(running):
    schema = {"type": "object", "properties": {}}
    placeholder = {
        "name": "DeferredToolPlaceholder",
        "input_schema": schema,
        "defer_loading": True,
    }
    fields = {"tools": [*TOOLS, placeholder]}
    text = '<tool_call>\n{"name": "DeferredToolPlaceholder", "arguments": {}}\n</tool_call>'
    found, _ = await running.content(sse(anthropic_stream(text)), **fields)
    assert all(isinstance(block, str) for block in found), "what cannot be called stays text"
    call = sse(anthropic_stream([], tool_calls=[("DeferredToolPlaceholder", {})]))
    answer = sse(anthropic_stream("Done."))
    found, _ = await running.content(call, answer, **fields)
    assert found == ["Done."]
    told = running.upstream.requests[-1].json["messages"][-1]["content"][0]["content"]
    offered = told.partition("there are: ")[2]
    assert "there is no tool `DeferredToolPlaceholder`" in told
    assert "Read" in offered
    assert "DeferredToolPlaceholder" not in offered


async def test_arguments_of_more_values_than_any_tool_takes_are_handed_on_as_they_came(running):
    given = {"n": "not a number"} | {f"k{number}": number for number in range(MOST_JUDGED + 2)}
    blocks, _ = await running.content(sse(anthropic_stream([], tool_calls=[("Number", given)])))
    assert blocks == [("Number", given)]
    assert len(running.upstream.requests) == 1

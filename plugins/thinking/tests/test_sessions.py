"""Whole sessions through the gateway, over backends that each sign in their own way."""

import orjson
import pytest

from plugway import Exchange, NoOptions, Outcome, Plugin, hookimpl
from plugway.testing import (
    ScriptedUpstream,
    anthropic_message,
    anthropic_stream,
    assert_valid_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_signature import parse_signature
from plugway_thinking import Thinking

pytestmark = pytest.mark.anyio

SIGNATURE = "c2lnbmVkLWJ5LXRoZS1zY3JpcHRlZC11cHN0cmVhbQ=="


@pytest.fixture
async def three():
    """A gateway over `cloud`, which is Anthropic, and `one` and `two`, which are not."""
    async with ScriptedUpstream() as cloud, ScriptedUpstream() as one, ScriptedUpstream() as two:
        stack = [
            build_plugin(Thinking, "thinking"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(AnthropicCompatible, "cloud", base_url=cloud.url, native_errors=True),
            build_plugin(AnthropicCompatible, "one", base_url=one.url),
            build_plugin(AnthropicCompatible, "two", base_url=two.url),
        ]
        async with gateway(stack) as running:
            yield running, {"cloud": cloud, "one": one, "two": two}


class Client:
    """Keeps a conversation as Claude Code does: every block is sent back as it came."""

    def __init__(self, running, upstreams):
        self.running, self.upstreams = running, upstreams
        self.messages = []

    async def turn(self, name, script, *, stream=True):
        """One turn on a backend; returns the body that it got."""
        self.messages.append({"role": "user", "content": f"question {len(self.messages)}"})
        upstream = self.upstreams[name]
        upstream.script(script)
        body = {
            "model": f"{name}/m",
            "max_tokens": 100,
            "messages": self.messages,
            "stream": stream,
        }
        response = await self.running.post(body)
        assert response.status_code == 200, response.text
        self.messages.append({"role": "assistant", "content": _content(response, stream)})
        return upstream.requests[-1]


def _content(response, stream):
    if not stream:
        return response.json()["content"]
    events = [
        (data["type"], data)
        for line in response.text.split("\n")
        if line.startswith("data: ")
        for data in [orjson.loads(line[6:])]
    ]
    assert_valid_stream(events)
    blocks = []
    for kind, data in events:
        if kind == "content_block_start":
            blocks.append(dict(data["content_block"]))
        elif kind == "content_block_delta":
            (key, value), *_ = [(k, v) for k, v in data["delta"].items() if k != "type"]
            blocks[-1][key] = (blocks[-1].get(key) or "") + value
    return blocks


def said(text, thought="", **more):
    return sse(anthropic_stream(text, thinking=thought, **more))


def marks(request):
    return [
        block.get("signature", block.get("data"))
        for message in request.json["messages"]
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] in ("thinking", "redacted_thinking")
    ]


async def test_pain_7_a_signed_original_is_the_same_to_the_byte_after_two_other_backends(three):
    client = Client(*three)
    start = {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix/LafPsn4="}
    events = anthropic_stream("On it.", thinking="Größe → \u2028 \x7f 1e2")
    block = [
        (
            "content_block_start",
            {"type": "content_block_start", "index": 2, "content_block": start},
        ),
        ("content_block_stop", {"type": "content_block_stop", "index": 2}),
    ]
    await client.turn("cloud", sse([*events[:-2], *block, *events[-2:]]))
    original = client.messages[1]["content"]
    assert [b["type"] for b in original] == ["thinking", "text", "redacted_thinking"]
    assert original[0]["signature"] == SIGNATURE

    one = await client.turn("one", said("From one.", "one thinks"))
    assert marks(one) == []
    two = await client.turn("two", said("From two.", "two thinks"))
    assert marks(two) == []
    again = await client.turn("one", said("One again.", "once more"))
    assert marks(again) == [SIGNATURE]  # what `one` itself had signed with
    back = await client.turn("cloud", said("Welcome back.", "home"))
    assert marks(back) == [SIGNATURE, start["data"]]
    assert orjson.dumps(original) in back.body
    assert "two thinks" not in back.body.decode()
    assert [m["role"] for m in back.json["messages"]] == ["user", "assistant"] * 4 + ["user"]


async def test_a_conversation_with_anthropic_alone_is_relayed_to_the_byte(three):
    running, upstreams = three
    client = Client(running, upstreams)
    await client.turn("cloud", said("One.", "hm"))
    await client.turn("cloud", said("Two.", "hm"))
    sent = upstreams["cloud"].requests[-1].json
    assert sent["messages"] == client.messages[:3]
    assert sent["model"] == "m"


async def test_a_signature_of_ours_says_who_made_it(three):
    client = Client(*three)
    await client.turn("one", said("Hi.", "hm"))
    found = parse_signature(client.messages[1]["content"][0]["signature"])
    assert (found.provider, found.model, found.state) == ("one", "m", {"sig": SIGNATURE})


async def test_a_maker_that_signs_nothing_is_signed_for(three):
    client = Client(*three)
    events = [e for e in anthropic_stream("Hi.", thinking="hm") if "signature_delta" not in str(e)]
    await client.turn("one", sse(events))
    assert parse_signature(client.messages[1]["content"][0]["signature"]).state is None
    assert marks(await client.turn("one", said("Again."))) == [""]
    assert marks(await client.turn("cloud", said("Cloud."))) == []


async def test_it_works_without_streams_too(three):
    client = Client(*three)
    whole = respond(200, anthropic_message("Hi.", thinking="hm"))
    await client.turn("one", whole, stream=False)
    found = parse_signature(client.messages[1]["content"][0]["signature"])
    assert found.state == {"sig": SIGNATURE}
    assert marks(await client.turn("one", whole, stream=True)) == [SIGNATURE]
    # the whole message was signed once, although it was replayed as a stream
    found = parse_signature(client.messages[3]["content"][0]["signature"])
    assert found.state == {"sig": SIGNATURE}
    assert marks(await client.turn("cloud", whole, stream=False)) == []
    assert client.messages[5]["content"][0]["signature"] == SIGNATURE


async def test_a_turn_of_thinking_alone_is_left_out_and_its_neighbours_joined(three):
    client = Client(*three)
    await client.turn("one", sse(anthropic_stream("", thinking="only this")))
    two = await client.turn("two", said("Hi."))
    assert [m["role"] for m in two.json["messages"]] == ["user"]
    assert len(two.json["messages"][0]["content"]) == 2


async def test_the_receipt_says_what_was_left_out(three):
    running, upstreams = three
    client = Client(running, upstreams)
    await client.turn("one", said("Hi.", "hm"))
    body = {"model": "cloud/m", "max_tokens": 9, "messages": [*client.messages, client.messages[0]]}
    told = (await running.post(body, "/v1/messages/explain")).json()
    assert any("1 thinking block left out" in entry["what"] for entry in told["receipt"])


class Receipts(Plugin[NoOptions]):
    """Keeps what was done to replies."""

    @hookimpl
    async def finished(self, exchange: Exchange, outcome: Outcome) -> None:
        self.signed = [entry.what for entry in exchange.receipt if entry.stage == "sign"]


@pytest.mark.parametrize("thought", ["", "Hm."])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_counts_as_changed_only_where_thinking_was_signed(thought, stream):
    receipts = Receipts(NoOptions(), name="receipts")
    async with ScriptedUpstream(said("Hello.", thought)) as one:
        backend = build_plugin(AnthropicCompatible, "one", base_url=one.url)
        async with gateway([receipts, build_plugin(Thinking, "thinking"), backend]) as running:
            response = await running.post(request_body(model="one/m", stream=stream))
    header = response.headers["plugway-receipt"]
    assert len(receipts.signed) == (1 if thought else 0)
    # The header of a stream goes out before its first block of thinking.
    assert ("changes=1; by=thinking" in header) is (bool(thought) and not stream)
    assert "changes=0" in header or not stream

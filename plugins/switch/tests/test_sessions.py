"""A long conversation over three backends that each think and sign in their own way."""

import itertools

import orjson
import pytest

from plugins.switch.tests.talk import Client
from plugway.testing import ScriptedUpstream, anthropic_message, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_router import Router
from plugway_switch import Switch
from plugway_thinking import Thinking

pytestmark = pytest.mark.anyio

SENTENCES = {
    "cloud": ["go back to the cloud model", "switch back", "use my cloud from now on"],
    "one": ["use my one/qwen", "switch to the qwen model", "@plugway use qwen"],
    "two": ["@plugway use two", "use my gemma please", "continue with my gemma"],
}
PLAN = [
    ("cloud", 4), ("one", 3), ("two", 2), ("cloud", 3), ("two", 4), ("one", 2),
    ("cloud", 2), ("one", 3), ("cloud", 1), ("two", 3), ("cloud", 3),
]  # fmt: skip


class Maker:
    """An upstream that thinks, signs with its own name, and calls a tool in every third answer."""

    def __init__(self, name):
        self.name, self.count = name, 0

    def __call__(self, request):
        if request.path.endswith("/models"):
            return respond(
                200, {"data": [{"id": {"one": "qwen", "two": "gemma"}.get(self.name, "opus")}]}
            )
        _check_tool_results(request.json["messages"])
        self.count += 1
        message = anthropic_message(f"{self.name} {self.count}", thinking=f"{self.name} thinks")
        message["content"][0]["signature"] = f"signed-by-{self.name}-{self.count}"
        if self.count % 3 == 0:
            call = {"type": "tool_use", "id": f"toolu_{self.name}_{self.count}", "name": "Read"}
            message["content"].append({**call, "input": {"path": "a"}})
            message["stop_reason"] = "tool_use"
        return respond(200, message)


def _check_tool_results(messages):
    """Every call has its result in the next turn, and the other way round."""
    for before, after in itertools.pairwise(messages):
        calls = [b["id"] for b in _blocks(before) if b["type"] == "tool_use"]
        results = [b["tool_use_id"] for b in _blocks(after) if b["type"] == "tool_result"]
        assert calls == results, (before, after)
    assert [m["role"] for m in messages] == ["user", "assistant"] * (len(messages) // 2) + ["user"]


def _blocks(message):
    return message["content"] if isinstance(message["content"], list) else []


def _signatures(request):
    blocks = [b for m in request.json["messages"] for b in _blocks(m)]
    return [b["signature"] for b in blocks if b["type"] == "thinking"]


async def test_thirty_turns_over_three_backends_lose_nothing_and_thinking_comes_back_intact():
    makers = {name: Maker(name) for name in SENTENCES}
    ups = {name: ScriptedUpstream(otherwise=maker) for name, maker in makers.items()}
    async with ups["cloud"], ups["one"], ups["two"]:
        stack = [
            build_plugin(Switch, "switch", warm=False),
            build_plugin(Thinking, "thinking"),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": ["cloud/opus"]}),
            build_plugin(
                AnthropicCompatible,
                "cloud",
                base_url=ups["cloud"].url,
                native_errors=True,
                zone="x",
            ),
            build_plugin(AnthropicCompatible, "one", base_url=ups["one"].url),
            build_plugin(AnthropicCompatible, "two", base_url=ups["two"].url),
        ]
        async with gateway(stack) as running:
            client = Client(running, model="a-model")
            turns = await _talk(client, ups)
    assert turns == sum(count for _, count in PLAN) == 30
    originals = [
        block
        for message in client.messages
        if message["role"] == "assistant"
        for block in message["content"]
        if block["type"] == "thinking" and block["signature"].startswith("signed-by-cloud")
    ]
    asked = {n: [r for r in up.requests if r.method == "POST"] for n, up in ups.items()}
    last = asked["cloud"][-1]
    assert len(originals) == makers["cloud"].count
    sent = last.body
    assert _signatures(last) == [block["signature"] for block in originals[:-1]]
    assert all(orjson.dumps(block) in sent for block in originals[:-1])
    assert b"one thinks" not in sent
    assert b"two thinks" not in sent
    for name in ("one", "two"):  # each gets its own thinking back, and nobody else's
        marks = _signatures(asked[name][-1])
        assert marks
        assert all(mark.startswith(f"signed-by-{name}-") for mark in marks)


async def _talk(client, ups):
    """All of the plan; the number of turns that a backend answered."""
    turns, here = 0, "cloud"
    for number, (name, count) in enumerate(PLAN):
        if name != here:
            said = await client.say(SENTENCES[name][number % 3])
            assert client.last.status_code == 200
            assert said.startswith(("This conversation is served by", "Back to the")), said
            here = name
        for turn in range(count):
            before = len(ups[name].requests)
            said = await client.say(f"question {number}.{turn}")
            assert said.startswith(f"{name} "), said
            turns += 1
            while client.last.json()["stop_reason"] == "tool_use":
                call = client.messages[-1]["content"][-1]
                result = {"type": "tool_result", "tool_use_id": call["id"], "content": "read"}
                assert (await client.turn([result])).startswith(f"{name} ")
            assert len(ups[name].requests) > before
    return turns

"""The cause of every miss is named, through a real gateway and a simulated prompt cache."""

import copy
import json
from contextlib import asynccontextmanager

import anyio
import pytest
from simulated_cache import Clock, MarkedCache, PlainCache

from plugway import Original
from plugway.testing import StrictUpstream, anthropic_error, build_plugin, gateway
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_cache_watch import CacheWatch
from plugway_cache_watch._body import PromptBody
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router

pytestmark = pytest.mark.anyio

MODEL = "claude-opus-4-8"
IMAGE = {
    "type": "image",
    "source": {
        "type": "base64",
        "media_type": "image/png",
        "data": "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5"
        "ErkJggg==",
    },
}
REMINDER = "<system-reminder>\nThe task tools have not been used recently.\n</system-reminder>"
DATED = "<system-reminder>\nToday's date is 2026-11-%d.\n</system-reminder>"
MARK = {"cache_control": {"type": "ephemeral"}}


def text(words, **more):
    return {"type": "text", "text": words, **more}


def tool(name, words="of a project"):
    schema = {"type": "object", "properties": {"path": {"type": "string"}}}
    return {"name": name, "description": f"{name} a file {words}. " * 20, "input_schema": schema}


def conversation(turns=5, **fields):
    """A conversation of `turns` questions whose last one is marked, as is the system prompt."""
    messages = []
    for turn in range(turns):
        messages.append({"role": "user", "content": [text(f"Question {turn}. " * 60)]})
        messages.append({"role": "assistant", "content": [text(f"Answer {turn}. " * 60)]})
    body = {
        "model": f"up/{MODEL}",
        "max_tokens": 100,
        "tools": [tool(name) for name in ("Read", "Write", "Edit", "Glob", "Grep", "Bash")],
        "system": [text("You are an agent. " * 60), text("Rules. " * 90), text("Style. " * 80)],
        "messages": messages[:-1],
        **fields,
    }
    body["system"][-1] |= MARK
    return marked(body)


def marked(body, at=-1):
    """The body with the mark of its messages at one of them only."""
    for message in body["messages"]:
        for block in message["content"]:
            block.pop("cache_control", None)
    body["messages"][at]["content"][-1] |= MARK
    return body


def next_turn(body, *blocks):
    """The next request of the conversation."""
    body = copy.deepcopy(body)
    body["messages"].append({"role": "assistant", "content": [text("Hello.")]})
    question = list(blocks) or [text("And another question. " * 20)]
    body["messages"].append({"role": "user", "content": question})
    return marked(body)


class Talk:
    """A client of a gateway in front of one simulated cache."""

    def __init__(self, running, watch, clock, cache):
        self.running, self.watch, self.clock, self.cache = running, watch, clock, cache
        self.session = "5d6b0b04-0000-4000-8000-000000000001"

    async def say(self, body, **headers):
        """Send a request; returns its explanation."""
        lines = {"x-claude-code-session-id": self.session, **headers}
        answer = await self.running.client.post("/v1/messages", json=body, headers=lines)
        assert answer.status_code == 200, answer.text
        self.clock.now += 10
        return await explained(self.watch, answer.headers["plugway-request-id"])


async def explained(watch, request_id):
    """The explanation, once the exchange has ended; None if there is none."""
    with anyio.move_on_after(1):  # a large request is hashed in a thread
        while not (found := watch.cache_of(request_id)):
            await anyio.lowlevel.checkpoint()
        return found
    return None


@asynccontextmanager
async def talk(cache=None, *, api="anthropic", backends=None, **options):
    clock = Clock()
    cache = cache(clock) if cache else MarkedCache(clock)
    watch = build_plugin(CacheWatch, "cache-watch", **options)
    watch.clock = clock
    async with StrictUpstream(api, otherwise=cache) as upstream:
        made = backends(upstream.url) if backends else [anthropic(upstream.url)]
        async with gateway([watch, *made]) as running:
            client = Talk(running, watch, clock, cache)
            client.upstream = upstream
            yield client


def anthropic(url, name="up"):
    return build_plugin(Anthropic, name, base_url=url, api_key="sk-ant-1")


def compatible(zone):
    key = {"api_key": "sk-1", "key_header": "x-api-key"}
    return lambda url: [build_plugin(AnthropicCompatible, "up", base_url=url, zone=zone, **key)]


def chat(zone):
    return lambda url: [
        build_plugin(OpenAICompatible, "up", base_url=f"{url}/v1", zone=zone, api_key="sk-1")
    ]


# ── one edit of an otherwise ordinary next turn ──────────────────────────────────────────────


def described(body):
    body["tools"][2]["description"] += "Now faster."


def schemed(body):
    body["tools"][5]["input_schema"]["properties"]["line"] = {"type": "integer"}


def with_new_tool(body):
    body["tools"].insert(3, tool("WebFetch"))


def with_late_tool(body):
    body["tools"] += [tool("mcp__git__log"), tool("mcp__git__diff")]


def without_tool(body):
    del body["tools"][1]


def renamed(body):
    body["tools"][4]["name"] = "Search"


def tools_shuffled(body):
    body["tools"].insert(1, body["tools"].pop(4))


def system_changed(body):
    body["system"][0]["text"] += "Be brief."


def system_dated(body):
    body["system"][1]["text"] += "Today's date is 2026-11-30."


def system_git(body):
    body["system"][1]["text"] += "gitStatus: clean"


def system_inserted(body):
    body["system"].insert(1, text("A new block."))


def system_removed(body):
    del body["system"][1]


def edited(body):
    body["messages"][3]["content"][0]["text"] += "!"


def inserted(body):
    extra = [
        {"role": "user", "content": [text("x")]},
        {"role": "assistant", "content": [text("y")]},
    ]
    body["messages"][4:4] = extra


def removed(body):
    del body["messages"][2:4]


def shuffled(body):
    body["messages"][2], body["messages"][4] = body["messages"][4], body["messages"][2]


def reminded(body):
    body["messages"][0]["content"].insert(0, text(REMINDER))


def unreminded(body):
    del body["messages"][0]["content"][1]


def compacted(body):
    summary = {"role": "user", "content": [text("Summary of what was said. " * 90)]}
    body["messages"] = [summary]
    marked(body)


def rewound(body):
    body["messages"] = body["messages"][:3]
    marked(body)


def chosen(body):
    body["tool_choice"] = {"type": "any"}


def thinking(body):
    body["thinking"] = {"type": "adaptive"}


def fast(body):
    body["speed"] = "fast"


def effort(body):
    body["output_config"] = {"effort": "low"}


def pictured(body):
    body["messages"][-1]["content"].insert(0, copy.deepcopy(IMAGE))


def unmarked(body):
    for message in body["messages"]:
        for block in message["content"]:
            block.pop("cache_control", None)
    del body["system"][-1]["cache_control"]


def marked_early(body):
    marked(body, 2)


def long_turn(body):
    body["messages"][-1]["content"] = [text(f"Line {n}. " * 5) for n in range(25)]
    marked(body)


EDITS = {
    "a tool's description": (described, "changed", "tools[2] `Edit`: its description changed"),
    "a tool's schema": (schemed, "changed", "tools[5] `Bash`: its schema changed"),
    "a tool's name": (renamed, "changed", "tools[4] `Search`: another tool is there"),
    "a new tool": (with_new_tool, "changed", "tools[3] `WebFetch` was inserted"),
    "late tools": (with_late_tool, "changed", "tools[6] `mcp__git__log` and 1 more were inserted"),
    "a tool less": (without_tool, "changed", "tools[1] was removed"),
    "tools in another order": (tools_shuffled, "changed", "tools were reordered from tools[1] on"),
    "system text": (system_changed, "changed", "system[0] changed"),
    "a date in system": (system_dated, "changed", "system[1] changed (it states a date or a time)"),
    "git in system": (system_git, "changed", "system[1] changed (it contains the state of the git"),
    "a new system block": (system_inserted, "changed", "system[1] was inserted"),
    "a system block less": (system_removed, "changed", "system[1] was removed"),
    "an edited message": (
        edited,
        "changed",
        "messages[3] (assistant) was edited: content[0] `text` changed",
    ),
    "inserted messages": (
        inserted,
        "changed",
        "messages[4] (user) and 1 more were inserted",
    ),
    "removed messages": (removed, "changed", "messages[2] (user) and 1 more were removed"),
    "messages in another order": (
        shuffled,
        "changed",
        "messages were reordered from messages[2] (user) on",
    ),
    "a reminder": (
        reminded,
        "changed",
        "messages[0] (user) was edited: content[0] `text` was inserted (a `<system-reminder>` of "
        "Claude Code)",
    ),
    "compaction": (
        compacted,
        "changed",
        "the conversation was compacted or restarted: messages[0] differs and 9 messages became 1",
    ),
    "rewinding": (rewound, "changed", "messages[3] (assistant) and 5 more were removed"),
    "tool_choice": (chosen, "setting", "`tool_choice` changed, which invalidates the cache of the"),
    "thinking": (
        thinking,
        "setting",
        "`thinking` changed, which invalidates the cache of the mess",
    ),
    "speed": (fast, "setting", "`speed` changed, which invalidates the cache of the system prompt"),
    "effort": (effort, "setting", "`output_config` changed, which invalidates the cache of the"),
    "a first image": (pictured, "images", "the first image was added, which invalidates the cache"),
    "no mark": (unmarked, "mark", "this request has no cache mark (`cache_control`); the last one"),
    "an early mark": (
        marked_early,
        "mark",
        "the last cache mark moved back from messages[8] to messages[2]",
    ),
    "a long turn": (
        long_turn,
        "lookback",
        "the next cache mark is 26 blocks behind what the last request stored at messages[8]",
    ),
}


@pytest.mark.parametrize("grown", [False, True], ids=["first turn", "third turn"])
@pytest.mark.parametrize("name", EDITS)
async def test_the_edit_of_a_turn_is_named(name, grown):
    edit, code, expected = EDITS[name]
    async with talk() as client:
        body = conversation(3 if grown else 5)
        assert (await client.say(body))["cause"] == "first"
        for _ in range(2 * grown):
            body = next_turn(body)
            assert (await client.say(body))["cause"] == "hit"
        body = next_turn(body)
        edit(body)
        found = await client.say(body)
    assert (found["cause"], found["miss"]) == (code, True), found
    assert found["why"].startswith(expected), found
    assert found["read"] + found["missed"] <= found["total"]
    assert found["missed"] > 0


# ── requests that are not edits of the last one ──────────────────────────────────────────────


async def test_the_first_request_is_cold_and_an_ordinary_turn_is_read():
    async with talk() as client:
        body = conversation()
        first = await client.say(body)
        second = await client.say(next_turn(body))
    assert first["why"] == f"the first request of this conversation to `up/{MODEL}`"
    assert (first["miss"], first["missed"], first["read"]) == (False, 0, 0)
    assert first["written"] == first["total"]
    assert (second["cause"], second["why"], second["miss"]) == ("hit", "", False)
    assert second["read"] == first["written"]
    assert second["line"].endswith("prompt tokens were read from the cache")


@pytest.mark.parametrize(("ttl", "minutes"), [("5m", 7), ("1h", 75)])
async def test_a_break_longer_than_the_lifetime_of_the_mark_is_named(ttl, minutes):
    async with talk() as client:
        body = conversation()
        longer = {"cache_control": {"type": "ephemeral", "ttl": ttl}}
        body["system"][-1] |= longer
        body["messages"][-1]["content"][-1] |= longer
        await client.say(body)
        client.clock.now += minutes * 60
        body["messages"] = next_turn(body)["messages"]
        body["messages"][-1]["content"][-1] |= longer
        found = await client.say(body)
    assert found["cause"] == "expired"
    kept = "5 minutes" if ttl == "5m" else "1 hour"
    assert found["why"].endswith(f" ago; Anthropic keeps it for {kept}")
    assert found["read"] == 0


async def test_a_break_within_the_lifetime_of_the_mark_is_none():
    async with talk() as client:
        longer = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
        body = conversation()
        body["system"][-1] |= longer
        body["messages"][-1]["content"][-1] |= longer
        await client.say(body)
        client.clock.now += 40 * 60
        assert (await client.say(next_turn(body)))["cause"] == "hit"


async def test_after_a_break_an_edit_comes_second():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        client.clock.now += 600
        body = next_turn(body)
        edited(body)
        found = await client.say(body)
    assert found["cause"] == "expired"
    assert found["also"] == ["messages[3] (assistant) was edited: content[0] `text` changed"]


async def test_another_model_and_another_target_are_named():
    def two(url):
        return [anthropic(url), anthropic(url, "work")]

    async with talk(backends=two) as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        model = await client.say(body | {"model": "up/claude-sonnet-5"})
        await client.say(body)
        target = await client.say(next_turn(body) | {"model": f"work/{MODEL}"})
        back = await client.say(next_turn(body))
    assert model["cause"] == "model"
    assert model["why"] == f"the model changed from `{MODEL}` to `claude-sonnet-5`"
    # The account is the same, so this provider read it all the same: there is nothing to explain.
    assert target["cause"] == "first"
    assert back["cause"] == "hit"


async def test_a_target_with_a_cache_of_its_own_is_named():
    def two(url):
        other = build_plugin(Anthropic, "work", base_url=url, api_key="sk-ant-2")
        return [anthropic(url), other]

    async with talk(backends=two) as client:
        body = conversation()
        await client.say(body)
        found = await client.say(next_turn(body) | {"model": f"work/{MODEL}"})
    assert found["cause"] == "target"
    assert found["why"] == f"the target changed from `up/{MODEL}` to `work/{MODEL}`"


async def test_a_fallback_is_named_with_what_failed():
    def two(url):
        other = build_plugin(Anthropic, "work", base_url=url, api_key="sk-ant-2")
        targets = [f"up/{MODEL}", f"work/{MODEL}"]
        router = build_plugin(Router, "router", models={"*": targets})
        return [router, anthropic(url), other]

    async with talk(backends=two) as client:
        body = conversation() | {"model": "any"}
        await client.say(body)
        client.upstream.script(anthropic_error(529, "overloaded_error", "Overloaded"))
        found = await client.say(next_turn(body))
    assert found["why"] == (
        f"the target changed from `up/{MODEL}` to `work/{MODEL}`, because `up/{MODEL}` failed"
    )


async def test_another_key_of_the_client_is_named():
    def own_keys(url):
        return [build_plugin(Anthropic, "up", base_url=url, credential="client")]

    async with talk(backends=own_keys) as client:
        body = conversation()
        await client.say(body, **{"x-api-key": "sk-ant-one"})
        found = await client.say(next_turn(body), **{"x-api-key": "sk-ant-two"})
    assert found["cause"] == "key"
    assert found["why"] == "it was sent with another key than the last request"
    assert "sk-ant" not in json.dumps(found)


async def test_a_prompt_below_the_minimum_is_named():
    async with talk(lambda clock: MarkedCache(clock, minimum=4096)) as client:
        body = conversation() | {"model": "up/claude-opus-4-6"}
        await client.say(body)
        found = await client.say(next_turn(body))
    assert found["cause"] == "minimum"
    assert found["why"] == "the prompt was below Anthropic's minimum of 4,096 tokens"


async def test_a_last_request_without_marks_is_named():
    async with talk() as client:
        body = conversation()
        unmarked(body)
        await client.say(body)
        found = await client.say(next_turn(body))
    assert found["cause"] == "unmarked"
    assert found["why"].startswith("the last request had no cache mark (`cache_control`)")


async def test_the_thinking_that_an_older_model_drops_is_named():
    def forgetful(clock):
        return MarkedCache(clock, forgets_thinking=True)

    signed = {"type": "thinking", "thinking": "Hm. " * 200, "signature": "c2lnbmVk"}
    call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"path": "a"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x " * 900}
    async with talk(forgetful) as client:
        body = conversation() | {"model": "up/claude-sonnet-4-5"}
        body |= {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}
        body["messages"].append({"role": "assistant", "content": [signed, call]})
        body["messages"].append({"role": "user", "content": [result]})
        await client.say(marked(body))
        found = await client.say(next_turn(body))
    assert found["cause"] == "thinking"
    assert found["why"].startswith("this model drops the thinking of earlier turns")


async def test_a_removed_image_is_named():
    async with talk() as client:
        body = conversation()
        pictured(body)
        await client.say(body)
        body = next_turn(body)
        del body["messages"][8]["content"][0]
        found = await client.say(body)
    assert found["cause"] == "images"
    assert found["why"].startswith("the last image was removed")
    assert found["also"] == ["messages[8] (user) was edited: content[0] was removed"]


async def test_keys_of_a_call_in_another_order_are_named():
    async with talk() as client:
        body = conversation()
        call = {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"a": 1, "b": 2}}
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "x " * 900}
        body["messages"].append({"role": "assistant", "content": [call]})
        body["messages"].append({"role": "user", "content": [result]})
        await client.say(marked(body))
        body = next_turn(body)
        body["messages"][9]["content"][0]["input"] = {"b": 2, "a": 1}
        found = await client.say(body)
    assert found["why"] == (
        "messages[9] (assistant) was edited: content[0] `tool_use` changed (its input, or the order "
        "of the keys in it)"
    )


async def test_the_attribution_entry_of_claude_code_is_named_where_the_server_counts_it():
    entry = "x-anthropic-billing-header: cc_version=2.1.332; cch=%s;"
    async with talk(backends=compatible("example.com")) as client:
        body = conversation()
        body["system"].insert(0, text(entry % "a1b2c"))
        await client.say(body)
        body = next_turn(body)
        body["system"][0]["text"] = entry % "d3e4f"
        found = await client.say(body)
    assert found["why"].startswith("system[0] changed (Claude Code's attribution entry, which")
    assert "CLAUDE_CODE_ATTRIBUTION_HEADER=0" in found["why"]


async def test_at_anthropic_the_attribution_entry_is_named_only_after_other_changes():
    entry = "x-anthropic-billing-header: cc_version=2.1.332; cch=%s;"
    async with talk() as client:
        body = conversation()
        body["system"].insert(0, text(entry % "a1b2c"))
        await client.say(body)
        body = next_turn(body)
        body["system"][0]["text"] = entry % "d3e4f"
        body["system"][1]["text"] += "Be brief."
        found = await client.say(body)
    assert found["why"] == "system[1] changed"


async def test_a_reminder_with_a_date_is_named():
    async with talk() as client:
        body = conversation()
        body["messages"][0]["content"].insert(0, text(DATED % 29))
        await client.say(body)
        body = next_turn(body)
        body["messages"][0]["content"][0] = text(DATED % 30)
        found = await client.say(body)
    assert found["why"] == (
        "messages[0] (user) was edited: content[0] `text` changed (a `<system-reminder>` of Claude "
        "Code, which states a date)"
    )


async def test_a_parallel_request_is_named_while_the_other_has_no_answer_yet():
    async with talk() as client:
        body = conversation()
        client.cache.hold = anyio.Event()
        found = []

        async def ask(question):
            found.append(await client.say(question))

        async with anyio.create_task_group() as group:
            group.start_soon(ask, body)
            while not client.cache.waiting:
                await anyio.lowlevel.checkpoint()
            client.clock.now += 1
            group.start_soon(ask, next_turn(body))
            while len(client.cache.waiting) < 2:
                await anyio.lowlevel.checkpoint()
            client.clock.now += 5
            client.cache.release()
    assert {item["cause"] for item in found} == {"first", "parallel"}
    (miss,) = (item for item in found if item["miss"])
    assert miss["why"].startswith("was sent before the reply to a parallel request")
    assert miss["missed"] > 1000


async def test_a_prompt_that_the_server_dropped_is_said_to_be_unexplained():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        client.cache.entries.clear()
        found = await client.say(next_turn(body))
    assert found["cause"] == "unexplained"
    assert found["why"] == (
        "the same prompt was sent 10 s ago and nothing in it changed: Anthropic dropped it"
    )


# ── providers without marks ──────────────────────────────────────────────────────────────────


def plain(**options):
    return lambda clock: PlainCache(clock, **options)


async def two_turns(client, edit=lambda body: None, seconds=0):
    body = conversation() | {"model": "up/some-model"}
    first = await client.say(body)
    client.clock.now += seconds
    body = next_turn(body)
    edit(body)
    return first, await client.say(body)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (described, "tools[2] `Edit`: its description changed"),
        (system_changed, "system[0] changed"),
        (edited, "messages[3] (assistant) was edited: content[0] `text` changed"),
        (inserted, "messages[4] (user) and 1 more were inserted"),
    ],
)
async def test_edits_are_named_at_openai_too(edit, expected):
    async with talk(plain(), api="chat", backends=chat("api.openai.com")) as client:
        _, found = await two_turns(client, edit)
    assert (found["cause"], found["why"]) == ("changed", expected)


async def test_an_ordinary_turn_at_openai_is_a_hit_although_it_reads_in_steps():
    async with talk(plain(), api="chat", backends=chat("api.openai.com")) as client:
        first, second = await two_turns(client)
    assert second["cause"] == "hit"
    assert second["read"] % 128 == 0
    assert second["read"] <= first["total"]


async def test_a_tool_choice_does_not_count_at_openai():
    async with talk(plain(), api="chat", backends=chat("api.openai.com")) as client:
        _, found = await two_turns(client, chosen)
    assert found["cause"] == "hit"


async def test_the_lifetime_at_openai_is_named():
    async with talk(plain(), api="chat", backends=chat("api.openai.com")) as client:
        _, found = await two_turns(client, seconds=900)
    assert found["cause"] == "expired"
    assert "OpenAI keeps it for 5 to 10 minutes, up to 24 hours with" in found["why"]


async def test_the_minimum_at_openai_is_named():
    async with talk(plain(), api="chat", backends=chat("api.openai.com")) as client:
        body = conversation(1, tools=[], system=[text("Rules. " * 300)]) | {
            "model": "up/some-model"
        }
        await client.say(body)
        found = await client.say(next_turn(body))
    assert (found["cause"], found["why"]) == (
        "minimum",
        "the prompt was below OpenAI's minimum of 1,024 tokens",
    )


@pytest.mark.parametrize(
    ("zone", "code", "expected"),
    [
        ("api.openai.com", "unexplained", "OpenAI sends more than about 15 requests a minute with"),
        ("api.deepseek.com", "unexplained", "DeepSeek needs seconds to store a prompt"),
        ("local", "evicted", "local engines drop a prompt when its slot or memory is needed"),
    ],
)
async def test_what_a_provider_says_about_misses_is_said(zone, code, expected):
    async with talk(plain(), api="chat", backends=chat(zone)) as client:
        body = conversation() | {"model": "up/some-model"}
        for _ in range(2):  # it has been seen to report
            await client.say(body)
            body = next_turn(body)
        await client.say(body)
        client.cache.entries.clear()
        found = await client.say(next_turn(body))
    assert found["cause"] == code
    assert expected in found["why"]


async def test_a_server_that_reports_nothing_is_not_accused_of_a_miss():
    backends = chat("example.com")
    async with talk(plain(reports=False), api="chat", backends=backends) as client:
        _, found = await two_turns(client, edited)
    assert (found["cause"], found["miss"], found["missed"]) == ("unreported", False, 0)
    assert found["why"].startswith("`up/some-model` has not reported any cached tokens so far")


async def test_a_server_that_never_reports_is_not_compared_any_more():
    backends = chat("example.com")
    async with talk(plain(reports=False), api="chat", backends=backends) as client:
        body = conversation() | {"model": "up/some-model"}
        for _ in range(22):
            found = await client.say(body)
        (known,) = client.watch._conversations
        assert found["cause"] == "unreported"
        assert max(asked.turn for asked in known.asked) == 20
        client.cache.reports = True
        assert (await client.say(body))["read"] > 0
        assert (await client.say(body))["cause"] == "hit"


async def test_a_prompt_whose_beginning_the_server_stores_is_not_compared():
    body = {"model": "up/m", "input": "And now?", "previous_response_id": "resp_1"}
    original = Original("openai-responses", "/v1/responses", json.dumps(body).encode())
    deferred = original.deferred({"model": "up/m"}, lambda: b"{}")
    assert PromptBody(deferred).stored
    assert deferred.deferred, "looking at it does not translate it"


async def test_less_than_the_last_turn_stored_is_a_miss_although_an_older_one_stored_that():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        for n in range(3):
            body = next_turn(body, text(f"Long question {n}. " * 200))
            assert (await client.say(body))["cause"] == "hit"
        body = next_turn(body)
        body["messages"][10]["content"][0]["text"] += "!"
        found = await client.say(body)
    assert found["read"] > 1000
    assert found["why"] == "messages[10] (user) was edited: content[0] `text` changed"


async def test_a_prompt_that_the_server_counted_twice_is_no_measure():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        client.cache.times = 2  # such as with a web search of Anthropic's
        assert (await client.say(body))["cause"] == "hit"
        client.cache.times = 1
        body = next_turn(body, text("A long question. " * 200))
        found = await client.say(body)
        assert (found["cause"], found["miss"]) == ("recounted", False)
        assert (await client.say(next_turn(body)))["cause"] == "hit"


async def test_a_server_that_does_not_tell_what_it_stores_is_judged_by_what_it_was_sent():
    async with talk(backends=compatible("example.com")) as client:
        client.cache.tells_writes = False
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        assert (await client.say(body))["cause"] == "hit"
        body = next_turn(body)
        system_changed(body)
        found = await client.say(body)
        assert (found["cause"], found["why"]) == ("changed", "system[0] changed")
        client.clock.now += 600
        assert (await client.say(next_turn(body)))["cause"] == "expired"

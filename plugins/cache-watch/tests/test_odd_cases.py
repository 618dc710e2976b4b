"""Conversations that clients mix, cut, compact or make huge: causes stay true and memory bounded."""

import copy

import anyio
import orjson
import pytest
from gemini_talk import gemini_talk
from openai_answers import answer_of, message
from simulated_cache import Clock, MarkedCache, PlainCache
from test_causes import (
    IMAGE,
    MARK,
    MODEL,
    Talk,
    anthropic,
    chat,
    conversation,
    explained,
    long_turn,
    marked,
    next_turn,
    plain,
    talk,
    text,
    tools_shuffled,
    two_turns,
)

from plugway import MessagesRequest
from plugway.testing import (
    Cut,
    ScriptedUpstream,
    StrictUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic import Anthropic
from plugway_cache_watch import CacheWatch
from plugway_cache_watch._body import PromptBody
from plugway_cache_watch._causes import Asked
from plugway_cache_watch._conversations import Conversations
from plugway_cache_watch._diff import first_edit
from plugway_cache_watch._prints import print_of
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router

pytestmark = pytest.mark.anyio


def task(words):
    """The request of a conversation of its own, with the tools and instructions of the others."""
    body = conversation(1)
    body["messages"][0]["content"] = [text(f"{words}. " * 300)]
    return marked(body)


async def anonymous(client, body):
    """Send a request that names no conversation."""
    answer = await client.running.client.post("/v1/messages", json=body)
    assert answer.status_code == 200
    client.clock.now += 10
    return await explained(client.watch, answer.headers["plugway-request-id"])


# ── several conversations under one name ─────────────────────────────────────────────────────────


async def test_tasks_with_the_same_instructions_are_not_edits_of_each_other():
    async with talk() as client:
        found = [await anonymous(client, task(f"Task {n}")) for n in range(20)]
        later = next_turn(task("Task 19"), text("A long question. " * 200))
        hit = await anonymous(client, later)
        later = next_turn(later)
        later["messages"][1]["content"][0]["text"] += "!"
        missed = await anonymous(client, later)
    assert {item["cause"] for item in found} == {"first"}
    assert all(item["read"] > 1000 for item in found[1:])
    assert hit["cause"] == "hit"
    assert missed["why"].startswith("messages[1] (assistant) was edited")


async def test_tasks_of_chat_completions_are_told_apart_by_what_follows_their_instructions():
    """Relayed bytes, in which the instructions are the first message."""

    def relaying(url):
        key = {"base_url": f"{url}/v1", "api_key": "sk-1", "zone": "api.openai.com"}
        return [build_plugin(OpenAIApi, "api"), build_plugin(OpenAICompatible, "up", **key)]

    async with talk(PlainCache, api="chat", backends=relaying) as client:

        async def ask(task, rules="Rules. "):
            instructions = {"role": "system", "content": rules * 900}
            asked = {"role": "user", "content": f"{task}. " * 300}
            body = {"model": "up/some-model", "messages": [instructions, asked]}
            function = {"name": "ls", "parameters": {"type": "object", "properties": {}}}
            body["tools"] = [{"type": "function", "function": function}]
            reply = await client.running.client.post("/v1/chat/completions", json=body)
            assert reply.status_code == 200, reply.text
            client.clock.now += 10
            return await explained(client.watch, reply.headers["plugway-request-id"])

        found = [await ask(f"Task {n}") for n in range(3)]
        changed = await ask("Task 3", rules="Other rules. ")
    assert [item["cause"] for item in found] == ["first"] * 3
    assert found[2]["read"] > 1000
    assert changed["why"] == "messages[0] (system) was edited: content[0] `text` changed"


async def test_the_turns_go_on_after_subagents_that_name_themselves_by_nothing():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        tasks = [task(f"Task {n}") for n in range(11)]
        found = [await client.say(one) for one in tasks]
        assert (await client.say(next_turn(body)))["cause"] == "hit"
        assert (await client.say(next_turn(tasks[-1])))["cause"] == "hit"
    assert {item["cause"] for item in found[1:]} == {"first"}


async def test_instructions_that_change_with_each_task_are_named():
    async with talk() as client:
        await anonymous(client, task("One"))
        other = task("Two")
        other["system"][1]["text"] += "Today's date is 2026-11-30."
        found = await anonymous(client, other)
    assert found["why"] == "system[1] changed (it states a date or a time)"
    assert found["also"] == []
    assert 1000 < found["missed"] < found["total"] * 0.8


async def test_subagents_in_turn_do_not_confuse_each_other():
    async with talk() as client:
        bodies = {}
        for name in ("", "a", "b", "c"):
            system = [text(f"You are agent {name}. " * 90, **MARK)]
            bodies[name] = marked(conversation(2, system=system))
        for turn in range(4):
            for name, body in bodies.items():
                headers = {"x-claude-code-agent-id": name} if name else {}
                found = await client.say(body, **headers)
                assert found["cause"] == ("hit" if turn else "first"), (name, found)
                bodies[name] = next_turn(body)


# ── edits of long conversations ──────────────────────────────────────────────────────────────────


async def test_a_middle_that_was_replaced_by_a_summary_is_named():
    async with talk() as client:
        body = conversation(10)
        await client.say(body)
        body = next_turn(body)
        summary = [{"role": "user", "content": [text("Summary")]}]
        body["messages"][2:13] = summary
        found = await client.say(body)
    assert found["why"] == "messages[2] to messages[12] were replaced by 1 other"
    assert found["also"] == []


async def test_800_removed_messages_of_2000_are_counted():
    async with talk() as client:
        body = conversation(1000)
        await client.say(body)
        body = next_turn(body)
        assert (await client.say(body))["cause"] == "hit"
        body = next_turn(body)
        del body["messages"][1:801]
        found = await client.say(marked(body))
    assert found["why"] == "messages[1] (assistant) and 799 more were removed"
    assert found["missed"] > 200_000


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("abcdef", "abXdef", ("changed", 2, 1, 1)),
        ("abcdef", "abXef", ("replaced", 2, 2, 1)),
        ("abcdef", "abXYdef", ("replaced", 2, 1, 2)),
        ("abcdef", "abXYZ", ("changed", 2, 1, 1)),
        ("abcdef", "abdef", ("removed", 2, 1, 1)),
        ("abcdef", "abXcdef", ("inserted", 2, 1, 1)),
        ("abcdef", "fedcba", ("reordered", 0, 1, 1)),
    ],
)
def test_the_kind_of_an_edit(old, new, expected):
    found = first_edit(old, new)
    assert (found.kind, found.at, found.many, found.by) == expected


async def test_a_compacted_conversation_is_not_said_to_have_moved_its_mark():
    async with talk() as client:
        await client.say(conversation(12))
        found = await client.say(task("A summary of what was said"))
        again = await client.say(next_turn(task("A summary of what was said")))
    assert found["why"].startswith("the conversation was compacted or restarted")
    assert found["also"] == []
    assert again["cause"] == "hit"


async def test_a_conversation_over_the_limit_is_not_hashed_even_if_it_goes_on():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        roles = ("assistant", "user") * 2100
        body["messages"] += [{"role": role, "content": [text("x")]} for role in roles]
        found = await client.say(marked(body))
        (known,) = client.watch._conversations
    assert (found["cause"], found["miss"]) == ("long", False)
    assert found["read"] > 1000
    assert len(known.asked) == 1


async def test_a_branch_without_the_image_of_the_other_one_is_a_hit():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        await client.say(trunk := next_turn(body))
        await client.say(next_turn(trunk, copy.deepcopy(IMAGE)))
        (known,) = client.watch._conversations
        assert [asked.print.images for asked in known.asked] == [False, False, True]
        assert [len([*asked.print.messages]) for asked in known.asked] == [9, 11, 13]
        found = await client.say(next_turn(trunk, text("Another branch. " * 30)))
    assert found["cause"] == "hit"


# ── marks ────────────────────────────────────────────────────────────────────────────────────────


async def test_a_mark_of_an_hour_holds_what_five_minutes_do_not():
    async with talk() as client:
        body = conversation()
        body["system"][-1]["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        await client.say(body)
        client.clock.now += 600
        found = await client.say(next_turn(body))
    assert found["cause"] == "expired"
    assert found["read"] > 1000


async def test_another_lifetime_at_a_mark_is_no_change():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        for block in (body["system"][-1], body["messages"][-1]["content"][-1]):
            block["cache_control"] = {"type": "ephemeral", "ttl": "1h"}
        assert (await client.say(body))["cause"] == "hit"
        client.clock.now += 1800
        assert (await client.say(next_turn(body)))["cause"] == "hit"


async def test_a_mark_that_stays_where_the_last_one_was_makes_a_long_turn_a_hit():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        long_turn(body)
        body["messages"][8]["content"][-1] |= MARK
        assert (await client.say(body))["cause"] == "hit"


async def test_a_removed_mark_of_the_system_prompt_is_no_miss_while_a_later_one_is_read():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        del body["system"][-1]["cache_control"]
        assert (await client.say(body))["cause"] == "hit"


# ── other models, targets and parallel requests ──────────────────────────────────────────────────


async def test_a_switch_of_model_is_named_even_if_the_prompt_changed_with_it():
    """Claude Code states the model in its system prompt."""
    async with talk() as client:
        body = conversation()
        await client.say(body)
        body = next_turn(body)
        body["system"][0]["text"] += "You are powered by another model."
        tools_shuffled(body)
        found = await client.say(body | {"model": "up/claude-sonnet-5"})
    assert found["cause"] == "model"
    assert found["why"] == f"the model changed from `{MODEL}` to `claude-sonnet-5`"
    assert found["also"] == ["tools were reordered from tools[1] on", "system[0] changed"]
    assert found["missed"] > found["total"] * 0.9


async def test_a_title_by_another_model_is_no_switch():
    async with talk() as client:
        await client.say(conversation())
        title = conversation(1, tools=[], system=[text("Write a title. " * 200)])
        title["model"] = "up/claude-haiku-4-5"
        found = await client.say(title)
    assert (found["cause"], found["miss"]) == ("first", False)


async def test_an_expired_fallback_says_what_failed():
    def two(url):
        other = build_plugin(Anthropic, "work", base_url=url, api_key="sk-ant-2")
        targets = [f"up/{MODEL}", f"work/{MODEL}"]
        return [build_plugin(Router, "router", models={"*": targets}), anthropic(url), other]

    busy = anthropic_error(529, "overloaded_error", "Overloaded")
    async with talk(backends=two) as client:
        body = conversation() | {"model": "any"}
        await client.say(body)
        client.upstream.script(busy)
        await client.say(body := next_turn(body))
        body = next_turn(body)
        assert (await client.say(body))["cause"] == "hit"
        client.clock.now += 400
        client.upstream.script(busy)
        found = await client.say(next_turn(body))
    assert found["cause"] == "expired"
    assert found["also"] == [f"it went to `work/{MODEL}` because `up/{MODEL}` failed"]


async def test_parallel_requests_without_a_common_mark_could_not_have_read_each_other():
    async with talk() as client:
        client.cache.hold = anyio.Event()
        found = []

        async def ask(body):
            found.append(await client.say(body))

        async with anyio.create_task_group() as group:
            for number in range(8):
                body = task(f"Task {number}")
                body["system"][0]["text"] = f"You are agent {number}. " * 60
                group.start_soon(ask, body)
                while len(client.cache.waiting) <= number:
                    await anyio.lowlevel.checkpoint()
                client.clock.now += 1
            client.cache.release()
    assert {item["cause"] for item in found} == {"first"}


async def test_each_parallel_request_is_hashed_once(monkeypatch):
    hashed = []

    def counted(body):
        hashed.append(body)
        return print_of(body)

    monkeypatch.setattr("plugway_cache_watch._conversations.print_of", counted)
    async with talk() as client:
        client.cache.hold = anyio.Event()
        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(client.say, task(f"Task {number}"))
            while len(client.cache.waiting) < 12:
                await anyio.lowlevel.checkpoint()
            client.cache.release()
    assert len(hashed) == 12


# ── requests that fail ───────────────────────────────────────────────────────────────────────────


async def test_a_stream_that_is_cut_is_explained_and_the_next_turn_is_a_hit():
    async with talk() as client:
        body = conversation(stream=True)
        await client.say(body)
        body = next_turn(body)
        usage = client.cache.usage(body | {"model": MODEL}, "sk-ant-1")
        client.upstream.script(sse(anthropic_stream(["a", "b"], usage=usage)[:4], end=Cut()))
        lines = {"x-claude-code-session-id": client.session}
        post = client.running.client.stream("POST", "/v1/messages", json=body, headers=lines)
        with pytest.raises(Exception, match=r"."):
            async with post as reply:
                await reply.aread()
        found = await explained(client.watch, reply.headers["plugway-request-id"])
        assert (found["cause"], found["read"]) == ("hit", usage["cache_read_input_tokens"])
        assert (await client.say(next_turn(body)))["cause"] == "hit"
        (known,) = client.watch._conversations
    assert not known.flying


async def test_counting_tokens_is_no_turn():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        client.upstream.script(respond(200, {"input_tokens": 5}))
        asked = {name: value for name, value in body.items() if name != "max_tokens"}
        lines = {"x-claude-code-session-id": client.session}
        path = "/v1/messages/count_tokens"
        counted = await client.running.client.post(path, json=asked, headers=lines)
        assert counted.status_code == 200
        (known,) = client.watch._conversations
        assert (len(known.asked), known.flying) == (1, {})


@pytest.mark.parametrize(
    "usage",
    [
        {"input_tokens": -5, "cache_read_input_tokens": 10**30, "output_tokens": 1},
        {"input_tokens": 1, "cache_read_input_tokens": 10**11, "output_tokens": 1},
        {"input_tokens": 0, "cache_read_input_tokens": "9", "output_tokens": 1},
        {"input_tokens": 3, "output_tokens": 1},
    ],
)
async def test_absurd_counts_of_a_server_accuse_nobody(usage):
    async with talk() as client:
        body = conversation(stream=True)
        await client.say(body)
        client.upstream.script(sse(anthropic_stream("Hello.", usage=usage)))
        found = await client.say(body := next_turn(body))
        assert found is None or not found["miss"], found
        assert not (await client.say(next_turn(body)))["miss"]


# ── providers that need no marks, in the client's own API ────────────────────────────────────────


def dated_answer(total, cached):
    """A reply of Chat Completions as DeepSeek sends it:
    https://api-docs.deepseek.com/guides/kv_cache."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}
    usage = {"prompt_tokens": total, "completion_tokens": 5, "total_tokens": total + 5}
    usage |= {"prompt_cache_hit_tokens": cached, "prompt_cache_miss_tokens": total - cached}
    head = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return respond(200, {**head, "choices": [choice], "usage": usage})


async def test_deepseeks_own_counts_are_read():
    deepseek = chat("api.deepseek.com")
    async with talk(plain(minimum=64, step=64), api="chat", backends=deepseek) as client:
        await two_turns(client)
        body = next_turn(next_turn(conversation() | {"model": "up/some-model"}))
        client.upstream.script(dated_answer(3400, 3264))
        assert (await client.say(body))["read"] == 3264
        client.upstream.script(dated_answer(3500, 0))
        found = await client.say(next_turn(body))
    assert (found["cause"], found["missed"]) == ("unexplained", 3400)
    assert "DeepSeek needs seconds to store a prompt" in found["why"]


class Responses:
    """A client of the Responses API whose bytes are relayed."""

    def __init__(self, running, upstream, watch):
        self.running, self.upstream, self.watch = running, upstream, watch
        items = [
            {"role": "user", "content": "Question. " * 400},
            {"type": "function_call", "call_id": "c1", "name": "ls", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "x " * 2000},
        ]
        schema = {"type": "object", "properties": {}}
        tools = [{"type": "function", "name": n, "parameters": schema} for n in ("ls", "cat")]
        self.body = {"model": "up/gpt-5", "instructions": "You are. " * 200, "store": False}
        self.body |= {"input": items, "tools": tools}

    async def turn(self, cached, total, **fields):
        """The next turn; the server reports these counts."""
        self.body |= fields
        self.body["input"].append({"role": "user", "content": "And now?"})
        answer = answer_of(message("hi"))
        answer["usage"] |= {
            "input_tokens": total,
            "input_tokens_details": {"cached_tokens": cached},
            "total_tokens": total + answer["usage"]["output_tokens"],
        }
        self.upstream.script(respond(200, answer))
        lines = {"x-claude-code-session-id": "s"}
        reply = await self.running.client.post("/v1/responses", json=self.body, headers=lines)
        assert reply.status_code == 200, reply.text
        self.watch.clock.now += 10
        return await explained(self.watch, reply.headers["plugway-request-id"])


async def test_turns_of_the_responses_api_are_explained():
    watch = build_plugin(CacheWatch, "cache-watch")
    watch.clock = Clock()
    key = {"api_key": "sk-1", "zone": "api.openai.com"}
    async with (
        ScriptedUpstream() as upstream,
        gateway(
            [
                watch,
                build_plugin(OpenAIApi, "api"),
                build_plugin(OpenAI, "up", base_url=f"{upstream.url}/v1", **key),
            ]
        ) as running,
    ):
        client = Responses(running, upstream, watch)
        assert (await client.turn(0, 4000))["cause"] == "first"
        assert (await client.turn(3968, 4020))["cause"] == "hit"
        client.body["input"][2]["output"] += "!"
        found = await client.turn(1024, 4040)
        assert found["why"] == "messages[2] was edited: content[0] `function_call_output` changed"
        client.body["tools"].reverse()
        assert (await client.turn(0, 4060))["why"] == "tools were reordered from tools[0] on"
        found = await client.turn(0, 4080, prompt_cache_key="other")
        assert (found["cause"], found["missed"]) == ("setting", 4060)
        assert found["why"].startswith("`prompt_cache_key` changed, by which OpenAI chooses")
        found = await client.turn(0, 4100, text={"format": {"type": "json_object"}})
        assert found["why"] == "`text` changed, whose schema is in front of the prompt"
        await client.turn(4096, 4120, prompt_cache_retention="24h")
        watch.clock.now += 3600
        assert (await client.turn(0, 4140))["cause"] == "unexplained"
        watch.clock.now += 25 * 3600
        found = await client.turn(0, 4160)
        assert found["why"].endswith("h ago; OpenAI keeps it for up to 24 hours")


async def test_turns_of_geminis_own_api_are_explained():
    async with gemini_talk() as ask:
        body = {"systemInstruction": {"parts": [{"text": "You. " * 3000}]}, "contents": []}

        async def turn(total, **cached):
            body["contents"].append({"role": "user", "parts": [{"text": "Q " * 4000}]})
            found = await ask(body, total, **cached)
            body["contents"].append({"role": "model", "parts": [{"text": "hi"}]})
            return found

        assert (await turn(9000))["cause"] == "first"
        assert (await turn(17000, cachedContentTokenCount=8200))["cause"] == "hit"
        body["systemInstruction"]["parts"][0]["text"] += "!"
        found = await turn(25000)
    assert (found["why"], found["missed"]) == ("system[0] changed", 17000)


# ── two entries, reloads and memory ──────────────────────────────────────────────────────────────


async def test_two_entries_explain_each_for_itself():
    clock = Clock()
    watches = [build_plugin(CacheWatch, name) for name in ("one", "two")]
    for watch in watches:
        watch.clock = clock
    async with (
        StrictUpstream("anthropic", otherwise=MarkedCache(clock)) as upstream,
        gateway([*watches, anthropic(upstream.url)]) as running,
    ):
        client = Talk(running, watches[0], clock, None)
        body = conversation()
        await client.say(body)
        assert (await client.say(next_turn(body)))["cause"] == "hit"
        assert [len(watch._explained) for watch in watches] == [2, 2]
        assert [c.flying for watch in watches for c in watch._conversations] == [{}, {}]


async def test_a_request_that_runs_during_a_reload_is_explained_after_it():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        fresh = build_plugin(CacheWatch, "cache-watch")
        fresh._take(client.watch)  # the reply below ends at the instance before
        old, client.watch = client.watch, fresh
        found = await client.say(next_turn(body))
        other = build_plugin(CacheWatch, "cache-watch", remember=1)
        other._take(old)
    assert found["cause"] == "hit"
    assert len(other._explained) == 1


def a_print(words, entries=50):
    messages = [{"role": "user", "content": [text(f"{words} {n}")]} for n in range(entries)]
    body = {"model": "m", "max_tokens": 1, "messages": messages}
    return print_of(PromptBody(MessagesRequest(orjson.dumps(body))))


def asked_with(fingerprint):
    zeros = (0, 0, 1.0, 1.0, 1, 0, 0, False, 0, 0)
    return Asked("r", "up/m", fingerprint, *zeros)


def test_memory_is_bounded_by_hashes_and_the_oldest_conversations_go_first():
    known = Conversations(most_hashes=1000)
    for number in range(40):
        conversation_of = known.at(("", "", f"s{number}", ""))
        for version in range(3):
            fingerprint = a_print(f"{number} {version}")
            known.remember(conversation_of, asked_with(fingerprint), fingerprint.hashes)
            assert sum(one.hashes for one in known) <= 1000
    assert known.at(("", "", "s39", "")).asked
    assert not known.at(("", "", "s0", "")).asked


def test_one_conversation_that_is_too_large_keeps_its_last_request():
    known = Conversations(most_hashes=300)
    one = known.at(("", "", "s", ""))
    for version in range(5):
        fingerprint = a_print(version, entries=100)
        known.remember(one, asked_with(fingerprint), fingerprint.hashes)
    assert len(one.asked) == 1


def test_turns_that_share_their_entries_count_them_once():
    known = Conversations(most_hashes=1000)
    one, fingerprint = known.at(("", "", "s", "")), a_print("x", entries=200)
    for _ in range(12):
        known.remember(one, asked_with(fingerprint), 2)
    assert (one.hashes, len(one.asked)) == (400, 12)

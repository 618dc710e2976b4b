"""What is shown of an explanation and where; what is kept apart, and what is not kept."""

import gc
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_cache import Clock, MarkedCache, PlainCache
from test_causes import (
    Talk,
    anthropic,
    conversation,
    described,
    edited,
    explained,
    marked,
    next_turn,
    talk,
    text,
)

from plugway import ConfigError, MessagesRequest, NoOptions, Plugin, hookimpl
from plugway.config.config import parse_config
from plugway.testing import StrictUpstream, build_plugin, gateway
from plugway_cache_watch import CacheWatch
from plugway_cache_watch._body import PromptBody
from plugway_cache_watch._diff import differences
from plugway_cache_watch._prints import continued, print_of
from plugway_dashboard import Dashboard
from plugway_endpoints import ExplainsCache
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_prices import Prices
from plugway_recommend import Recommend
from tests.kernel.loading import load_plugins

PRICES = {"up/*": {"input": 5, "output": 25, "cached": 0.5}}
pytestmark = pytest.mark.anyio


async def shown(client):
    """The last exchange on the page."""
    document = (await client.running.client.get("/dashboard/exchanges")).json()
    return document["exchanges"][-1]


def with_page(*before):
    return lambda url: [build_plugin(Dashboard, "dashboard"), *before, anthropic(url)]


async def miss(client, edit=edited, **fields):
    body = conversation(**fields)
    await client.say(body)
    body = next_turn(body)
    edit(body)
    return await client.say(body)


async def test_a_dear_miss_is_on_the_receipt_and_on_the_page_with_its_price():
    recommend = build_plugin(Recommend, "recommend", prices=PRICES)
    async with talk(backends=with_page(recommend), least_dollars=0.001) as client:
        found = await miss(client)
        item = await shown(client)
    assert found["dollars"] == pytest.approx(found["missed"] * 4.5 / 1e6), "your own prices"
    assert item["cache"] == found
    (entry,) = (e for e in item["receipt"] if e["plugin"] == "cache-watch")
    assert entry["stage"] == "cache"
    assert entry["what"] == found["line"]
    assert f"more could have been (${found['dollars']:.4f}): messages[3]" in found["line"]


async def test_the_plugin_prices_says_what_a_miss_costs():
    options = {"models": {"up/*": {"input": 5, "output": 25, "cache_read": 0.5}}}
    prices = build_plugin(Prices, "prices", **options)
    recommend = build_plugin(Recommend, "recommend")
    async with talk(backends=with_page(recommend, prices)) as client:
        found = await miss(client)
    assert found["dollars"] == pytest.approx(found["missed"] * 4.5e-6)


async def test_a_cheap_miss_is_on_the_page_only():
    recommend = build_plugin(Recommend, "recommend", prices=PRICES)
    async with talk(backends=with_page(recommend), least_dollars=1) as client:
        found = await miss(client)
        item = await shown(client)
    assert item["cache"] == found
    assert not [e for e in item["receipt"] if e["plugin"] == "cache-watch"]


async def test_vendors_prices_are_known_and_include_the_surcharge_for_storing():
    """Claude Opus 4.8: 5 dollars for input, 6.25 to store it for 5 minutes, 10 for an hour, and
    0.5 to read it."""

    def edited_for_an_hour(body):
        described(body)
        for block in (body["system"][-1], body["messages"][-1]["content"][-1]):
            block["cache_control"] = {"type": "ephemeral", "ttl": "1h"}

    async with talk() as client:
        short = await miss(client)
        client.session = "another"
        long = await miss(client, edited_for_an_hour)
    assert short["missed"] <= short["written"]
    assert short["dollars"] == pytest.approx(short["missed"] * (6.25 - 0.5) / 1e6)
    assert long["dollars"] == pytest.approx(long["missed"] * (10 - 0.5) / 1e6)


async def test_without_marks_what_was_missed_costs_as_much_as_input():
    def at_openai(url):
        key = {"base_url": f"{url}/v1", "api_key": "sk-1", "zone": "api.openai.com"}
        return [build_plugin(OpenAICompatible, "up", **key)]

    async with talk(PlainCache, api="chat", backends=at_openai) as client:
        found = await miss(client, model="up/gpt-5.1")
    assert found["dollars"] == pytest.approx(found["missed"] * (1.25 - 0.125) / 1e6)


async def test_a_local_model_costs_nothing():
    def local(url):
        key = {"base_url": f"{url}/v1", "api_key": "sk-1", "zone": "local"}
        return [build_plugin(OpenAICompatible, "up", **key)]

    async with talk(PlainCache, api="chat", backends=local) as client:
        body = conversation(model="up/qwen3")
        for _ in range(2):
            await client.say(body)
            body = next_turn(body)
        edited(body)
        found = await client.say(body)
    assert (found["miss"], found["dollars"]) == (True, 0.0)
    assert "more could have been ($0.00)" in found["line"]


@pytest.mark.parametrize("prices", [{}, {"up/*": {"input": 5, "output": 25}}])
async def test_without_a_price_for_both_the_price_is_unknown_and_tokens_decide(prices):
    recommend = build_plugin(Recommend, "recommend", prices=prices)
    async with talk(backends=with_page(recommend), least_tokens=500) as client:
        found = await miss(client, model="up/claude-of-tomorrow")
        item = await shown(client)
    assert found["dollars"] is None
    assert "more could have been (price unknown)" in found["line"]
    assert [e for e in item["receipt"] if e["plugin"] == "cache-watch"]


async def test_ordinary_exchanges_leave_nothing_on_the_receipt():
    async with talk(backends=with_page(), least_tokens=1) as client:
        body = conversation()
        await client.say(body)
        await client.say(next_turn(body))
        document = (await client.running.client.get("/dashboard/exchanges")).json()
    plugins = {e["plugin"] for item in document["exchanges"] for e in item["receipt"]}
    assert "cache-watch" not in plugins


def test_behind_the_dashboard_it_is_not_loaded():
    with pytest.raises(ConfigError, match="`cache-watch` must be listed before `dashboard`"):
        load_plugins(parse_config("plugins: [{use: dashboard}, {use: cache-watch}]", "c.yaml"))


async def test_other_plugins_find_it_by_the_protocol():
    assert isinstance(build_plugin(CacheWatch, "cache-watch"), ExplainsCache)


async def test_a_stream_is_explained_like_a_whole_reply():
    async with talk() as client:
        body = conversation(stream=True)
        await client.say(body)
        assert (await client.say(next_turn(body)))["cause"] == "hit"
        body = next_turn(next_turn(body))
        described(body)
        assert (await client.say(body))["why"] == "tools[2] `Edit`: its description changed"


async def test_a_request_beside_the_turns_does_not_confuse_them():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        title = conversation(1, tools=[], system=[text("Write a title. " * 200)])
        beside = await client.say(title)
        turn = await client.say(next_turn(body))
    assert beside["cause"] == "first"
    assert "begins like this one" in beside["why"]
    assert turn["cause"] == "hit"


async def test_a_miss_that_the_gateway_caused_says_so():
    class Clears(Plugin[NoOptions]):
        """Clears an old answer, as a context guard does."""

        clears = False

        @hookimpl
        def prepare_attempt(self, request, attempt, exchange):
            messages = [*request.body["messages"]]
            messages[1] = {**messages[1], "content": [text("[cleared]")]}
            because = "old results were cleared"
            return request.replace(messages=messages, because=because) if self.clears else None

    guard = Clears(NoOptions(), name="guard")
    async with talk(backends=lambda url: [guard, anthropic(url)]) as client:
        body = conversation()
        await client.say(body)
        guard.clears = True
        found = await client.say(next_turn(body))
    assert found["why"] == "messages[1] (assistant) was edited: content[0] `text` changed"
    assert found["also"] == ["the gateway did this: set messages: old results were cleared"]


async def test_a_subagent_is_a_conversation_of_its_own():
    async with talk() as client:
        await client.say(conversation())
        agent = {"x-claude-code-agent-id": "a1"}
        body = conversation(2, system=[text("You are a subagent. " * 60)])
        assert (await client.say(body, **agent))["cause"] == "first"
        assert (await client.say(next_turn(body), **agent))["cause"] == "hit"
        assert (await client.say(next_turn(conversation())))["cause"] == "hit"


async def test_a_client_of_openais_api_is_explained_in_its_own_words():
    """Its bytes are relayed; nothing is translated to look at them."""

    def relaying(url):
        key = {"base_url": f"{url}/v1", "api_key": "sk-1", "zone": "api.openai.com"}
        return [build_plugin(OpenAIApi, "api"), build_plugin(OpenAICompatible, "up", **key)]

    async with talk(PlainCache, api="chat", backends=relaying) as client:
        messages = [{"role": "system", "content": "You are an agent. " * 300}]
        for n in range(4):
            messages += [
                {"role": "user", "content": f"Question {n}. " * 60},
                {"role": "assistant", "content": f"Answer {n}. " * 60},
            ]

        async def ask(count):
            body = {"model": "up/some-model", "messages": messages[:count]}
            lines = {"x-claude-code-session-id": "s"}
            answer = await client.running.client.post(
                "/v1/chat/completions", json=body, headers=lines
            )
            assert answer.status_code == 200, answer.text
            client.clock.now += 10
            return await explained(client.watch, answer.headers["plugway-request-id"])

        assert (await ask(6))["cause"] == "first"
        assert (await ask(8))["cause"] == "hit"
        messages[2]["content"] += "!"
        found = await ask(8)
    assert found["why"] == ("messages[2] (assistant) was edited: content[0] `text` changed")
    assert found["read"] > 1000


async def test_two_people_never_see_each_others():
    """The same words in a session of the same name, asked before by somebody else."""
    tokens = [
        {"name": name, "token": f"{name}-token", "models": ["up/*"]} for name in ("ann", "bob")
    ]
    clock = Clock()
    watch = build_plugin(CacheWatch, "cache-watch")
    watch.clock = clock
    async with (
        StrictUpstream("anthropic", otherwise=MarkedCache(clock)) as upstream,
        gateway([watch, anthropic(upstream.url)], tokens=tokens) as running,
    ):
        client = Talk(running, watch, clock, None)
        body = conversation()
        await client.say(body, authorization="Bearer ann-token")
        clock.now += 900
        body = next_turn(body)
        edited(body)
        bob = await client.say(body, authorization="Bearer bob-token")
        owner = await client.say(body)
        ann = await client.say(body, authorization="Bearer ann-token")
    assert bob["cause"] == owner["cause"] == "first"
    assert ann["cause"] == "hit"  # Bob's request has stored what hers reads


async def test_no_text_of_a_request_is_kept():
    secret = f"secret-{random.random()}"
    async with talk() as client:
        body = conversation()
        body["messages"][0]["content"].append(text(secret * 50))
        body["system"][0]["text"] += secret
        await client.say(body)
        body = next_turn(body)
        body["messages"][0]["content"][1]["text"] += "!"
        found = await client.say(body)
        watch = client.watch
        assert found["cause"] == "changed"
        assert secret not in json.dumps(found)
        assert secret not in repr(list(watch._conversations))
        seen, todo = set(), [watch._conversations, watch._explained, watch._targets]
        while todo:
            item = todo.pop()
            if id(item) in seen or isinstance(item, type):
                continue
            seen.add(id(item))
            assert not (isinstance(item, str | bytes) and len(item) > 300), item[:50]
            if isinstance(item, str | bytes | int | float) or item is None:
                continue
            assert not isinstance(item, MessagesRequest)
            todo += gc.get_referents(item)


async def test_after_a_reload_the_conversation_goes_on():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        fresh = build_plugin(CacheWatch, "cache-watch")
        fresh._take(client.watch)
        fresh.clock = client.clock
        async with (
            StrictUpstream("anthropic", otherwise=client.cache) as upstream,
            gateway([fresh, anthropic(upstream.url)]) as running,
        ):
            client.running, client.watch = running, fresh
            client.cache.entries.clear()
            found = await client.say(next_turn(body))
            again = await client.say(next_turn(next_turn(body)))
    assert found["cause"] == "unexplained"
    assert "the configuration was reloaded since" in found["why"]
    assert again["cause"] == "hit"


async def test_a_rejected_request_leaves_the_conversation_as_it_was():
    async with talk() as client:
        body = conversation()
        await client.say(body)
        broken = next_turn(body) | {"tool_choice": {"type": "tool", "name": "none such"}}
        lines = {"x-claude-code-session-id": client.session}
        answer = await client.running.client.post("/v1/messages", json=broken, headers=lines)
        assert answer.status_code == 400
        assert client.watch.cache_of(answer.headers["plugway-request-id"]) is None
        assert (await client.say(next_turn(body)))["cause"] == "hit"


# ── property: the place of a random edit is named ────────────────────────────────────────────


def body_of(words, tools=3):
    messages = [
        {"role": "user" if at % 2 == 0 else "assistant", "content": [text(word)]}
        for at, word in enumerate(words)
    ]
    names = [{"name": f"t{n}", "description": "d", "input_schema": {}} for n in range(tools)]
    system = [text("one"), text("two"), text("three")]
    return {"model": "m", "max_tokens": 1, "tools": names, "system": system, "messages": messages}


def view(body):
    return PromptBody(MessagesRequest(json.dumps(body).encode()))


def compared(old, new):
    seen = view(new)
    return differences(print_of(view(old)), print_of(seen), seen)


words = st.lists(st.text(min_size=1), min_size=2, max_size=20, unique=True)


@given(words=words, data=st.data())
def test_the_first_edited_message_is_named(words, data):
    at = data.draw(st.integers(0, len(words) - 1))
    new = [*words]
    new[at] += "\x00edited"
    (found,) = compared(body_of(words), body_of([*new, "more", "yet more"]))
    assert found.text.startswith(f"messages[{at}] (")
    assert "was edited: content[0] `text` changed" in found.text


@given(words=words, data=st.data(), count=st.integers(1, 3))
def test_removed_and_inserted_messages_are_named(words, data, count):
    """In pairs, so that the roles of the others stay as they are."""
    at = data.draw(st.integers(0, len(words) - 1))
    extra = [f"\x00inserted {n}" for n in range(2 * count)]
    longer = [*words[:at], *extra, *words[at:]]
    (found,) = compared(body_of(words), body_of(longer))
    assert found.text.startswith(f"messages[{at}] (")
    assert f"and {2 * count - 1} more were inserted" in found.text
    (found,) = compared(body_of(longer), body_of(words))
    assert found.text.startswith(f"messages[{at}] (")
    assert f"and {2 * count - 1} more were removed" in found.text


@given(words=words, more=st.lists(st.text(min_size=1), max_size=4))
def test_messages_that_are_added_at_the_end_are_no_difference(words, more):
    old, new = body_of(words), body_of([*words, *more])
    assert compared(old, new) == []
    before = print_of(view(old))
    assert continued(before, view(new), 0) == print_of(view(new))


@given(
    words=words,
    more=st.lists(st.text(min_size=1), max_size=4),
    comma=st.sampled_from([",", ", ", " ,\n"]),
    closing=st.sampled_from(["]", " ]"]),
    data=st.data(),
)
def test_a_long_request_is_read_from_where_the_last_one_ended(words, more, comma, closing, data):
    """With the result of reading all of it, wherever the marks were."""
    old, new = body_of(words), body_of([*words, *more])
    places = st.sets(st.integers(0, len(words) - 1), max_size=3)
    before, kept = data.draw(places), data.draw(places)
    marks = (before & kept) | {len(new["messages"]) - 1}
    for body, ats in ((old, before), (new, marks)):
        for at in ats:
            body["messages"][at]["content"][0]["cache_control"] = {"type": "ephemeral"}
    seen = [_long(body, comma, closing) for body in (old, new)]
    assert continued(print_of(seen[0]), seen[1], 0) == print_of(seen[1])


def test_messages_before_the_last_one_are_not_looked_at_again(monkeypatch):
    before = print_of(_long(body_of([str(n) for n in range(50)])))
    body = _long(body_of([str(n) for n in range(53)]))
    monkeypatch.setattr(PromptBody, "messages", property(lambda self: pytest.fail("it looked")))
    found = continued(before, body, 0)
    assert found
    assert len(found.messages) == 53


@pytest.mark.parametrize("at", [-5, 0, 2, 7, 10**6])
def test_a_place_at_which_no_message_begins_has_none(at):
    body = _long(body_of(["one", "two"]))
    assert body.since(at) is None


def _long(body, comma=",", closing="]"):
    """So long that it is not parsed as a whole."""
    messages = comma.join(json.dumps(message) for message in body["messages"])
    rest = json.dumps({key: value for key, value in body.items() if key != "messages"})
    text = f'{{"messages":[{messages}{closing},"more":"{"x" * 5000}",{rest[1:]}'
    assert json.loads(text)["messages"] == body["messages"]
    return PromptBody(MessagesRequest(text.encode()))


@given(words=words, at=st.integers(0, 2), data=st.data())
def test_marks_and_the_form_of_a_text_are_no_difference(words, at, data):
    old, new = body_of(words), body_of(words)
    new["system"][at]["cache_control"] = {"type": "ephemeral"}
    new["tools"][at]["cache_control"] = {"type": "ephemeral"}
    marked(new, data.draw(st.integers(0, len(words) - 1)))
    old["messages"][0]["content"] = words[0]
    assert compared(old, new) == []
    assert len(print_of(view(new)).marks) == 3


@pytest.mark.parametrize("field", ["description", "input_schema", "name"])
def test_the_field_of_a_tool_that_changed_is_named(field):
    old, new = body_of(["x"]), body_of(["x"])
    new["tools"][1][field] = {"type": "object"} if field == "input_schema" else "other"
    (found,) = compared(old, new)
    expected = {
        "description": "tools[1] `t1`: its description changed",
        "input_schema": "tools[1] `t1`: its schema changed",
        "name": "tools[1] `other`: another tool is there",
    }
    assert found.text == expected[field]


def test_a_tool_with_a_hostile_name_is_not_quoted():
    old, new = body_of(["x"]), body_of(["x"])
    new["tools"][1]["name"] = "<script>alert(1)</script>\n"
    (found,) = compared(old, new)
    assert found.text == "tools[1]: another tool is there"


def test_a_block_of_an_unknown_type_is_not_named_by_it():
    old, new = body_of(["x", "y"]), body_of(["x", "y"])
    old["messages"][1]["content"] = [{"type": "secret_word", "data": "a"}]
    new["messages"][1]["content"] = [{"type": "secret_word", "data": "b"}]
    (found,) = compared(old, new)
    assert found.text == "messages[1] (assistant) was edited: content[0] changed"


@pytest.mark.parametrize("odd", [None, 5, ["text"], {"a": 1}])
def test_types_that_are_no_texts_are_like_unknown_ones(odd):
    old, new = body_of(["x", "y"]), body_of(["x", "y"])
    inner = {"type": "tool_result", "content": [{"type": odd}]}
    for data, body in (("a", old), ("b", new)):
        body["messages"][0]["content"] = [inner, {"type": odd, "data": data}]
        body["messages"][1]["role"] = odd
    assert compared(old, new)[0].text == "messages[0] (user) was edited: content[1] changed"


@given(words=words)
def test_a_conversation_that_forks_keeps_both_ends_apart(words):
    """Continuations share entries, and still see only their own."""
    start = body_of(words)
    first = print_of(view(start))
    left = continued(first, view(body_of([*words, "\x00left"])), 0)
    right = continued(first, view(body_of([*words, "\x00right", "\x00more"])), 0)
    assert left == print_of(view(body_of([*words, "\x00left"])))
    assert right == print_of(view(body_of([*words, "\x00right", "\x00more"])))
    assert first == print_of(view(start))

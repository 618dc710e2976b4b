"""What plugins share, and the needs of a request."""

import orjson

from plugway import MessagesRequest, ModelInfo, Usage
from plugway_endpoints import Conversations, Needs, Served, needs_of
from plugway_endpoints._state import MAX_ZONES


def served(session, **fields):
    return Served(
        session, fields.pop("agent", ""), "m", "a/b", fields.pop("zone", "local"), **fields
    )


def test_a_list_of_models_keeps_aliases_that_are_known():
    state = Conversations()
    state.models = (ModelInfo("anthropic/router/fast"), ModelInfo("anthropic/ollama/small"))
    state.listed([ModelInfo("anthropic/ollama/big")], {"ollama": "local"})
    assert [i.id for i in state.models] == ["anthropic/ollama/big", "anthropic/router/fast"]


def test_a_conversation_keeps_its_zones_and_its_last_known_size():
    state = Conversations()
    state.record(served("s", usage=Usage(100, 5, cache_read_tokens=20), at=1.0))
    state.record(served("s", zone="google", at=2.0))
    assert state.zones("s") == {"local", "google"}
    assert state.last("s", None).prompt_tokens == 120
    assert state.zones(None) == frozenset()
    assert [s.at for s in state.recent(1.5)] == [2.0]


def test_conversations_are_bounded():
    state = Conversations()
    for number in range(MAX_ZONES + 1):
        state.record(served(f"s{number}", at=float(number)))
    assert len(state.recent(0)) == 256
    assert state.zones("s0") == frozenset()


def body(**fields):
    return MessagesRequest(orjson.dumps({"model": "m", "messages": [], **fields}))


def test_needs_say_what_a_request_asks_for():
    image = {"type": "image", "source": {"type": "base64", "data": "A" * 100_000}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image]}
    needs = needs_of(
        body(
            messages=[{"role": "user", "content": [result, {"type": "text", "text": "x" * 4000}]}],
            tools=[{"name": "Read"}],
            thinking={"type": "adaptive"},
        )
    )
    assert (needs.tools, needs.images, needs.thinking) == (True, True, True)
    assert 2600 < needs.tokens < 2800
    assert dict(needs.parts)["tools"] == 4
    bare = needs_of(body())
    assert bare == Needs(tokens=bare.tokens, parts=bare.parts)


def test_odd_bodies_have_no_needs():
    odd = body(
        messages=[None, {"content": 5}, {"content": [7, {"source": 3}]}], tools="x", thinking=1
    )
    assert not needs_of(odd).tools

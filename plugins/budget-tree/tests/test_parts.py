"""The parts: texts of limits, and sizes of prompts."""

from __future__ import annotations

import base64

import orjson
import pytest

from plugway import MessagesRequest, Reply, Usage
from plugway_budget_tree._limits import InvalidLimits, Limits
from plugway_budget_tree._size import Meter, Size, size_of, usage_of
from plugway_budget_tree._tree import Reservation, Shortage, Tree, Trees
from plugway_prices import IMAGE_TOKENS, nano_dollars

KEY = ("s", "", "up/m")


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("2 dollars", Limits(nano=2 * 10**9)),
        ("$2", Limits(nano=2 * 10**9)),
        ("$0.10", Limits(nano=nano_dollars("0.10"))),
        ("0.5 USD, 200k tokens", Limits(nano=nano_dollars("0.5"), tokens=200_000)),
        ("1.5M tokens and 50 calls", Limits(tokens=1_500_000, calls=50)),
        ("3 agents", Limits(agents=3)),
        ("200,000 tokens, 1,000 calls", Limits(tokens=200_000, calls=1000)),
        ("1 subagent 7 requests", Limits(agents=1, calls=7)),
        ("0 dollars", Limits(nano=0)),
    ],
)
def test_limits_are_read_as_people_write_them(text, limits):
    assert Limits.parse(text) == limits
    assert Limits.parse(limits.listed.replace(" at once", "")) == limits


@pytest.mark.parametrize(
    "text", ["", "2", "dollars", "2 dollars extra", "1 call 2 calls", "½ dollars", "2dollarsx"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(InvalidLimits):
        Limits.parse(text)


def test_the_strictest_limit_counts():
    assert Limits(5, 10).within(Limits(7, 3), Limits(calls=1)) == Limits(5, 3, 1)
    assert Limits(5).or_else(Limits(7, 3)) == Limits(5, 3)


def test_what_was_added_to_a_counted_prompt_is_estimated_and_the_rest_is_known():
    meter = Meter()
    assert meter.estimate(KEY, Size(100_000, 0)) == 50_001
    meter.learn(KEY, Size(100_000, 0), Usage(5_000, 10, 20_000, 0))
    assert meter.estimate(KEY, Size(100_000, 0)) == 25_501
    assert meter.estimate(KEY, Size(102_000, 1)) == 26_501 + IMAGE_TOKENS
    assert meter.estimate(KEY, Size(1_000, 0)) == 501, "a shorter prompt has no more than its bytes"
    assert meter.estimate(("s", "other", "up/m"), Size(100_000, 0)) == 50_001


def test_images_count_as_images():
    data = base64.b64encode(bytes(30_000)).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    result = {
        "type": "tool_result",
        "tool_use_id": "t",
        "content": [{"type": "image", "source": source}],
    }
    content = [{"type": "image", "source": source}, result]
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    size = size_of(MessagesRequest(orjson.dumps(body)))
    assert size.images == 2
    assert size.text < 500


@pytest.mark.parametrize("escaped", [False, True])
def test_images_that_a_server_fetches_count_as_images(escaped):
    source = {"type": "url", "url": "https://example.org/a.png"}
    content = [{"type": "image", "source": source}] * 3
    raw = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": content}]})
    if escaped:
        raw = raw.replace(b'"image"', b'"\\u0069mage"').replace(b'"url"', b'"\\u0075rl"')
    assert size_of(MessagesRequest(raw)).images == 3


def test_usage_is_known_only_where_a_reply_says_it():
    assert usage_of(Reply.message({"usage": {"input_tokens": 3, "output_tokens": 4}})) == Usage(
        3, 4
    )
    assert usage_of(Reply.message({"usage": {"input_tokens": None, "output_tokens": -4}})) is None
    assert usage_of(Reply.message({})) is None


def test_a_reservation_is_settled_once():
    tree = Tree("s", "owner")
    made = tree.reserve(Limits(tokens=100), None, 10, 50, 1)
    assert isinstance(made, Reservation)
    assert isinstance(tree.reserve(Limits(tokens=100), None, 60, 50, 1), Shortage)
    tree.settle(made, Usage(5, 5))
    tree.settle(made, Usage(5, 5))
    assert (tree.tokens, tree.calls, tree.running) == (10, 1, 0)


def test_conversations_with_running_calls_are_not_dropped():
    trees = Trees(10)
    busy = trees.of("busy", "owner")
    made = busy.reserve(Limits(), None, 1, 1, 1)
    for number in range(30):
        trees.of(f"s-{number}", "owner")
    assert trees.find("busy") is busy
    assert len(list(trees)) == 10
    busy.settle(made, None)
    trees.of("one more", "owner")
    assert trees.find("busy") is None

"""What is measured piece by piece, and remembered, is what the whole prompt would be measured as."""

import base64
import json
import random

import orjson
import pytest
from conversations import conversation
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import MessagesRequest
from plugway_context_guard import _features
from plugway_context_guard._features import IMAGE_TOKENS, features_of, text_features
from plugway_context_guard._meter import Meter, at_most
from plugway_context_guard._room import Room, limit_of
from plugway_context_guard._windows import Window
from plugway_wire.pieces import Remembered

LINES = "    if found is None:\n\t\treturn {'a': 1}  # é 漢 😀 <|im_end|>\n"
ENCODED = base64.b64encode(random.Random(1).randbytes(600)).decode()
TEXTS = st.one_of(
    st.text(max_size=400),
    st.text(st.sampled_from('{}[]"\\ab01 \n\t\x1b/+é漢😀'), max_size=3000),
    st.sampled_from([LINES * 70, ENCODED * 9, " " * 5000, "{" * 5000, "\\n{" * 1500, "0a" * 2200]),
)
BODIES = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "max_tokens": st.integers(1, 64_000),
        "messages": st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS})),
        "system": TEXTS,
        "tools": st.lists(st.fixed_dictionaries({"name": TEXTS, "input_schema": st.just({})})),
    }
)


def whole(body):
    """The features of all of it at once."""
    return text_features(orjson.dumps(body))


@settings(max_examples=200)
@given(BODIES)
def test_the_pieces_of_a_prompt_add_up_to_the_whole(body):
    assert features_of(MessagesRequest(orjson.dumps(body))) == whole(body)
    assert features_of(MessagesRequest(orjson.dumps(body)).replace(because="t", top_k=1)) == whole(
        body | {"top_k": 1}
    )


@settings(max_examples=100)
@given(st.lists(TEXTS, min_size=2, max_size=8), st.integers(1000, 64_000), st.integers(1, 40_000))
def test_no_turn_of_a_conversation_is_decided_otherwise_than_the_whole_would_be(
    texts, context, tokens
):
    meter, limit = Meter(), limit_of(context, 2048)
    said = []
    for text in texts:
        said.append({"role": "user", "content": text})
        body = {"model": "m", "max_tokens": 1024, "system": LINES * 90, "messages": list(said)}
        raw = orjson.dumps(body)
        found = features_of(MessagesRequest(raw))
        rooms = [
            Room(meter.count("x", f), meter.plain(f), Window(context), limit)
            for f in (found, whole(body))
        ]
        assert rooms[0] == rooms[1]
        assert len(raw) <= at_most(MessagesRequest(raw)), "never fewer than a token for each byte"
        meter.learn("x", tokens, len(raw), found)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_escapes_and_spaces_of_a_client_do_not_count(separators):
    body = {"model": "m", "messages": [{"role": "user", "content": "é漢\x1b" + LINES * 90}]}
    raw = json.dumps(body, separators=separators).encode()
    assert features_of(MessagesRequest(raw)) == whole(body)
    assert features_of(MessagesRequest(json.dumps(body, indent=1).encode())) == whole(body)


def test_an_image_counts_as_an_image_in_every_turn():
    image = {"type": "image", "source": {"type": "base64", "data": ENCODED * 20}}
    said = [{"role": "user", "content": [image]}]
    for turn in range(3):
        said.append({"role": "user", "content": f"{turn}" + LINES * 50})
        found = features_of(MessagesRequest(orjson.dumps({"model": "m", "messages": said})))
        empty = orjson.dumps({"model": "m", "messages": said}).replace(ENCODED.encode() * 20, b"")
        assert found == (*text_features(empty)[:-1], IMAGE_TOKENS)
        assert at_most(MessagesRequest(orjson.dumps({"messages": said}))) > len(empty)


def test_of_a_conversation_that_grows_only_the_new_turns_are_measured(monkeypatch):
    measured = []

    def counted(piece):
        measured.append(len(piece))
        return text_features(piece)

    monkeypatch.setattr(_features, "_KNOWN", Remembered(counted))
    for body in conversation(7, 8):
        measured.clear()
        raw = orjson.dumps(body)
        assert features_of(MessagesRequest(raw)) == whole(body)
    assert sum(measured) < len(raw) / 3


def test_counts_that_cannot_be_true_are_looked_at_so_often_only():
    meter, body = Meter(), {"messages": [{"role": "user", "content": LINES * 100}]}
    size, features = len(orjson.dumps(body)), whole(body)
    assert not meter.is_new("x", 10, size), "too few to learn from"
    assert not meter.is_new("x", size + 1, size)
    tries = 0
    while meter.is_new("x", 60, size):
        meter.learn("x", 60, size, features)
        tries += 1
    assert 8 < tries < 100
    assert meter.count("x", features) == Meter().count("x", features), "nothing was learned"
    meter.learn("y", 2500, size, features)
    assert meter.is_new("y", 2500, size)

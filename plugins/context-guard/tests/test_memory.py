"""What is remembered of a conversation never changes what is measured of it."""

import json

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import MessagesRequest
from plugway_context_guard._features import features_of, text_features

BITS = st.sampled_from(
    ["{", "}", "  ", "\n", "\\n", "\\", '"', "é", "語", "😀", "\x1b", "aB3/" * 40, "dead" * 9, "a "]
)
TEXTS = st.lists(BITS, max_size=12).map("".join).map(lambda text: text * 60)
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda text: {"text": text, "type": "text"}, TEXTS),
)
TURNS = st.builds(lambda said: {"role": "user", "content": said}, st.lists(BLOCKS, max_size=4))
STEPS = st.sampled_from(["grow", "edit", "compact", "shift", "replace"])
WRITERS = st.sampled_from(
    [orjson.dumps, lambda body: json.dumps(body, separators=(",", ":")).encode()]
)


def changed(step, said, draw):
    """What a client, or a plugin, makes of a conversation."""
    if step == "grow":
        return [*said, draw(TURNS)]
    if step == "edit":
        at = draw(st.integers(0, len(said) - 1))
        return [*said[:at], draw(TURNS), *said[at + 1 :]]
    if step == "compact":
        return [draw(TURNS), *said[-2:]]
    return [{"role": "user", "content": "x" * draw(st.integers(0, 2))}, *said]


@settings(max_examples=50, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=8), WRITERS, st.data())
def test_a_conversation_is_measured_as_if_it_was_new_whatever_became_of_it(said, write, data):
    for _ in range(4):
        step = data.draw(STEPS)
        request = MessagesRequest(write({"model": "m", "messages": said}))
        if step == "replace":
            features_of(request)
            request = request.replace(because="t", messages=changed("edit", said, data.draw))
        else:
            said = changed(step, said, data.draw)
            request = MessagesRequest(write({"model": "m", "messages": said}))
        assert features_of(request) == text_features(orjson.dumps(request.body))

"""What is remembered of a conversation never changes what is measured of it."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import MessagesRequest
from plugway_context_guard import _features
from plugway_context_guard._features import features_of, text_features
from plugway_wire.pieces import PIECE_BYTES

BITS = st.sampled_from(
    ["{", "}", "  ", "\n", "\\n", "\\", '"', "é", "語", "😀", "aB3/" * 40, "deadbeef" * 9, "word "]
)
TEXTS = st.lists(BITS, max_size=12).map("".join).map(lambda text: text * 60)
BLOCKS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.builds(lambda text: {"text": text, "type": "text"}, TEXTS),
)
TURNS = st.builds(lambda said: {"role": "user", "content": said}, st.lists(BLOCKS, max_size=4))


def whole(request):
    """The features of the body, measured in one piece."""
    return text_features(request.raw)


@settings(max_examples=60, deadline=None)
@given(st.lists(TURNS, min_size=1, max_size=10), st.data())
def test_a_conversation_that_grows_is_edited_or_compacted_is_measured_as_if_it_was_new(turns, data):
    said = turns
    for _ in range(4):
        step = data.draw(st.sampled_from(["grow", "edit", "compact", "shift"]))
        if step == "grow":
            said = [*said, data.draw(TURNS)]
        elif step == "edit":
            at = data.draw(st.integers(0, len(said) - 1))
            said = [*said[:at], data.draw(TURNS), *said[at + 1 :]]
        elif step == "compact":
            said = [data.draw(TURNS), *said[-2:]]
        else:  # all that follows moves by one byte
            said = [{"role": "user", "content": "x" * data.draw(st.integers(0, 2))}, *said]
        request = MessagesRequest(orjson.dumps({"model": "m", "messages": said}))
        known = features_of(request)
        assert known == whole(request)
        assert sum(map(len, [request.raw])) <= PIECE_BYTES or known == features_of(request)

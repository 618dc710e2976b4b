import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugway_local_engine._frames import MAX_FRAME, FrameDecoder, FrameError, encode

JSON = st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text() | st.booleans())


@given(st.lists(st.tuples(JSON, st.binary(max_size=200)), max_size=5), st.integers(1, 50))
def test_frames_survive_any_chunking(frames, step):
    data = b"".join(encode(header, body) for header, body in frames)
    decoder = FrameDecoder()
    found = []
    for start in range(0, len(data), step):
        found += decoder.feed(data[start : start + step])
    assert [(dict(frame.header), frame.body) for frame in found] == frames


def test_a_frame_that_announces_too_much_is_refused_at_once():
    data = (MAX_FRAME + 1).to_bytes(4, "little") + (1).to_bytes(4, "little")
    with pytest.raises(FrameError, match="announces"):
        FrameDecoder().feed(data)


@pytest.mark.parametrize("text", [b"[1]", b"{", b"\xff\xff"])
def test_a_header_that_is_no_object_is_refused(text):
    data = len(text).to_bytes(4, "little") * 2 + text
    with pytest.raises(FrameError, match="header of a frame"):
        FrameDecoder().feed(data)

"""An id stands for one call in the whole of a conversation."""

import pytest

from plugway_translation import FreshIds, IdCodec, ids_of_calls


def call(*ids):
    blocks = [{"type": "tool_use", "id": id_, "name": "Bash", "input": {}} for id_ in ids]
    return {"role": "assistant", "content": blocks}


def results(*ids):
    blocks = [{"type": "tool_result", "tool_use_id": id_, "content": "x"} for id_ in ids]
    return {"role": "user", "content": blocks}


@pytest.mark.parametrize("own", ["Bash:0", "call_0", "0", "functions.Bash:0", "pw_x", "ä"])
def test_a_new_id_can_be_told_from_all_others_and_comes_back_from_its_server(own):
    codec = IdCodec()
    used: set[str] = set()
    servers: set[str] = set()
    for _ in range(4):
        found = FreshIds(codec.back, used).of(own)
        assert found is not None
        assert found not in used
        used.add(found)
        servers.add(codec.out(found))
    assert own in servers
    assert len(servers) == 4


def test_a_call_without_an_id_gets_none_here():
    assert FreshIds(IdCodec().back).of("") is None


def test_the_ids_of_all_calls_are_known():
    assert ids_of_calls([call("a", "b"), results("c"), {"role": "user", "content": "hi"}]) == {
        "a",
        "b",
    }

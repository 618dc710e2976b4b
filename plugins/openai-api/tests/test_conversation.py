"""Which conversation a client of OpenAI's APIs means."""

import orjson
import pytest

from plugway import MessagesRequest, Original
from plugway_openai_api._conversation import conversation_of


def request(headers=None, **body):
    lines = tuple((headers or {}).items())
    original = Original("openai-chat", "/v1/chat/completions", orjson.dumps(body), lines)
    return MessagesRequest(b"{}", lines, original=original)


@pytest.mark.parametrize(
    ("headers", "body", "wanted"),
    [
        ({"session_id": "s", "conversation_id": "c"}, {}, "s"),
        ({"conversation_id": "c"}, {"prompt_cache_key": "k"}, "c"),
        ({"x-session-affinity": "s", "x-parent-session-id": "p"}, {}, "s"),
        ({"x-opencode-session": "s"}, {}, "s"),
        ({}, {"prompt_cache_key": "k"}, "k"),
        ({}, {"prompt_cache_key": 5}, None),
        ({}, {"prompt_cache_key": ""}, None),
        ({}, {"prompt_cache_key": "k" * 201}, None),
        ({"session_id": "a\x00b"}, {}, None),
        ({}, {"user": "somebody"}, None),
    ],
)
def test_codex_opencode_and_others_name_it_in_their_own_ways(headers, body, wanted):
    found = conversation_of(request(headers, **body))
    assert (found.session_id if found else None) == wanted


def test_a_request_of_the_messages_api_has_no_such_field():
    assert conversation_of(MessagesRequest(b'{"prompt_cache_key":"k"}')) is None

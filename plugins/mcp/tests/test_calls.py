"""Which requests offer our tools."""

import orjson
import pytest

from plugway import MessagesRequest
from plugway_mcp._calls import offers_ours


def offered(**fields):
    return offers_ours(MessagesRequest(orjson.dumps({"model": "m", "messages": [], **fields})))


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"name": "Read"}, {"name": "mcp__plugway__endpoint_set"}]},
        {"tools": [{"name": "mcp__my_gateway__explain_last"}]},
        {"tools": [{"name": "endpoint_list"}]},
        {"system": "deferred tools:\nmcp__plugway__endpoint_set"},
        {"system": [{"type": "text", "text": "mcp__plugway__endpoint_set"}]},
        {"messages": [{"role": "system", "content": "mcp__plugway__endpoint_set"}]},
        {"messages": [{"role": "system", "content": [{"text": "mcp__x__endpoint_set"}]}]},
    ],
)
def test_tools_are_offered_in_the_list_or_by_name(fields):
    assert offered(**fields)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [{"name": "Read"}, {"name": "my_endpoint_set"}, {"name": 5}, 7]},
        {"tools": "endpoint_set", "system": 5},
        {"messages": [{"role": "user", "content": "mcp__plugway__endpoint_set"}]},
        {"messages": [{"role": "system"}, {"role": "system", "content": [{"text": 5}, 7]}, None]},
    ],
)
def test_a_mere_mention_offers_nothing(fields):
    assert not offered(**fields)

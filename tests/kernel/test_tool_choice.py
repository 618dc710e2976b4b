"""A choice among tools that means nothing is refused where it would be lost in another API."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible

pytestmark = pytest.mark.anyio
TOOLS = [{"name": "Read", "input_schema": {"type": "object"}}]
TRANSLATING = {
    OpenAICompatible: {"learn": False},
    OpenAI: {"api_key": "k"},
    Gemini: {"api_key": "k"},
}


async def asked(kind, options, **fields):
    async with ScriptedUpstream(otherwise=respond(500)) as upstream:
        backend = build_plugin(kind, "up", base_url=upstream.url, **options)
        async with gateway([backend]) as running:
            answer = await running.post(request_body(**fields))
        return answer, [request for request in upstream.requests if request.method == "POST"]


@pytest.mark.parametrize("kind", TRANSLATING)
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tool_choice": "any", "tools": TOOLS}, "tool_choice.type: Input should be"),
        ({"tool_choice": {"type": "required"}, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": {}, "tools": TOOLS}, "tool_choice.type: Input should be"),
        ({"tool_choice": {"type": ["any"]}, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: `any` demands a call"),
        ({"tool_choice": {"type": "tool", "name": "Read"}, "tools": []}, "tool_choice: `tool`"),
    ],
)
async def test_a_choice_that_would_be_lost_is_refused_with_its_place(kind, fields, says):
    answer, sent = await asked(kind, TRANSLATING[kind], **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(says)
    assert not sent


@pytest.mark.parametrize("kind", TRANSLATING)
@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "none"}])
async def test_a_choice_that_demands_nothing_needs_no_tools(kind, choice):
    _, sent = await asked(kind, TRANSLATING[kind], tool_choice=choice)
    assert sent


async def test_a_server_of_the_messages_api_says_itself_what_a_choice_means():
    _, sent = await asked(AnthropicCompatible, {"zone": "vendor"}, tool_choice={"type": "newer"})
    assert sent[0].json["tool_choice"] == {"type": "newer"}

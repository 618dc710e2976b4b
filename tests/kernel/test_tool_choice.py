"""A choice among tools that means nothing is refused where it would be lost: in another API, or at
a server that ignores what it does not know."""

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_compatible import OpenAICompatible
from plugway_vllm import Vllm

pytestmark = pytest.mark.anyio
TOOLS = [{"name": "Read", "input_schema": {"type": "object", "properties": {}}}]
BACKENDS = {
    OpenAICompatible: {"learn": False},
    OpenAI: {"api_key": "k"},
    Gemini: {"api_key": "k"},
    AnthropicCompatible: {"zone": "vendor"},
    Ollama: {},
    LlamaServer: {},
    LmStudio: {},
    Vllm: {},
}
each_backend = pytest.mark.parametrize("kind", BACKENDS, ids=lambda kind: kind.__name__)


async def asked(kind, options, **fields):
    async with ScriptedUpstream(otherwise=respond(500)) as upstream:
        backend = build_plugin(kind, "up", base_url=upstream.url, **options)
        async with gateway([backend]) as running:
            answer = await running.post(request_body(**fields))
        sent = [request for request in upstream.requests if request.method == "POST"]
        return answer, [request for request in sent if request.path != "/api/show"]


@each_backend
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tool_choice": "any", "tools": TOOLS}, "tool_choice.type: Input should be"),
        ({"tool_choice": {"type": "required"}, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": {}, "tools": TOOLS}, "tool_choice.type: Input should be"),
        ({"tool_choice": {"type": ["any"]}, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": ["any"], "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": False, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": {"type": "ANY"}, "tools": TOOLS}, "tool_choice.type: Input"),
        ({"tool_choice": {"name": "Read"}, "tools": TOOLS}, "tool_choice.type: Input"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "Read"}}, "tools": TOOLS},
            "tool_choice.type: Input",
        ),
        ({"tool_choice": {"type": "tool"}, "tools": TOOLS}, "tool_choice.tool.name: Field"),
        ({"tool_choice": {"type": "tool", "name": 7}, "tools": TOOLS}, "tool_choice.tool.name:"),
        ({"tool_choice": {"type": "any"}}, "tool_choice: `any` demands a call"),
        ({"tool_choice": {"type": "tool", "name": "Read"}, "tools": []}, "tool_choice: `tool`"),
    ],
)
async def test_a_choice_that_would_be_lost_is_refused_with_its_place(kind, fields, says):
    answer, sent = await asked(kind, BACKENDS[kind], **fields)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(says)
    assert not sent


@each_backend
@pytest.mark.parametrize("choice", [None, {"type": "auto"}, {"type": "none"}])
async def test_a_choice_that_demands_nothing_needs_no_tools(kind, choice):
    _, sent = await asked(kind, BACKENDS[kind], tool_choice=choice)
    assert sent


@pytest.mark.parametrize("kind", [AnthropicCompatible, Ollama, LlamaServer, LmStudio, Vllm])
async def test_a_tool_that_is_not_offered_is_not_demanded(kind):
    choice = {"type": "tool", "name": "Gone"}
    _, sent = await asked(kind, BACKENDS[kind], tool_choice=choice, tools=TOOLS)
    assert "tool_choice" not in sent[-1].json
    assert sent[-1].json["tools"] == TOOLS


async def test_anthropic_itself_says_what_a_choice_means():
    _, sent = await asked(Anthropic, {"api_key": "k"}, tool_choice={"type": "newer"})
    assert sent[0].json["tool_choice"] == {"type": "newer"}

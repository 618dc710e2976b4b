"""Any JSON object by grammar where a local server has one, and options of a stream with a stream only."""

from functools import partial

import pytest
from gemini_answers import piece, text, whole

from plugway.testing import ScriptedUpstream, anthropic_message, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_gemini import Gemini
from plugway_llama_server import LlamaServer
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_openai_wire.testing import chat_message
from plugway_vllm import Vllm

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

FORM = {"type": "json_object"}
USER = [{"role": "user", "content": "A city as JSON."}]
ASKED = {
    "/v1/chat/completions": {"model": "up/m", "messages": USER, "response_format": FORM},
    "/v1/responses": {"model": "up/m", "input": USER, "text": {"format": FORM}},
}
MESSAGES = respond(200, anthropic_message("{}"))
GEMINI = whole(piece(text("{}"), finish="STOP"))
LOCAL = {
    "vllm": (partial(build_plugin, Vllm, "up"), MESSAGES),
    "llama-server": (partial(build_plugin, LlamaServer, "up"), MESSAGES),
    "compatible": (partial(build_plugin, AnthropicCompatible, "up", zone="local"), MESSAGES),
    "chat": (
        partial(build_plugin, OpenAICompatible, "up", zone="local"),
        respond(200, chat_message("{}")),
    ),
}
AWAY = {
    "compatible": (partial(build_plugin, AnthropicCompatible, "up", zone="vendor"), MESSAGES),
    "chat": (
        partial(build_plugin, OpenAICompatible, "up", zone="vendor"),
        respond(200, chat_message("{}")),
    ),
}


async def sent(made, body, path):
    make, answer = made
    async with ScriptedUpstream(otherwise=answer) as upstream:
        async with gateway(
            [build_plugin(OpenAIApi, "openai-api"), make(base_url=upstream.url)]
        ) as gate:
            found = await gate.post(body, path)
            assert found.status_code == 200, found.text
        return upstream.requests[-1].json


def form_of(asked):
    held = asked.get("response_format") or asked.get("output_config", {}).get("format")
    return held and (held["type"], (held.get("json_schema") or held).get("schema"))


@pytest.mark.lenient("anthropic.strict_schemas", "chat.output")  # rules of vendors
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("backend", LOCAL)
async def test_a_local_server_is_given_the_schema_of_any_object(backend, path):
    asked = await sent(LOCAL[backend], ASKED[path], path)
    if backend == "chat" and "chat" in path:  # it gets the client's own bytes
        assert asked["response_format"] == FORM
    else:
        assert form_of(asked) == ("json_schema", {"type": "object"})


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("backend", AWAY)
async def test_others_are_asked_in_words(backend, path):
    asked = await sent(AWAY[backend], ASKED[path], path)
    assert form_of(asked) in (None, ("json_object", None))


@pytest.mark.parametrize("path", ASKED)
async def test_gemini_is_told_by_its_media_type(path):
    made = partial(build_plugin, Gemini, "up", api_key="k"), GEMINI
    body = {**ASKED[path], "model": "up/gemini-3-pro"}
    config = (await sent(made, body, path))["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert "responseSchema" not in config


@pytest.mark.parametrize("path", ASKED)
async def test_beside_tools_a_call_stays_possible(path):
    told = {"name": "f", "parameters": {"type": "object"}}
    tool = {"type": "function", **(told if "responses" in path else {"function": told})}
    asked = await sent(LOCAL["vllm"], {**ASKED[path], "tools": [tool]}, path)
    assert form_of(asked) is None


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("form", [{"type": "text"}, None])
async def test_whoever_wants_text_gets_no_schema(form, path):
    field = {"text": {"format": form}} if "responses" in path else {"response_format": form}
    asked = await sent(LOCAL["vllm"], {**ASKED[path], **field}, path)
    assert form_of(asked) is None


@pytest.mark.parametrize("stream", [{}, {"stream": False}, {"stream": None}])
@pytest.mark.parametrize("options", [{}, {"include_usage": True}, {"include_obfuscation": False}])
@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize(
    "make",
    [
        partial(build_plugin, Vllm, "up"),
        partial(build_plugin, AnthropicCompatible, "up"),
        partial(build_plugin, Gemini, "up", api_key="k"),
    ],
)
async def test_options_of_a_stream_without_one_are_a_400(make, path, options, stream):
    async with ScriptedUpstream(otherwise=respond(500)) as upstream:
        async with gateway(
            [build_plugin(OpenAIApi, "openai-api"), make(base_url=upstream.url)]
        ) as gate:
            found = await gate.post({**ASKED[path], "stream_options": options, **stream}, path)
        assert not [request for request in upstream.requests if request.method == "POST"]
    assert found.status_code == 400
    error = found.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "stream_options")

"""Pictures in requests of every API become text on the way to every kind of backend, also where the gateway would
otherwise pass a client's own bytes on."""

import base64

import pytest
from speaking import png

from plugway.testing import ScriptedUpstream, anthropic_message, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_router import Router

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
DATA = base64.b64encode(png("exit code 137")).decode()
URL = f"data:image/png;base64,{DATA}"
CALL = {"type": "function", "id": "c1", "function": {"name": "look", "arguments": "{}"}}

REQUESTS = {
    "/v1/messages": {
        "max_tokens": 10,
        "messages": [
            {
                "role": "user",
                "content": [
                    {
                        "type": "image",
                        "source": {"type": "base64", "media_type": "image/png", "data": DATA},
                    },
                    {"type": "text", "text": "Why?"},
                ],
            }
        ],
    },
    "/v1/chat/completions": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": URL}},
                    {"type": "text", "text": "Why?"},
                ],
            }
        ],
    },
    "/v1/responses": {
        "input": [
            {"role": "user", "content": "Look"},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_image", "image_url": URL}],
            },
        ],
    },
}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "Out of memory."},
        }
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def says(request):
    """What a server of either API replies."""
    if request.path.endswith("/chat/completions"):
        return respond(200, CHAT)
    return respond(200, anthropic_message("Out of memory."))


@pytest.mark.parametrize("kind", [AnthropicCompatible, OpenAICompatible])
@pytest.mark.parametrize("path", REQUESTS)
async def test_the_server_gets_text_and_no_picture(make, path, kind):
    async with ScriptedUpstream(otherwise=says) as upstream:
        stack = [
            build_plugin(OpenAIApi, "openai-api"),
            make(eyes={"up/*": "always"}),
            build_plugin(Router, "router"),
            build_plugin(kind, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            answer = await running.post({"model": "up/m", **REQUESTS[path]}, path)
            assert answer.status_code == 200, answer.text
        sent = [one for one in upstream.requests if one.method == "POST"][-1]
    text = sent.body.decode()
    assert "exit code 137" in text
    assert "You cannot see it" in text
    assert DATA not in text
    assert "Out of memory." in answer.text

"""Through the gateway: which policy a backend gets, and what an upstream then receives."""

import orjson
import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_field_policy import FieldPolicy
from plugway_field_policy._policy import preset_of
from plugway_llama_server import LlamaServer
from plugway_lmstudio import LmStudio
from plugway_ollama import Ollama
from plugway_vllm import Vllm

pytestmark = pytest.mark.anyio


RAW = orjson.dumps(
    {
        **request_body("hi", thinking={"type": "adaptive"}, unheard_of=[1.0, 2e3]),
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cch=1;"},
            {"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}},
        ],
    },
    option=orjson.OPT_INDENT_2,
)


async def received(plugin, body=RAW, headers=(), options=None, **more):
    """What the upstream of a backend gets."""
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(plugin, "up", base_url=upstream.url, **more)
        async with gateway(
            [build_plugin(FieldPolicy, "field-policy", **(options or {})), backend]
        ) as running:
            response = await running.client.post(
                "/v1/messages",
                content=body,
                headers=[("content-type", "application/json"), *headers],
            )
            assert response.status_code == 200, response.text
        return upstream.requests[-1], response


async def test_anthropic_gets_every_byte_and_every_header():
    lines = [("anthropic-beta", "unheard-of-1"), ("anthropic-beta", "context-1m-2025-08-07")]
    request, _ = await received(AnthropicCompatible, headers=lines, native_errors=True)
    assert request.body == RAW
    betas = [value for name, value in request.headers if name.lower() == "anthropic-beta"]
    assert betas == ["unheard-of-1", "context-1m-2025-08-07"]


@pytest.mark.parametrize(
    ("plugin", "preset"),
    [
        (AnthropicCompatible, "compatible"),
        (LlamaServer, "llama-server"),
        (LmStudio, "lmstudio"),
        (Ollama, "ollama"),
        (Vllm, "vllm"),
    ],
)
async def test_each_kind_of_server_has_its_preset(plugin, preset):
    made = build_plugin(plugin, "any-name", base_url="http://127.0.0.1:9")
    (backend,) = made.register_backends()
    assert preset_of(backend, "compatible") == preset
    request, response = await received(plugin)
    assert request.json["system"][0]["text"] == "be brief"
    assert "unheard_of" not in request.json
    assert ("thinking" in request.json) == (preset not in ("ollama", "vllm"))
    assert "by=field-policy" in response.headers["plugway-receipt"]


async def test_the_preset_of_an_unknown_server_can_be_chosen():
    request, _ = await received(AnthropicCompatible, options={"unknown": "strict"})
    assert "thinking" not in request.json
    request, _ = await received(
        AnthropicCompatible, options={"backends": {"up": {"preset": "anthropic"}}}
    )
    assert request.body == RAW


async def test_the_lines_of_a_header_are_read_together():
    lines = [
        ("anthropic-beta", "effort-2025-11-24, context-management-2025-06-27"),
        ("anthropic-beta", "interleaved-thinking-2025-05-14"),
    ]
    request, _ = await received(
        Ollama, headers=lines, options={"backends": {"up": {"keep": ["output_config.effort"]}}}
    )
    betas = [value for name, value in request.headers if name.lower() == "anthropic-beta"]
    assert betas == ["effort-2025-11-24"]


async def test_explain_shows_every_change_with_its_reason():
    backend = build_plugin(Ollama, "up", base_url="http://127.0.0.1:9")
    async with gateway([build_plugin(FieldPolicy, "field-policy"), backend]) as running:
        told = (await running.post(RAW, "/v1/messages/explain")).json()
    lines = [e["what"] for e in told["receipt"] if e["plugin"] == "field-policy"]
    assert "remove unheard_of: not a field that `ollama` is known to accept" in lines
    assert any(line.startswith("set system: the attribution entry would break") for line in lines)


def test_a_backend_that_does_not_exist_is_told_at_load():
    plugin = build_plugin(FieldPolicy, "f", backends={"olama": {}, "up": {}})
    ((place, reason),) = plugin.check({"up": "local"})
    assert place == ("backends", "olama")
    assert "`up`" in reason

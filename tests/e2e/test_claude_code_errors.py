"""How the real Claude Code takes errors in the words of other vendors."""

import time

import pytest

from plugway.testing import ERRORS, ScriptedUpstream, build_plugin, gateway, respond
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_resilience import Resilience
from tests.e2e.claude import Claude

pytestmark = [pytest.mark.anyio, pytest.mark.real]


@pytest.fixture
async def scripted(tmp_path):
    async with ScriptedUpstream() as upstream:
        stack = [
            build_plugin(Resilience, "resilience"),
            build_plugin(ErrorNormalizer, "errors"),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            yield upstream, Claude(tmp_path, running.url, running.token, "anthropic/up/m")


@pytest.mark.parametrize(
    "name",
    ["vllm.context_overflow", "lmstudio.context_overflow_as_500", "bedrock.context_overflow"],
)
async def test_a_full_context_in_foreign_words_is_recognised(scripted, name):
    upstream, claude = scripted
    upstream.script(*[ERRORS[name].script()] * 20)
    began = time.monotonic()
    answer = await claude.run("-p", "hi")
    told = answer.out + answer.err
    assert "Prompt is too long" in told or "context" in told.lower()
    assert len(upstream.requests) <= 4, "no storm of retries"
    assert time.monotonic() - began < 15


async def test_a_permanent_500_ends_at_once(scripted):
    upstream, claude = scripted
    body = {"error": {"message": "Failed to parse chat template", "type": "server_error"}}
    upstream.script(*[respond(500, body)] * 20)
    began = time.monotonic()
    answer = await claude.run("-p", "hi")
    assert answer.code != 0
    assert "Failed to parse chat template" in answer.out + answer.err
    assert len(upstream.requests) <= 6
    assert time.monotonic() - began < 10


async def test_an_account_that_is_used_up_ends_at_once(scripted):
    upstream, claude = scripted
    upstream.script(*[ERRORS["openai.quota"].script()] * 20)
    answer = await claude.run("-p", "hi")
    assert "the account behind `up` is used up" in answer.out + answer.err
    assert len(upstream.requests) == 1


async def test_a_prompt_beyond_a_small_window_is_recognised_and_never_sent(tmp_path):
    async with ScriptedUpstream() as upstream:
        stack = [
            build_plugin(ContextGuard, "guard", windows={"up/*": 8192}),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up/m")
            answer = await claude.run("-p", "hi")
    told = (answer.out + answer.err).lower()
    assert "too long" in told or "context" in told
    assert not [request for request in upstream.requests if request.path.startswith("/v1/messages")]

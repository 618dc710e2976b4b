"""How the real Claude Code handles errors in the wording of other vendors."""

import json
import time

import pytest

from plugway.testing import (
    ERRORS,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_claude_code._windows import profile
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
async def test_another_vendors_context_overflow_is_recognised(scripted, name):
    upstream, claude = scripted
    upstream.script(*[ERRORS[name].script()] * 20)
    began = time.monotonic()
    answer = await claude.run("-p", "hi")
    told = answer.out + answer.err
    assert "Prompt is too long" in told or "context" in told.lower()
    assert len(upstream.requests) <= 4, "no storm of retries"
    assert time.monotonic() - began < 15


async def test_a_refused_key_of_the_gateway_is_no_login_of_the_client(scripted):
    upstream, claude = scripted
    upstream.script(*[anthropic_error(401, "authentication_error", "invalid x-api-key")] * 20)
    answer = await claude.run("-p", "hi")
    told = answer.out + answer.err
    assert "the key in option `api_key` of `up`" in told
    assert "/login" not in told


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


async def test_an_account_without_credit_ends_at_once(scripted):
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
    assert not [request for request in upstream.requests if request.path == "/v1/messages"]


def numbered(number, events):
    """The events of a message and tool call with unique ids, which the client distinguishes."""
    text = json.dumps(events).replace("msg_scripted", f"msg_{number}")
    return [tuple(event) for event in json.loads(text.replace("toolu_0001", f"toolu_{number:04}x"))]


def using(tokens):
    return {"input_tokens": tokens, "output_tokens": 5}


@pytest.mark.parametrize("scaled", [False, True])
async def test_pain_14_scaled_usage_makes_the_client_compact_before_a_small_window_is_full(
    tmp_path, scaled
):
    """The fifth prompt has 27,000 tokens of 32,768. The client gets the window that counts are
    scaled to; by default it assumes 1,000,000 for an unknown model."""
    async with ScriptedUpstream() as upstream:
        options = {"windows": {"up/*": 32_768}, "scale_usage": scaled}
        stack = [
            build_plugin(ContextGuard, "guard", **options),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            claude = Claude(tmp_path, running.url, running.token, "anthropic/up/m")
            claude._env |= profile(32_768, scaled=True).env
            path = claude.project / "a.txt"
            path.write_text("hello")
            call = ("Read", {"file_path": str(path)})
            reads = [
                anthropic_stream("I read.", tool_calls=[call], usage=using(9000 + 4500 * turn))
                for turn in range(5)
            ]
            ends = [anthropic_stream("<summary>Done.</summary>", usage=using(9000))] * 4
            upstream.script(*[sse(numbered(n, events)) for n, events in enumerate(reads + ends)])
            answer = await claude.run("-p", "read it", "--tools", "Read")
    assert "Done." in answer.out
    asked = [str(r.json["messages"][-1]) for r in upstream.requests if r.body]
    compactions = [n for n, text in enumerate(asked) if "<summary> block" in text]
    assert bool(compactions) == scaled

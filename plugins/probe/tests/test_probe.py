"""The probes tell a model that works from one that does not, and say what to do."""

import pytest

from plugway import PlugwayError
from plugway.testing import (
    Hold,
    PlainBackend,
    ScriptedUpstream,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_llama_cpp import LlamaCpp
from plugway_probe import ListedModel, list_models, one_per_backend, probe
from plugway_resilience import Resilience

pytestmark = pytest.mark.anyio
MODEL = "anthropic/up/some-model"


@pytest.fixture
async def scripted():
    async with ScriptedUpstream() as upstream:
        backend = build_plugin(AnthropicCompatible, "up", base_url=upstream.url)
        async with gateway([backend]) as running:
            yield upstream, running


async def only(running, name, **more):
    (finding,) = await probe(running.url, running.token, MODEL, probes=(name,), **more)
    return finding


@pytest.mark.slow
async def test_the_model_that_comes_along_passes_all_of_them():
    guard = build_plugin(ContextGuard, "guard")
    backend = build_plugin(LlamaCpp, "local", model="demo", temperature=0)
    patient = build_plugin(Resilience, "resilience")  # a busy machine loads slowly
    async with gateway([patient, guard, backend]) as running:
        (model,) = one_per_backend(await list_models(running.url, running.token))
        told = []
        findings = await probe(running.url, running.token, model.id, on_finding=told.append)
    outcomes = {finding.probe: (finding.outcome, finding.reason) for finding in findings}
    assert {name: outcome for name, (outcome, _) in outcomes.items()} == {
        "stream": "passed",
        "tool": "passed",
        "overflow": "passed",
        "cancel": "passed",
    }, outcomes
    assert told == findings
    assert findings[0].detail["first_seconds"] > 0
    assert isinstance(findings[1].detail["arguments"]["city"], str)


async def test_what_the_server_says_is_the_reason_and_its_status_makes_the_fix(scripted):
    upstream, running = scripted
    upstream.script(anthropic_error(401, "authentication_error", "this key is revoked"))
    findings = await probe(running.url, running.token, MODEL)
    assert "this key is revoked" in findings[0].reason
    assert "plugway keys test" in findings[0].fix
    assert [finding.outcome for finding in findings] == ["failed", *["skipped"] * 3]


async def test_of_a_server_that_is_off_the_gateways_words_are_reason_and_fix():
    backend = build_plugin(AnthropicCompatible, "up", base_url="http://127.0.0.1:9")
    async with gateway([backend]) as running:
        finding = await only(running, "stream")
    assert finding.reason == "`up`: cannot connect to http://127.0.0.1:9: connection refused"
    assert finding.fix == "start its server, or fix `base_url`"
    assert finding.detail == {"status": 529}


async def test_signs_of_life_before_the_answer_of_a_slow_model_are_no_flaw(scripted):
    upstream, running = scripted
    ping = ("ping", {"type": "ping"})
    upstream.script(sse([ping, *anthropic_stream("ready")]))
    assert (await only(running, "stream")).outcome == "passed"


async def test_a_dash_in_a_servers_own_refusal_is_not_taken_for_a_fix(scripted):
    upstream, running = scripted
    upstream.script(anthropic_error(400, "invalid_request_error", "bad - very bad"))
    finding = await only(running, "stream")
    assert finding.reason.endswith("bad - very bad")


async def test_a_model_without_a_word_has_failed(scripted):
    upstream, running = scripted
    upstream.script(sse(anthropic_stream("")))
    finding = await only(running, "stream")
    assert (finding.outcome, finding.reason) == ("failed", "the model sent an empty reply")
    assert "tool-repair" in finding.fix


async def test_words_instead_of_a_call_are_told(scripted):
    upstream, running = scripted
    upstream.script(sse(anthropic_stream("Paris it is.")))
    finding = await only(running, "tool")
    assert "replied 'Paris it is.'" in finding.reason
    assert "--jinja" in finding.fix


@pytest.mark.parametrize("arguments", [{}, {"city": 7}])
async def test_arguments_outside_the_schema_are_told(scripted, arguments):
    upstream, running = scripted
    upstream.script(sse(anthropic_stream("", tool_calls=[("note_city", arguments)])))
    finding = await only(running, "tool")
    assert "do not fit its schema" in finding.reason


async def test_a_prompt_cut_in_silence_is_found(scripted):
    upstream, running = scripted
    upstream.script(sse(anthropic_stream("Words, words.")))
    finding = await only(running, "overflow", window=1000)
    assert finding.outcome == "failed"
    assert "silently truncated" in finding.reason
    assert "context-guard" in finding.fix


async def test_a_refusal_in_unknown_words_is_found(scripted):
    upstream, running = scripted
    upstream.script(anthropic_error(400, "invalid_request_error", "context length exceeded"))
    finding = await only(running, "overflow", window=1000)
    assert finding.outcome == "failed"
    assert "context length exceeded" in finding.reason


async def test_a_refusal_that_clients_know_passes():
    guard = build_plugin(ContextGuard, "guard", windows={"up/*": 50000})
    async with gateway([guard, build_plugin(PlainBackend, "up")]) as running:
        finding = await only(running, "overflow", window=50000)
    assert finding.outcome == "passed"
    assert "prompt is too long" in finding.reason


async def test_without_a_window_nothing_is_overflowed(scripted):
    upstream, running = scripted
    upstream.script(anthropic_error(404, "not_found_error", "no list here"))
    finding = await only(running, "overflow")
    assert finding.outcome == "skipped"
    assert finding.ok


async def test_a_client_that_leaves_is_let_go(scripted):
    upstream, running = scripted
    upstream.script(sse([*anthropic_stream(["one", "two"])[:3], Hold()]))
    finding = await only(running, "cancel")
    assert finding.outcome == "passed"
    assert finding.detail["let_go_seconds"] < 2


async def test_silence_is_given_up_in_time(scripted):
    upstream, running = scripted
    upstream.script([Hold()])
    finding = await only(running, "stream", seconds=0.3)
    assert "within 0.3 s" in finding.reason or "too long" in finding.reason
    assert finding.fix


async def test_no_gateway_is_a_finding_and_for_the_list_an_error():
    finding, *_ = await probe("http://127.0.0.1:9", "token", MODEL)
    assert finding.fix == "run `plugway serve`"
    with pytest.raises(PlugwayError, match="no gateway responds"):
        await list_models("http://127.0.0.1:9", "token")


async def test_the_list_has_one_model_for_each_backend():
    plugins = [build_plugin(PlainBackend, name) for name in ("one", "two")]
    async with gateway(plugins) as running:
        models = await list_models(running.url, running.token)
    assert [model.backend for model in one_per_backend([*models, *models])] == ["one", "two"]
    assert ListedModel("plain").backend == ""

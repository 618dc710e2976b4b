"""What goes in from upstreams, and what the client gets."""

import json
import re
import time

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugway import (
    Attempt,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Exchange,
    MessagesRequest,
    StreamInterrupted,
)
from plugway.testing import ERRORS, PlainBackend, ScriptedUpstream, build_plugin, gateway, sse
from plugway.testing import request_body as body_of
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_resilience import Resilience

pytestmark = pytest.mark.anyio

LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum. capability_rejected: prompt_")
LIMIT, INVALID = "rate_limit_error", "invalid_request_error"
OVERFLOW = (400, INVALID, "prompt is too long")
BUSY, NO_MODEL = (529, "overloaded_error"), (404, "not_found_error")

EXPECTED = {
    "anthropic.context_overflow": OVERFLOW,
    "anthropic.max_tokens_overflow": (
        400,
        INVALID,
        "exceed context limit: 190000 + 32000 > 200000",
    ),
    "anthropic.model_not_found": (*NO_MODEL, "model: asked-model"),
    "anthropic.overloaded": (*BUSY, "Overloaded"),
    "anthropic.rate_limited": (429, LIMIT, "per-minute rate limit"),
    "anthropic.quota": (429, LIMIT, "the account behind `up`"),
    "anthropic.unauthorized": (401, "authentication_error", "`api_key` in the options of `up`"),
    "anthropic.forbidden": (403, "permission_error", "does not allow this"),
    "openai.context_overflow": OVERFLOW,
    "openai.context_overflow_without_numbers": OVERFLOW,
    "openai.context_overflow_in_stream": OVERFLOW,
    "openai.model_not_found": (*NO_MODEL, "model: asked-model"),
    "openai.overloaded": (*BUSY, "currently overloaded"),
    "openai.rate_limited": (429, LIMIT, "Rate limit reached"),
    "openai.quota": (429, LIMIT, "the account behind `up` is used up"),
    "openai.unauthorized": (401, "authentication_error", "`api_key` in the options of `up`"),
    "openai.unsupported_parameter": (400, INVALID, "Use 'max_completion_tokens'"),
    "openai.max_tokens_too_large": (400, INVALID, "CLAUDE_CODE_MAX_OUTPUT_TOKENS=16384"),
    "gemini.context_overflow": OVERFLOW,
    "gemini.context_overflow_in_array": OVERFLOW,
    "gemini.model_not_found": (*NO_MODEL, "model: asked-model"),
    "gemini.overloaded": (*BUSY, "overloaded"),
    "gemini.rate_limited": (429, LIMIT, "quota"),
    "gemini.unauthorized": (401, "authentication_error", "`up` rejected its API key"),
    "ollama.context_overflow": OVERFLOW,
    "ollama.model_not_found": (*NO_MODEL, "ollama pull qwen3"),
    "ollama.overloaded": (*BUSY, "server busy"),
    "lmstudio.context_overflow": OVERFLOW,
    "lmstudio.context_overflow_as_500": OVERFLOW,
    "lmstudio.context_overflow_in_stream": OVERFLOW,
    "lmstudio.no_model_loaded": (400, INVALID, "plugway models load"),
    "llamacpp.context_overflow": OVERFLOW,
    "llamacpp.loading": (*BUSY, "is loading the model `qwen3`"),
    "llamacpp.unauthorized": (401, "authentication_error", "Invalid API Key"),
    "llamacpp.not_supported": (400, INVALID, "does not support completions"),
    "vllm.context_overflow": OVERFLOW,
    "vllm.context_overflow_as_500": OVERFLOW,
    "vllm.prompt_too_long": OVERFLOW,
    "vllm.model_not_found": (*NO_MODEL, "model: asked-model"),
    "vllm.engine_dead": (500, "api_error", "`up`: EngineCore"),
    "llamacpppython.context_overflow": OVERFLOW,
    "openrouter.context_overflow": OVERFLOW,
    "openrouter.overloaded": (*BUSY, "upstream overloaded"),
    "openrouter.quota": (402, "billing_error", "Insufficient credits"),
    "openrouter.error_in_stream": (502, "api_error", "Provider disconnected"),
    "copilot.context_overflow": OVERFLOW,
    "deepseek.context_overflow": OVERFLOW,
    "deepseek.quota": (402, "billing_error", "Insufficient Balance"),
    "bedrock.context_overflow": OVERFLOW,
    "bedrock.model_not_found": (*NO_MODEL, "model: asked-model"),
    "bedrock.rate_limited": (429, LIMIT, "Too many requests"),
    "proxy.html": (502, "api_error", "`up`: the upstream responded with status 502"),
    "fastapi.detail": (*NO_MODEL, "`base_url`"),
}
STOPS = {401, 402, 403, 404}
NUMBERS = {
    "openai.context_overflow": (196016, 128000),
    "gemini.context_overflow_in_array": (1200293, 1048576),
    "lmstudio.context_overflow": (13055, 4096),
    "llamacpp.context_overflow": (13392, 8192),
    "vllm.context_overflow": (36000, 32768),
    "vllm.prompt_too_long": (40096, 32768),
    "copilot.context_overflow": (140000, 128000),
    "openrouter.context_overflow": (196016, 128000),
    "llamacpppython.context_overflow": (3000, 2048),
}


async def told(failure, plugin=None):
    """The reply to `failure`, and its error object."""
    plugin = plugin or build_plugin(ErrorNormalizer, "errors")
    exchange = Exchange(MessagesRequest(b'{"model":"asked-model"}'))
    attempt = Attempt(build_plugin(PlainBackend, "up"), "qwen3")
    reply = await plugin.normalize_failure(failure, attempt, exchange)
    body = orjson.loads(reply.body)
    assert body["type"] == "error"
    assert body["request_id"] == exchange.id
    return reply, body["error"]


def test_every_canned_error_has_an_expectation():
    assert set(EXPECTED) == set(ERRORS)


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_known_error_becomes_what_the_client_acts_on(name):
    canned = ERRORS[name]
    failure = BackendRefused(canned.status, canned.body, headers=canned.headers)
    reply, error = await told(failure)
    status, kind, words = EXPECTED[name]
    assert (reply.status, error["type"]) == (status, kind)
    assert words in error["message"]
    if EXPECTED[name] is OVERFLOW:
        prompt, limit = map(int, LONG.match(error["message"]).groups())
        assert prompt > limit
        assert (prompt, limit) == NUMBERS.get(name, (prompt, limit))
    if status in STOPS or "quota" in name:
        assert reply.header("x-should-retry") == "false"


@pytest.mark.parametrize(
    "name",
    # of an error inside a stream the message alone is left, so that nothing nested can be seen
    [n for n in EXPECTED if "overflow" in n and "max" not in n and "openrouter" not in n],
)
async def test_an_overflow_inside_a_stream_is_recognised_alike(name):
    text = BackendRefused(400, ERRORS[name].body).message
    _, error = await told(StreamInterrupted(text, status=500))
    assert LONG.match(error["message"])


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("openai.rate_limited", "20"),
        ("gemini.rate_limited", "37"),
        ("anthropic.rate_limited", "20"),
    ],
)
async def test_a_rate_limit_says_how_long_to_wait(name, seconds):
    canned = ERRORS[name]
    reply, _ = await told(BackendRefused(canned.status, canned.body, headers=canned.headers))
    assert reply.header("retry-after") == seconds
    assert reply.header("x-should-retry") is None


async def test_milliseconds_are_waited_for_in_whole_seconds():
    headers = (("retry-after-ms", "2500"), ("anthropic-ratelimit-requests-remaining", "0"))
    reply, _ = await told(BackendRefused(429, b"{}", headers=headers))
    assert reply.header("retry-after") == "3"
    assert reply.header("anthropic-ratelimit-requests-remaining") == "0"


async def test_pain_12_a_shorter_answer_is_asked_for_where_one_fits():
    text = (
        b"This model's maximum context length is 32768 tokens. However, you requested 42768 tokens "
        b"(10768 in the messages, 32000 in the completion)."
    )
    _, error = await told(BackendRefused(400, text))
    wanted = "input length and `max_tokens` exceed context limit: 10768 + 32000 > 32768"
    assert error["message"].startswith(wanted)


async def test_an_anthropic_upstream_is_left_alone():
    plugin = build_plugin(ErrorNormalizer, "errors")
    failure = BackendRefused(400, ERRORS["anthropic.context_overflow"].body, native=True)
    exchange = Exchange(MessagesRequest(b"{}"))
    attempt = Attempt(build_plugin(PlainBackend, "up"), "m")
    assert await plugin.normalize_failure(failure, attempt, exchange) is None


async def test_words_of_the_backend_itself_are_told_as_they_are():
    message = "the server does not accept the key in option `api_key` of `up`"
    body = ERRORS["openai.unauthorized"].body
    reply, error = await told(BackendRefused(401, body, message=message, permanent=True))
    assert error["message"] == f"`up`: {message}"
    assert reply.header("x-should-retry") == "false"


async def test_a_server_that_is_away_looks_busy_and_one_that_is_silent_timed_out():
    reply, error = await told(BackendUnavailable("up cannot be reached: Connection refused"))
    assert (reply.status, error["type"]) == (529, "overloaded_error")
    reply, error = await told(BackendTimeout("up did not answer in time"))
    assert (reply.status, error["type"]) == (504, "timeout_error")


async def test_keys_and_long_texts_are_not_told():
    text = b"Bearer abcdef123456, key sk-abcdefgh12345678 and api_key=hunter2hunter2 " + b"x" * 9000
    _, error = await told(BackendRefused(400, text))
    assert "hunter2" not in error["message"]
    assert "12345" not in error["message"]
    assert len(error["message"]) < 2100


async def test_models_with_close_names_are_told():
    plugin = build_plugin(ErrorNormalizer, "errors")
    attempt = Attempt(build_plugin(PlainBackend, "up"), "tes-model")
    exchange = Exchange(MessagesRequest(b'{"model":"tes-model"}'))
    failure = BackendRefused(404, ERRORS["vllm.model_not_found"].body)
    reply = await plugin.normalize_failure(failure, attempt, exchange)
    assert b"Similar names: `test-model`" in reply.body


async def test_a_model_that_is_listed_and_refused_all_the_same_is_not_proposed_again():
    plugin = build_plugin(ErrorNormalizer, "errors")
    attempt = Attempt(build_plugin(PlainBackend, "up"), "test-model")
    exchange = Exchange(MessagesRequest(b'{"model":"test-model"}'))
    failure = BackendRefused(404, ERRORS["vllm.model_not_found"].body)
    reply = await plugin.normalize_failure(failure, attempt, exchange)
    assert b"does not have `test-model`" in reply.body
    assert b"Similar names" not in reply.body


BODIES = st.binary(max_size=400) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "metadata", "raw", "code", "n_ctx", "x"]
            ),
            inner,
            max_size=5,
        )
        | inner.map(json.dumps)
    ),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


HEADERS = st.lists(
    st.tuples(st.sampled_from(["retry-after", "retry-after-ms", "x"]), st.text(max_size=20)),
    max_size=3,
).map(tuple)


@settings(max_examples=300, deadline=None)
@given(body=BODIES, status=st.integers(100, 999), headers=HEADERS)
async def test_any_bytes_become_a_valid_envelope(body, status, headers):
    plugin = build_plugin(ErrorNormalizer, "errors", list_close_models=False)
    reply, error = await told(BackendRefused(status, body, headers=headers), plugin)
    assert 400 <= reply.status < 600
    assert error["message"]
    assert error["type"].endswith("_error") or error["type"] == "request_too_large"


async def test_texts_that_try_regular_expressions_cost_little():
    hostile = [b"max_tokens " * 800, b"model " * 1400, b"prompt is too long: " + b"1," * 4000]
    began = time.process_time()
    for text in hostile:
        await told(BackendRefused(500, text))
    assert time.process_time() - began < 1


@pytest.fixture
async def scripted():
    async with ScriptedUpstream() as upstream:
        stack = [
            build_plugin(Resilience, "resilience"),
            build_plugin(ErrorNormalizer, "errors"),
            build_plugin(AnthropicCompatible, "up", base_url=upstream.url),
        ]
        async with gateway(stack) as running:
            yield upstream, running


async def test_pain_16_an_overflow_as_500_is_sent_once_and_told_as_400(scripted):
    upstream, running = scripted
    upstream.script(*[ERRORS["lmstudio.context_overflow_as_500"].script()] * 5)
    for _ in range(5):
        response = await running.post(body_of())
        assert response.status_code == 400
        assert LONG.match(response.json()["error"]["message"])
    assert len(upstream.requests) == 5


async def test_an_error_as_first_event_of_a_stream_is_told_as_a_status(scripted):
    upstream, running = scripted
    upstream.script(ERRORS["lmstudio.context_overflow_in_stream"].script())
    response = await running.post(body_of(stream=True))
    assert response.status_code == 400
    assert "13055 tokens > 4096 maximum" in response.json()["error"]["message"]


async def test_numbers_that_are_missing_come_from_an_earlier_refusal(scripted):
    upstream, running = scripted
    no_numbers = sse(
        [
            (
                "error",
                {"type": "error", "error": {"message": "Input is too long for requested model."}},
            )
        ]
    )
    upstream.script(ERRORS["llamacpp.context_overflow"].script(), no_numbers)
    await running.post(body_of())
    response = await running.post(body_of("long " * 20_000))
    prompt, limit = map(int, LONG.match(response.json()["error"]["message"]).groups())
    assert limit == 8192
    assert 20_000 < prompt < 30_000

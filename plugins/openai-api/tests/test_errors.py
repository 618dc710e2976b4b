"""Failures reach an OpenAI client with the status, type, code and parameter that it acts on."""

import openai
import pytest

from plugway.testing import ERRORS, ScriptedUpstream, Sleep, anthropic_error, build_plugin, sse
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_openai_api._errors import to_openai

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
USER = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("authentication_error", "no", ("invalid_request_error", None, "invalid_api_key")),
        ("billing_error", "no", ("insufficient_quota", None, "insufficient_quota")),
        ("permission_error", "no", ("permission_error", None, None)),
        ("not_found_error", "model: x", ("invalid_request_error", "model", "model_not_found")),
        ("not_found_error", "GET /x is not served", ("invalid_request_error", None, None)),
        ("request_too_large", "no", ("invalid_request_error", None, "request_too_large")),
        ("rate_limit_error", "no", ("rate_limit_error", None, "rate_limit_exceeded")),
        ("overloaded_error", "no", ("server_error", None, "overloaded")),
        ("timeout_error", "no", ("server_error", None, "timeout")),
        ("api_error", "no", ("server_error", None, None)),
        ("made_up", "no", ("server_error", None, None)),
        ("invalid_request_error", "no", ("invalid_request_error", None, None)),
        (
            "invalid_request_error",
            "max_tokens: Field required",
            ("invalid_request_error", "max_tokens", "invalid_value"),
        ),
        (
            "invalid_request_error",
            "Missing required parameter: 'model'.",
            ("invalid_request_error", "model", "missing_required_parameter"),
        ),
        (
            "invalid_request_error",
            "Invalid type for 'messages[0].content': expected a string, but got null instead.",
            ("invalid_request_error", "messages[0].content", "invalid_type"),
        ),
        (
            "invalid_request_error",
            "input length and `max_tokens` exceed context limit: 10 + 5 > 12",
            ("invalid_request_error", "messages", "context_length_exceeded"),
        ),
    ],
)
def test_each_kind_in_openais_words(kind, message, expected):
    found = to_openai({"type": kind, "message": message})
    assert (found.type, found.param, found.code) == expected
    assert message in found.message


def test_an_overflow_has_the_sentence_that_clients_look_for():
    found = to_openai(
        {
            "type": "invalid_request_error",
            "message": "prompt is too long: 210000 tokens > 200000 maximum",
        }
    )
    assert found.message.startswith("This model's maximum context length is 200000 tokens.")
    assert "resulted in 210000 tokens" in found.message


@pytest.mark.parametrize("path", ["chat", "responses"])
@pytest.mark.parametrize(
    ("name", "error", "status"),
    [
        ("anthropic.context_overflow", openai.BadRequestError, 400),
        ("anthropic.model_not_found", openai.NotFoundError, 404),
        ("anthropic.rate_limited", openai.RateLimitError, 429),
        ("anthropic.overloaded", openai.InternalServerError, 503),
    ],
)
async def test_the_sdk_raises_what_it_would_for_openai(claude, name, error, status, path):
    claude.upstream.script(ERRORS[name].script())
    with pytest.raises(error) as raised:
        await ask(claude.client, path)
    assert raised.value.status_code == status
    assert isinstance(raised.value.body, dict)
    assert {"message", "type", "param", "code"} == set(raised.value.body)


async def ask(client, path, **fields):
    if path == "chat":
        return await client.chat.completions.create(model="claude/m", messages=USER, **fields)
    return await client.responses.create(model="claude/m", input="hi", **fields)


async def test_a_wrong_token_is_told_with_the_clients_own_variable(claude):
    client = claude.client.with_options(api_key="wrong")
    for path in ("chat", "responses"):
        with pytest.raises(openai.AuthenticationError) as raised:
            await ask(client, path)
        assert raised.value.code == "invalid_api_key"
        assert "OPENAI_API_KEY" in raised.value.message


async def test_an_unknown_model_names_what_exists(claude):
    with pytest.raises(openai.NotFoundError) as raised:
        await claude.client.chat.completions.create(model="anthropic/gone/m", messages=USER)
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")
    assert "claude" in raised.value.message


async def test_what_a_rate_limit_asks_for_reaches_the_client(claude):
    script = anthropic_error(429, "rate_limit_error", "slow down", {"retry-after": "7"})
    claude.upstream.script(script)
    with pytest.raises(openai.RateLimitError) as raised:
        await ask(claude.client, "chat")
    assert raised.value.response.headers["retry-after"] == "7"


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_a_stream_that_fails_before_its_first_word_is_a_status(claude, path):
    error = {"type": "invalid_request_error", "message": "nothing of that"}
    claude.upstream.script(sse([("error", {"type": "error", "error": error})]))
    with pytest.raises(openai.APIStatusError):
        await ask(claude.client, path, stream=True)


@pytest.mark.parametrize("path", ["chat", "responses"])
async def test_a_failure_after_a_long_wait_is_told_in_the_stream(serving, path):
    late = anthropic_error(400, "invalid_request_error", "nothing of that")
    async with ScriptedUpstream([Sleep(0.15), *late]) as upstream:
        backend = build_plugin(AnthropicCompatible, "claude", base_url=upstream.url, models=["m"])
        async with serving(backend, ping_seconds=0.05) as running:
            stream = await ask(running.client, path, stream=True)
            if path == "chat":
                with pytest.raises(openai.APIError, match="nothing of that"):
                    _ = [chunk async for chunk in stream]
                return
            events = [event async for event in stream]
    kinds = [event.type for event in events]
    assert kinds == ["response.created", "response.in_progress", "response.failed"]
    assert [event.sequence_number for event in events] == [0, 1, 2]
    assert "nothing of that" in events[-1].response.error.message
    assert events[-1].response.status == "failed"

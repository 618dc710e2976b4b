"""Responses of an upstream that are not meant for a client: invalid waits, and statuses about the
gateway's own request."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from plugway.testing import ScriptedUpstream, build_plugin, gateway, request_body, respond
from plugway_anthropic import Anthropic
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_error_normalizer import ErrorNormalizer
from plugway_gemini import Gemini
from plugway_ollama import Ollama
from plugway_openai import OpenAI
from plugway_openai_api import OpenAIApi
from plugway_openai_compatible import OpenAICompatible
from plugway_resilience import Resilience

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

BACKENDS = {
    Anthropic: {"api_key": "k"},
    AnthropicCompatible: {"zone": "vendor"},
    Gemini: {"api_key": "k"},
    Ollama: {},
    OpenAI: {"api_key": "k"},
    OpenAICompatible: {"zone": "vendor", "learn": False},
}
STACKS = {
    "alone": (),
    "normalized": (ErrorNormalizer,),
    "all": (Resilience, ErrorNormalizer),
}
MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"
WHERE = [(kind, MESSAGES) for kind in BACKENDS] + [(OpenAICompatible, CHAT), (Anthropic, CHAT)]
each_way = pytest.mark.parametrize(
    ("kind", "path"), WHERE, ids=lambda value: getattr(value, "__name__", value)
)


async def asked(kind, path, stack, *scripts):
    """The responses of one gateway to one request for each script of the server."""
    now = list(scripts[:1])
    async with ScriptedUpstream(otherwise=lambda _: now[0]) as upstream:
        layers = [build_plugin(layer, layer.__name__.lower()) for layer in STACKS[stack]]
        backend = build_plugin(kind, "up", base_url=upstream.url, **BACKENDS[kind])
        api = build_plugin(OpenAIApi, "openai-api")
        async with gateway([api, *layers, backend]) as running:
            for script in scripts:
                now[0] = script
                yield await running.post(request_body(model="up/m"), path)


# ── waits ────────────────────────────────────────────────────────────────────────────────────────

JUNK = [
    *("", "soon", "-1", "-0.5", "+5", "1e3", "nan", "inf", "0x10", "1,5", "5s", "5 seconds"),
    *("99999999", "9" * 400, "2678401", "1.2.3", "Fri, 99 Foo 2030 00:00:00 GMT", "tomorrow"),
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "true",
]
SOUND = ["0", "1", "20", "1.5", "600", "86400", formatdate(time.time() + 3600, usegmt=True)]
FAILURE = {"error": {"type": "rate_limit_error", "message": "slow down"}}


def waits(values):
    for value in values:
        milliseconds = f"{value}000" if value.isdigit() else value
        lines = {"retry-after": value, "retry-after-ms": milliseconds, "x-should-retry": value}
        yield respond(429, FAILURE, lines)


@pytest.mark.parametrize("stack", ["alone", "normalized"])
@each_way
async def test_an_invalid_wait_is_dropped(stack, kind, path):
    answers = [answer async for answer in asked(kind, path, stack, *waits(JUNK))]
    assert {answer.status_code for answer in answers} == {429}
    for answer, value in zip(answers, JUNK, strict=True):
        assert "retry-after" not in answer.headers, value
        assert "retry-after-ms" not in answer.headers, value
        assert answer.headers.get("x-should-retry") in (None, "true", "false")


@pytest.mark.parametrize("value", ["-1", "9" * 400, "soon"])
async def test_an_invalid_wait_does_not_delay_a_retry(value):
    async for answer in asked(Anthropic, MESSAGES, "all", *waits([value])):
        assert answer.status_code == 429
        assert "retry-after" not in answer.headers


@each_way
async def test_a_valid_wait_is_kept(kind, path):
    scripts = [respond(429, FAILURE, {"retry-after": value}) for value in SOUND]
    kept = [a.headers["retry-after"] async for a in asked(kind, path, "alone", *scripts)]
    assert kept == SOUND


# ── statuses ─────────────────────────────────────────────────────────────────────────────────────

SAID = {"error": {"type": "x", "message": "says so"}}
NO_ANSWERS = [101, 204, 205, 206, 300, 301, 304, 307, 399]
BETWEEN = [405, 406, 407, 411, 412, 415, 416, 417, 421, 425, 426, 428]
BETWEEN += [505, 506, 508, 510, 511]
OWN = [400, 401, 403, 404, 408, 409, 413, 422, 429, 451, 500, 502, 504, 529]


@pytest.mark.parametrize("stack", ["alone", "normalized"])
@each_way
async def test_a_status_that_is_not_for_the_client_becomes_a_bad_gateway(stack, kind, path):
    statuses = [*NO_ANSWERS, *BETWEEN, 600, 799, 999]
    scripts = [respond(status, SAID) for status in statuses]
    answers = [answer async for answer in asked(kind, path, stack, *scripts)]
    told = {status: a.status_code for status, a in zip(statuses, answers, strict=True)}
    assert told == dict.fromkeys(statuses, 502)
    assert all(answer.json()["error"]["message"] for answer in answers)


@pytest.mark.parametrize("status", [206, 304, 407, 426, 511, 999])
async def test_it_also_becomes_a_bad_gateway_if_targets_are_retried(status):
    async for answer in asked(OpenAICompatible, CHAT, "all", respond(status, SAID)):
        assert answer.status_code == 502


@each_way
async def test_a_status_for_the_client_is_kept(kind, path):
    scripts = [respond(status, SAID) for status in OWN]
    told = [answer.status_code async for answer in asked(kind, path, "alone", *scripts)]
    assert told == [503 if path == CHAT and s == 529 else s for s in OWN]


@each_way
async def test_another_success_status_is_never_passed_on(kind, path):
    scripts = [respond(status, SAID) for status in (201, 202, 203, 207, 226)]
    told = {answer.status_code async for answer in asked(kind, path, "alone", *scripts)}
    assert told <= {200, 502}


@pytest.mark.parametrize("status", [201, 206, 301, 407, 999])
async def test_a_server_that_gets_several_requests_cannot_choose_the_status(status):
    async with ScriptedUpstream(otherwise=respond(status, SAID)) as upstream:
        backend = build_plugin(Ollama, "up", base_url=upstream.url, context_tokens=8192)
        async with gateway([backend]) as running:
            answer = await running.post(request_body(model="up/m"))
    assert answer.status_code == 502

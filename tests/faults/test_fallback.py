"""Fallback before the client has received content: prompts that do not fit, and replies that look
like success but are not. Uses the default stack."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from plugway.testing import (
    ERRORS,
    ScriptedUpstream,
    anthropic_stream,
    assert_valid_stream,
    build_plugin,
    gateway,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_context_guard import ContextGuard
from plugway_error_normalizer import ErrorNormalizer
from plugway_field_policy import FieldPolicy
from plugway_local_answers import LocalAnswers
from plugway_resilience import Resilience
from plugway_router import Router
from plugway_thinking import Thinking
from plugway_tool_repair import ToolRepair

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]

LONG = "some words of a prompt, " * 10_000
"""About 60,000 tokens."""
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
TOOLS = [{"name": "Number", "input_schema": SCHEMA}]
GOOD = sse(anthropic_stream("Hello.", tool_calls=[("Number", {"n": 1})]))
WRONG = sse(anthropic_stream("", tool_calls=[("Number", {"x": 1})]))
EMPTY = sse(anthropic_stream(""))


class Stack:
    def __init__(self, running, first, second):
        self.running, self.first, self.second = running, first, second

    @property
    def hits(self):
        return [
            sum(request.path == "/v1/messages" for request in upstream.requests)
            for upstream in (self.first, self.second)
        ]

    async def ask(self, text="x", stream=True):
        return await self.running.post(request_body(text, tools=TOOLS, stream=stream))


@asynccontextmanager
async def stack(*first, windows=None, consent=True, zones=("local", "local"), unfixable="pass"):
    """`first` is the reply of the first of two targets; the second one works."""
    targets = ["first/m", "second/m"]
    answers = list(first)

    def says(request):
        if request.path != "/v1/messages":
            return respond(404)
        return answers.pop(0) if answers else WRONG

    async with AsyncExitStack() as exits:
        one = await exits.enter_async_context(ScriptedUpstream(otherwise=says))
        two = await exits.enter_async_context(ScriptedUpstream(otherwise=GOOD))
        plugins = [
            build_plugin(LocalAnswers, "local-answers"),
            build_plugin(Thinking, "thinking"),
            build_plugin(Resilience, "resilience", repeat_min_seconds=0, repeat_max_seconds=0.01),
            build_plugin(ErrorNormalizer, "error-normalizer"),
            build_plugin(ToolRepair, "tool-repair", unfixable=unfixable),
            build_plugin(ContextGuard, "context-guard", windows=windows or {}),
            build_plugin(FieldPolicy, "field-policy"),
            build_plugin(Router, "router", models={"*": targets}, allow_zone_change=consent),
            build_plugin(AnthropicCompatible, "first", base_url=one.url, zone=zones[0]),
            build_plugin(AnthropicCompatible, "second", base_url=two.url, zone=zones[1]),
        ]
        running = await exits.enter_async_context(gateway(plugins))
        yield Stack(running, one, two)


def told(response):
    error = response.json()["error"]
    return response.status_code, error["type"], error["message"]


# ── a prompt that does not fit ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
async def test_pain_14_a_prompt_that_does_not_fit_goes_to_the_larger_window_unsent(stream):
    async with stack(windows={"first/*": 32_768, "second/*": 1_000_000}) as s:
        response = await s.ask(LONG, stream)
    assert response.status_code == 200
    assert s.hits == [0, 1], "the first one was not asked"
    assert "served-by=second/m" in response.headers["plugway-receipt"]


@pytest.mark.parametrize("name", ["vllm.context_overflow", "lmstudio.context_overflow_as_500"])
async def test_pain_16_a_window_that_only_the_server_knew_falls_back_and_is_remembered(name):
    async with stack(ERRORS[name].script(), windows={"second/*": 1_000_000}) as s:
        responses = [await s.ask(LONG), await s.ask(LONG)]
    assert [response.status_code for response in responses] == [200, 200]
    assert s.hits == [1, 2], "asked once, with no repeat"


async def test_a_prompt_that_fits_nowhere_gets_the_message_that_makes_the_client_compact():
    async with stack(windows={"*": 32_768}) as s:
        response = await s.ask(LONG)
    status, kind, text = told(response)
    assert (status, kind, s.hits) == (400, "invalid_request_error", [0, 0])
    assert text.startswith("prompt is too long: ")


@pytest.mark.parametrize(
    ("zones", "consent", "hits"),
    [
        (("local", "vendor"), False, [0, 0]),
        (("vendor", "other"), False, [0, 0]),
        (("local", "vendor"), True, [0, 1]),
    ],
    ids=["to the cloud", "to another vendor", "with consent"],
)
async def test_a_larger_window_elsewhere_needs_consent(zones, consent, hits):
    windows = {"first/*": 32_768, "second/*": 1_000_000}
    async with stack(windows=windows, zones=zones, consent=consent) as s:
        response = await s.ask(LONG)
    assert s.hits == hits
    if consent:
        assert "served-by=second/m; zone=vendor" in response.headers["plugway-receipt"]
    else:
        assert told(response)[2].startswith("prompt is too long: ")


# ── a failure that looks like success ─────────────────────────────────────────────────────────


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("answer", [WRONG, EMPTY], ids=["a wrong call", "nothing"])
async def test_a_silent_failure_falls_back_before_the_client_sees_it(answer, stream):
    async with stack(answer, answer, unfixable="fail_over") as s:
        response = await s.ask()
    assert response.status_code == 200
    assert s.hits == [2, 1], "it was asked once more, with the reason"
    assert '"x"' not in response.text
    assert "served-by=second/m" in response.headers["plugway-receipt"]


async def test_a_silent_failure_does_not_fall_back_without_consent():
    async with stack(*[EMPTY] * 8, zones=("local", "vendor"), consent=False) as s:
        response = await s.ask()
    assert response.status_code >= 500
    assert s.hits[1] == 0


async def test_an_invalid_call_is_passed_on_if_no_target_is_left():
    async with stack(zones=("local", "vendor"), consent=False, unfixable="fail_over") as s:
        response = await s.ask()
    assert response.status_code == 200
    assert "tool_use" in response.text
    assert s.hits == [2, 0]


async def test_after_text_nothing_falls_back():
    late = sse(anthropic_stream("Counting.", tool_calls=[("Number", {"x": 1})]))
    async with stack(late, unfixable="fail_over") as s:
        events = await s.running.stream("x", tools=TOOLS)
    assert_valid_stream(events)
    assert s.hits == [1, 0]


# ── a reply that is not a message ─────────────────────────────────────────────────────────────

NO_MESSAGE = {
    "html": respond(200, b"<html>Welcome</html>", {"content-type": "text/html"}),
    "an error": respond(200, {"status": "failure"}),
    "nothing": respond(200),
    "an empty stream": sse([]),
}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("answer", NO_MESSAGE.values(), ids=list(NO_MESSAGE))
async def test_pain_17_an_invalid_message_is_never_sent_as_a_reply(answer, stream):
    async with stack(*[answer] * 8) as s:
        response = await s.ask(stream=stream)
        assert (response.status_code, s.hits) == (200, [1, 1])
        assert "Hello." in response.text
    async with stack(*[answer] * 8, zones=("local", "vendor"), consent=False) as s:
        response = await s.ask(stream=stream)
        assert (response.status_code >= 500, s.hits[1]) == (True, 0)
        assert response.json()["type"] == "error"

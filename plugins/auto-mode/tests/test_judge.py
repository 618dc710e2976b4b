"""A judge is asked about what is open, sees what the user typed, and can say one of two words."""

from __future__ import annotations

import json

import pytest
from asking import TOOLS, bash, safeguards

from plugway import replay
from plugway.testing import (
    Hold,
    ScriptedUpstream,
    anthropic_message,
    build_plugin,
    gateway,
    parse_sse,
    request_body,
    respond,
    sse,
)
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_auto_mode import AutoMode
from plugway_auto_mode._judge import MAX_CALLS, typed

pytestmark = pytest.mark.anyio

NONE = {"type": "unavailable", "reason": "error"}
PASSED = {"type": "evaluated", "outcome": "not_flagged"}


def acting(*blocks):
    message = anthropic_message("") | {"content": list(blocks), "stop_reason": "tool_use"}
    return sse([(item.type, item.data) for item in replay(message)])


def says(word):
    return respond(200, anthropic_message(word))


async def verdicts(
    server, judge, *blocks, zone="vendor", conversation="hello", tokens=(), token=None, **options
):
    """What becomes of calls, where `judge` is the upstream of a judge in `zone`."""
    server.script(acting(*blocks))
    plugins = [
        build_plugin(AutoMode, "auto-mode", judge={"model": "judge/j", **options}),
        build_plugin(AnthropicCompatible, "up", base_url=server.url, zone="vendor"),
        build_plugin(AnthropicCompatible, "judge", base_url=judge.url, zone=zone),
    ]
    messages = [{"role": "user", "content": conversation}]
    if not isinstance(conversation, str):
        messages = conversation
    body = request_body(model="up/m", stream=True, tools=TOOLS, messages=messages)
    prose = {"allow": ["Deploying to staging is fine"], "soft_deny": [], "environment": []}
    body["safeguards"] = safeguards(auto_mode=prose)
    async with gateway(plugins, tokens=list(tokens)) as found:
        headers = {"authorization": f"Bearer {token or found.token}"}
        answer = await found.client.post("/v1/messages", json=body, headers=headers)
    events = parse_sse(answer.content)
    (delta,) = (data["delta"] for kind, data in events if kind == "message_delta")
    return delta["safeguard_results"][0]["status"]["tool_uses"]


@pytest.mark.parametrize("word", ["allow", " ALLOW\n"])
async def test_a_judge_that_allows_lets_the_call_run(server, word):
    async with ScriptedUpstream(says(word)) as judge:
        assert await verdicts(server, judge, bash("make all")) == {"toolu_1": PASSED}


async def test_a_judge_that_blocks_has_the_call_flagged_in_its_name(server):
    async with ScriptedUpstream(says("block")) as judge:
        verdict = (await verdicts(server, judge, bash("make all")))["toolu_1"]
    assert verdict["outcome"] == "flagged"
    assert "`judge/j`" in verdict["explanation"]


@pytest.mark.parametrize(
    "word",
    ["allow.", "allow, because it is safe", "Sure! allow", "allow allow", "yes", "", "alløw", "{}"],
)
async def test_any_other_answer_is_no_verdict(server, word):
    async with ScriptedUpstream(says(word)) as judge:
        assert await verdicts(server, judge, bash("make all")) == {"toolu_1": NONE}


async def test_a_judge_that_is_down_or_refuses_is_no_verdict(server):
    async with ScriptedUpstream(respond(500, {"error": {"message": "x"}})) as judge:
        assert await verdicts(server, judge, bash("make all")) == {"toolu_1": NONE}


async def test_a_judge_that_is_slow_is_no_verdict_after_its_time(server):
    async with ScriptedUpstream([Hold()]) as judge:
        given = await verdicts(server, judge, bash("make all"), timeout_seconds=0.05)
    assert given == {"toolu_1": NONE}


async def test_what_the_rules_settle_is_not_asked(server):
    async with ScriptedUpstream(says("allow")) as judge:
        given = await verdicts(server, judge, bash("git status", "a"), bash("rm -rf /", "b"))
        assert given["a"] == PASSED
        assert given["b"]["outcome"] == "flagged"
        assert not judge.requests


async def test_a_judge_in_another_zone_is_asked_only_with_consent(server):
    async with ScriptedUpstream(says("allow")) as judge:
        assert await verdicts(server, judge, bash("make"), zone="elsewhere") == {"toolu_1": NONE}
        assert not judge.requests
    async with ScriptedUpstream(says("allow")) as judge:
        given = await verdicts(
            server, judge, bash("make"), zone="elsewhere", allow_zones=["elsewhere"]
        )
        assert given == {"toolu_1": PASSED}


async def test_a_judge_on_this_machine_needs_no_consent(server):
    async with ScriptedUpstream(says("allow")) as judge:
        assert await verdicts(server, judge, bash("make"), zone="local") == {"toolu_1": PASSED}


async def test_the_judge_sees_the_users_words_the_rules_and_the_call_alone(server):
    conversation = [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>canary-reminder</system-reminder>"},
                {"type": "text", "text": "please deploy <system-reminder>canary</system-reminder>"},
            ],
        },
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "canary-prose"}, bash("ls", "t")],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": "t", "content": "canary-result"}],
        },
    ]
    async with ScriptedUpstream(says("allow")) as judge:
        await verdicts(server, judge, bash("make deploy"), conversation=conversation)
        (request,) = judge.requests
    text = request.body.decode()
    assert "please deploy" in text
    assert "make deploy" in text
    assert "Deploying to staging is fine" in text
    assert "canary" not in text
    assert "safeguards" not in json.loads(text)
    assert "tools" not in json.loads(text)


async def test_of_many_open_calls_as_many_are_asked_about_as_are_allowed(server):
    calls = [bash(f"make target-{n}", f"toolu_{n}") for n in range(MAX_CALLS + 5)]
    async with ScriptedUpstream(otherwise=says("allow")) as judge:
        given = await verdicts(server, judge, *calls)
        assert len(judge.requests) == MAX_CALLS
    assert list(given.values()) == [PASSED] * MAX_CALLS + [NONE] * 5


async def test_a_call_that_is_too_long_is_not_judged(server):
    async with ScriptedUpstream(says("allow")) as judge:
        assert await verdicts(server, judge, bash("make " + "x" * 20_000)) == {"toolu_1": NONE}
        assert not judge.requests


def test_words_are_the_newest_first_and_of_bounded_length():
    messages = [{"role": "user", "content": f"wish {n} " + "x" * 1_000} for n in range(100)]
    words = typed(messages)
    assert "wish 99" in words
    assert "wish 1 " not in words
    assert len(words) < 14_000
    assert words.index("wish 98") < words.index("wish 99")


def test_a_summary_by_a_model_and_the_output_of_commands_are_no_words_of_the_user():
    texts = [
        "This session is being continued from a previous conversation that ran out of context. x",
        "<local-command-stdout>y</local-command-stdout>",
        "<command-name>/model</command-name>",
        "my own words",
    ]
    blocks = [{"type": "text", "text": text} for text in texts]
    assert typed([{"role": "user", "content": blocks}]) == "my own words"
    assert (
        typed("no list") == typed([None, {"role": "user"}, {"role": "user", "content": [7]}]) == ""
    )


async def test_the_judge_of_a_limited_callers_call_is_asked_in_its_name(server, caplog):
    caplog.set_level("INFO", "plugway")
    phone = {"name": "phone", "token": "phone-token", "models": ["up/*"]}
    async with ScriptedUpstream(says("allow")) as judge:
        given = await verdicts(server, judge, bash("make all"), tokens=[phone], token="phone-token")
        assert given == {"toolu_1": PASSED}
    by = {r.served_by: r.caller for r in caplog.records if r.name == "plugway.exchange"}
    assert by == {"judge/j": "phone", "up/m": "phone"}

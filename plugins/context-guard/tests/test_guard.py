"""Windows, prompts and what the client is told, through the gateway."""

import json
import logging
import re
import time

import anyio
import orjson
import pytest

from plugway import Attempt, BackendRefused, MessagesRequest, ModelInfo, Plugin, Reply, hookimpl
from plugway.testing import ERRORS, PlainOptions, build_plugin, gateway, request_body
from plugway_context_guard import ContextGuard, _exact
from plugway_context_guard._exact import ExactCounts
from plugway_context_guard._features import text_features
from plugway_context_guard._meter import Meter
from plugway_context_guard._windows import Windows
from plugway_error_normalizer import ErrorNormalizer
from plugway_router import Router
from plugway_signature import signature

pytestmark = pytest.mark.anyio

LONG = re.compile(r"prompt is too long: (\d+) tokens > (\d+) maximum. capability_rejected: prompt_")
CLAUDE = {"x-claude-code-session-id": "a-session"}


class Small(Plugin[PlainOptions]):
    """A backend whose window is small, and which counts as it is told to."""

    zone = "local"
    window = 32_768
    output = 0
    counts = None
    """Tokens for a byte of the request, or None: it cannot count."""
    refuses = None
    too_long = None
    """What becomes of a prompt that does not fit: None where nobody looks, `told` where it is
    refused with the numbers, `silent` where it is cut."""
    streams = False

    def __init__(self, options, *, name="small"):
        super().__init__(options, name=name)
        self.seen, self.answered, self.counted = [], [], 0

    @hookimpl
    def register_backends(self):
        return [self]

    def tokens(self, request):
        counted = Meter().count("", text_features(orjson.dumps(request.body))).tokens
        return round(counted * (self.counts or 1))

    async def send(self, request, attempt):
        self.seen.append(request)
        if self.refuses is not None:
            raise self.refuses
        tokens, answer = self.tokens(request), request.body["max_tokens"]
        if self.too_long == "told" and tokens + answer > self.window:
            raise BackendRefused(400, refusal(self.window, tokens, answer))
        if self.too_long == "silent" and tokens > self.window:
            tokens = self.window // 2
        self.answered.append(request)
        usage = {"input_tokens": tokens, "output_tokens": 10}
        return Reply.message(
            {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": attempt.model,
                "content": [{"type": "text", "text": "yes"}],
                "stop_reason": "end_turn",
                "usage": usage,
            }
        )

    async def count(self, request, attempt):
        self.counted += 1
        return None if self.counts is None else self.tokens(request)

    async def models(self):
        return [ModelInfo("m", context_tokens=self.window, max_output_tokens=self.output)]


def refusal(window, prompt, answer):
    """vLLM's words."""
    text = (
        f"This model's maximum context length is {window} tokens. However, you requested "
        f"{prompt + answer} tokens ({prompt} in the messages, {answer} in the completion)."
    )
    return orjson.dumps({"object": "error", "message": text, "code": 400})


def small(name="small", **attributes):
    made = Small(PlainOptions(), name=name)
    for key, value in attributes.items():
        setattr(made, key, value)
    return made


def words(tokens):
    """A text of that many tokens by the first estimate."""
    return "some words of a prompt, " * (tokens * 100 // 487)


@pytest.fixture
def guard():
    return build_plugin(ContextGuard, "guard")


async def test_max_tokens_is_lowered_to_what_is_left(guard):
    backend = small()
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body(words(3000), model="m", max_tokens=32_000))
    assert response.status_code == 200
    assert 25_000 < backend.seen[0].body["max_tokens"] < 32_000


async def test_pain_12_max_tokens_is_lowered_to_what_the_model_writes(guard):
    backend = small(window=1_000_000, output=8192)
    async with gateway([guard, backend]) as running:
        await running.post(request_body("hi", model="m", max_tokens=32_000))
    assert backend.seen[0].body["max_tokens"] == 8192


async def test_a_thinking_budget_is_lowered_too(guard):
    backend = small(output=4096, window=200_000)
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    async with gateway([guard, backend]) as running:
        await running.post(request_body("hi", model="m", max_tokens=32_000, thinking=thinking))
    assert backend.seen[0].body["thinking"] == {"type": "enabled", "budget_tokens": 2048}


async def test_a_prompt_that_is_too_long_is_refused_without_asking_the_server(guard):
    backend = small()
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body(words(90_000), model="m"))
    assert response.status_code == 400
    prompt, limit = map(int, LONG.match(response.json()["error"]["message"]).groups())
    assert prompt > limit == 32_768 - 2048
    assert backend.seen == []
    assert backend.counted == 0, "far over: there is nothing to count"


async def test_very_many_short_messages_are_counted_by_the_server_before_they_are_refused(guard):
    """Their names and brackets are far fewer tokens in a chat template than in JSON."""
    backend = small(counts=0.4)
    turns = [{"role": role, "content": "yes"} for role in ("user", "assistant")] * 1700
    turns.append({"role": "user", "content": "go on"})
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body(model="m", messages=turns))
    assert backend.counted == 1
    assert response.status_code == 200, response.text


async def test_a_long_session_of_encrypted_reasoning_is_not_too_long_for_its_maker(guard):
    state = {"encrypted": "k7Xq" * 1500}
    talk = [{"role": "user", "content": "go on"}]
    for _ in range(15):
        block = {"type": "redacted_thinking", "data": signature("small", "m", state)}
        talk += [{"role": "assistant", "content": [block]}, *talk[:1]]
    backend, other = small(), small("other")
    targets = {"here": "small/m", "there": "other/m"}
    router = build_plugin(Router, "router", models=targets)
    async with gateway([router, guard, backend, other]) as running:
        for model in targets:
            asked = {"model": model, "max_tokens": 30_000, "messages": talk}
            assert (await running.post(asked)).status_code == 200
    assert 5000 < backend.seen[0].body["max_tokens"] < 12_000, "15 states of 1,200 tokens"
    assert other.seen[0].body["max_tokens"] > 29_000, "none of them is sent"


async def test_the_next_target_may_have_a_larger_window(guard):
    backend, large = small(), small("large", window=1_000_000)
    router = build_plugin(Router, "router", models={"*": ["small/m", "large/m"]})
    async with gateway([guard, router, backend, large]) as running:
        response = await running.post(request_body(words(60_000), model="any"))
    assert response.status_code == 200
    assert len(large.seen) == 1


@pytest.mark.parametrize(("counts", "status"), [(0.95, 200), (1.35, 400)])
async def test_a_doubtful_prompt_is_counted_by_the_backend(guard, counts, status):
    backend = small(counts=counts)
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body(words(27_500), model="m"))
    assert response.status_code == status
    assert backend.counted == 1


async def test_a_small_prompt_is_not_counted(guard):
    backend = small(counts=1.0)
    async with gateway([guard, backend]) as running:
        await running.post(request_body("hi", model="m"))
    assert backend.counted == 0
    assert backend.seen[0].raw == orjson.dumps(request_body("hi", model="m"))


async def test_a_backend_that_cannot_count_is_asked_once(guard):
    backend = small()
    async with gateway([guard, backend]) as running:
        for _ in range(3):
            await running.post(request_body(words(27_500), model="m"))
    assert backend.counted == 1


async def test_a_backend_that_counts_too_slowly_is_not_waited_for_again(monkeypatch):
    class Slow(Small):
        async def count(self, request, attempt):
            self.counted += 1
            if len(request.raw) > 10_000:
                await anyio.sleep(30)
            return 7

    async def counted(size):
        request = MessagesRequest(orjson.dumps(request_body("x" * size)))
        return await exact.of(request, Attempt(backend, "m")), backend.counted

    backend, exact = Slow(PlainOptions(), name="small"), ExactCounts(logging.getLogger())
    monkeypatch.setattr(_exact, "COUNT_SECONDS", 0.1)
    assert await counted(20_000) == (None, 1)
    assert await counted(20_000) == (None, 1)
    assert await counted(15_000) == (None, 2), "a shorter one might have been in time"
    assert await counted(15_000) == (None, 2)
    assert await counted(1_000) == (7, 3)
    monkeypatch.setattr(_exact, "LATE_SECONDS", 0.0)
    assert await counted(14_000) == (None, 4)
    assert await counted(14_000) == (None, 5), "some time later it is asked again"


async def test_a_longer_prompt_that_is_late_too_makes_no_shorter_one_wait_again(monkeypatch):
    class Hanging(Small):
        async def count(self, request, attempt):
            self.counted += 1
            await anyio.sleep(30)

    async def counted(size, after=0.0):
        await anyio.sleep(after)
        request = MessagesRequest(orjson.dumps(request_body("x" * size)))
        assert await exact.of(request, Attempt(backend, "m")) is None

    backend, exact = Hanging(PlainOptions(), name="small"), ExactCounts(logging.getLogger())
    monkeypatch.setattr(_exact, "COUNT_SECONDS", 0.2)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(counted, 1_000)
        tasks.start_soon(counted, 2_000, 0.1)
    assert backend.counted == 2
    await counted(1_500)
    assert backend.counted == 2


@pytest.mark.parametrize("name", ["vllm.context_overflow", "lmstudio.context_overflow_as_500"])
async def test_a_refusal_teaches_the_window(guard, name):
    canned = ERRORS[name]
    backend = small(window=0, refuses=BackendRefused(canned.status, canned.body))
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(60_000), model="m"))
        response = await running.post(request_body(words(60_000), model="m"))
    assert len(backend.seen) == 1
    told = response.json()["error"]["message"]
    assert LONG.match(told)
    assert "stated by its server just now when it rejected a prompt; kept for an hour" in told


def test_who_told_a_window_and_when_is_said_until_it_is_forgotten():
    now = [0.0]
    windows = Windows({"x/*": 9000}, 0, lambda: now[0])
    assert windows.known("a/b", 65_536) == (65_536, "listed by `a`")
    assert windows.known("x/b", 65_536) == (9000, "set in `windows`")
    windows.learn_context("a/b", 8192, 65_536)
    now[0] = 900.0
    tokens, source = windows.known("a/b", 65_536)
    assert tokens == 8192
    assert source.startswith("stated by its server 15 min ago when it rejected a prompt")
    now[0] = 3600.0
    assert windows.known("a/b", 65_536) == (65_536, "listed by `a`")


async def test_a_refusal_teaches_the_longest_answer(guard):
    canned = ERRORS["openai.max_tokens_too_large"]
    backend = small(window=0, refuses=BackendRefused(canned.status, canned.body))
    async with gateway([guard, backend]) as running:
        await running.post(request_body(model="m", max_tokens=32_000))
        await running.post(request_body(model="m", max_tokens=32_000))
    assert [seen.body["max_tokens"] for seen in backend.seen] == [32_000, 16_384]


async def test_anthropic_counts_for_itself(guard):
    backend = small(zone="anthropic")
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(60_000), model="m", max_tokens=32_000))
    assert backend.seen[0].body["max_tokens"] == 32_000


async def test_a_small_window_is_warned_about_once(caplog):
    guard = build_plugin(ContextGuard, "guard", windows={"other/*": 4096})
    backend = small(window=8192)
    with caplog.at_level(logging.WARNING):
        async with gateway([guard, backend]) as running:
            assert "`other/*` has a window of 4096 tokens" in caplog.text
            for _ in range(3):
                await running.client.get("/v1/models")
                await running.post(request_body(model="m"))
    assert caplog.text.count("`small/m` has a window of 8192 tokens") == 1


async def test_requests_at_once_all_wait_for_the_first_answer_about_windows(guard):
    backend, asked = small(), []
    listed = backend.models

    async def slowly():
        asked.append(1)
        await anyio.sleep(0.1)
        return await listed()

    backend.models = slowly
    async with gateway([guard, backend]) as running, anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(running.post, request_body(words(60_000), model="m"))
    assert len(asked) == 1
    assert backend.seen == []


async def test_a_backend_whose_list_is_broken_is_still_asked(guard):
    backend = small()

    async def broken():
        raise ZeroDivisionError

    backend.models = broken
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body("hi", model="m"))
    assert response.status_code == 200


async def test_explain_tells_of_the_overflow_and_does_not_fail(guard):
    async with gateway([guard, small()]) as running:
        response = await running.post(
            request_body(words(60_000), model="m"), "/v1/messages/explain"
        )
    assert response.status_code == 200
    assert "prompt is too long" in response.text


async def test_pain_13_a_backend_that_cannot_count_is_counted_for(guard):
    backend = small()
    body = {"model": "m", "messages": [{"role": "user", "content": words(1000)}]}
    async with gateway([guard, backend]) as running:
        response = await running.post(body, "/v1/messages/count_tokens")
    assert response.status_code == 200
    assert 800 < response.json()["input_tokens"] < 1300


async def test_usage_is_scaled_in_whole_replies_streams_and_counts():
    guard = build_plugin(ContextGuard, "guard", scale_usage=True)
    backend = small(counts=1.0)
    body = request_body(words(1000), model="m")
    async with gateway([guard, backend]) as running:
        running.client.headers.update(CLAUDE)
        response = await running.post(body)
        whole = response.json()["usage"]
        streamed = await running.post(request_body(words(1000), model="m", stream=True))
        events = await running.stream(words(1000), model="m")
        counted = (await running.post(body, "/v1/messages/count_tokens")).json()["input_tokens"]
    real = backend.tokens(MessagesRequest(orjson.dumps(body)))
    scale = 167_000 / (0.8 * 32_768)
    assert whole == {"input_tokens": round(real * scale), "output_tokens": round(10 * scale)}
    last = next(data for name, data in events if name == "message_delta")
    assert last["usage"]["output_tokens"] == round(10 * scale)
    assert abs(counted / whole["input_tokens"] - 1) < 0.05
    assert "changes=1; by=guard" in response.headers["plugway-receipt"]
    assert "changes=1; by=guard" in streamed.headers["plugway-receipt"]


async def test_usage_of_other_clients_is_not_scaled():
    guard = build_plugin(ContextGuard, "guard", scale_usage=True)
    async with gateway([guard, small()]) as running:
        message = await running.ask("hi", model="m")
    assert message["usage"]["output_tokens"] == 10


async def test_streams_have_no_layer_while_nothing_is_scaled(guard):
    async with gateway([guard, small()]) as running:
        response = await running.post(request_body(model="m", stream=True))
    assert "guard" not in response.headers["plugway-receipt"]


def conversation(turns, size=4000):
    messages = [{"role": "user", "content": "begin"}]
    for number in range(turns):
        use = {"type": "tool_use", "id": f"t{number}", "name": "Read", "input": {"n": number}}
        thought = {"type": "thinking", "thinking": "so " * 50, "signature": "x"}
        result = {"type": "tool_result", "tool_use_id": f"t{number}", "content": "x " * size}
        messages += [
            {"role": "assistant", "content": [thought, use]},
            {"role": "user", "content": [result]},
        ]
    return messages


EDITS = {
    "edits": [
        {"type": "clear_thinking_20251015", "keep": {"type": "thinking_turns", "value": 1}},
        {"type": "clear_tool_uses_20250919", "trigger": {"type": "input_tokens", "value": 5000}},
    ]
}


@pytest.mark.parametrize("stream", [False, True])
async def test_old_results_are_cleared_and_reported(guard, stream):
    backend = small(window=200_000)
    body = request_body(
        model="m", stream=stream, messages=conversation(6), context_management=EDITS
    )
    async with gateway([guard, backend]) as running:
        response = await running.post(body)
    sent = backend.seen[0].body
    assert "context_management" not in sent
    results = [b["content"] for m in sent["messages"][2::2] for b in m["content"]]
    assert results[:3] == ["[Old tool result content cleared]"] * 3
    assert all(len(result) > 1000 for result in results[3:])
    thoughts = [b["type"] == "thinking" for m in sent["messages"][1::2] for b in m["content"]]
    assert thoughts.count(True) == 1
    found = re.search(r'"context_management":(\{.*?\]\})', response.text)
    applied = orjson.loads(found[1])["applied_edits"]
    assert [edit["type"] for edit in applied] == [edit["type"] for edit in EDITS["edits"]]
    assert applied[1]["cleared_tool_uses"] == 3
    assert applied[1]["cleared_input_tokens"] > 3000


async def test_below_the_trigger_nothing_is_cleared(guard):
    backend = small(window=200_000)
    edits = {"edits": [{"type": "clear_tool_uses_20250919"}]}
    messages = conversation(6)
    async with gateway([guard, backend]) as running:
        await running.post(request_body(model="m", messages=messages, context_management=edits))
    assert backend.seen[0].body["messages"] == messages


@pytest.mark.parametrize("counts", [0.7, 1.25])
async def test_pain_14_a_long_conversation_compacts_when_its_window_is_full(guard, counts):
    """The server counts other than the estimate, says so only in refusals and in usage."""
    backend = small(counts=counts, too_long="told")
    backend.count = _cannot_count
    messages, compactions = [{"role": "user", "content": "begin"}], 0
    async with gateway([build_plugin(ErrorNormalizer, "errors"), guard, backend]) as running:
        for turn in range(120):
            body = request_body(model="m", messages=messages, max_tokens=32_000)
            response = await running.post(body)
            if response.status_code == 400:
                prompt, limit = LONG.match(response.json()["error"]["message"]).groups()
                assert int(prompt) > int(limit)
                compactions += 1
                messages = [{"role": "user", "content": "a summary " * 50}]
                continue
            messages += [
                {"role": "assistant", "content": words(300)},
                {"role": "user", "content": f"result {turn}: " + words(500)},
            ]
    assert compactions >= 2
    fullest = max(backend.tokens(request) for request in backend.answered)
    assert 0.85 * backend.window < fullest < backend.window, "the window is used"
    refused = len(backend.seen) - len(backend.answered)
    assert refused <= compactions, "no request is refused twice"


def dense(size, tokens):
    """A text of `size` bytes in a request whose estimate is `tokens`, at most one beside it."""
    least, most = 0, size
    while most - least > 1:
        digits = (least + most) // 2
        text = ("74" * size)[:digits] + ("ab" * size)[: size - digits]
        body = request_body(text, model="m", max_tokens=32_000)
        found = Meter().count("", text_features(orjson.dumps(body))).tokens
        least, most = (least, digits) if found > tokens else (digits, most)
    assert abs(found - tokens) <= 2
    return body


RUNS = {
    "rules": (("─" * 76 + "\n") * 200, 2201),
    "dashes": ("—" * 40_000, 2501),
    "full-width spaces": ("　" * 40_000, 1300),
    "a table": (("│" + " " * 20 + "│\n├" + "━" * 30 + "┤\n") * 160, 2400),
    "commas": ((",".join(["7", *[""] * 40]) + "\n") * 240, 2200),
    "pairs of signs": ("+-" * 9000, 1200),
}
"""Texts, and how many tokens a thrifty vocabulary makes of them."""


async def test_a_prompt_that_fits_by_the_estimate_is_sent_where_the_server_cannot_count(guard):
    """54 KB, some 23,862 tokens, in a window of 32,768: it may have 31,021, and need not."""
    backend = small()
    body = dense(54_000, 23_862)
    async with gateway([guard, backend]) as running:
        response = await running.post(body)
    assert response.status_code == 200
    assert backend.seen[0].body["messages"] == body["messages"]
    assert 4000 < backend.seen[0].body["max_tokens"] < 32_768 - 23_862


async def test_a_prompt_near_to_the_window_is_left_to_a_server_that_can_refuse(guard):
    backend = small(counts=0.75)
    backend.count = _cannot_count
    async with gateway([guard, backend]) as running:
        first = await running.post(dense(80_000, 36_000))
        second = await running.post(dense(81_000, 36_500))
    assert (first.status_code, second.status_code) == (200, 200)
    assert backend.seen[0].body["max_tokens"] == 2048
    assert backend.seen[1].body["max_tokens"] > 3000, "the first answer's count taught"


async def test_the_estimate_is_told_where_the_prompt_is_certainly_too_long(guard):
    backend = small()
    async with gateway([guard, backend]) as running:
        response = await running.post(dense(200_000, 47_724))
    prompt, limit = map(int, LONG.match(response.json()["error"]["message"]).groups())
    assert abs(prompt - 47_724) <= 2
    assert limit == 30_720
    assert backend.seen == []


async def test_a_refusal_teaches_what_prompts_count_there(guard):
    """The server counts half as much again: the next prompt of that kind need not be sent."""
    backend = small(counts=1.5, too_long="told")
    backend.count = _cannot_count
    async with gateway([guard, backend]) as running:
        await running.post(dense(54_000, 25_000))
        refused = await running.post(dense(55_000, 25_500))
        shorter = await running.post(dense(30_000, 14_000))
    assert len(backend.seen) == 2
    prompt, _ = map(int, LONG.match(refused.json()["error"]["message"]).groups())
    assert abs(prompt / (25_500 * 1.5) - 1) < 0.02, "the estimate as the server has corrected it"
    assert shorter.status_code == 200


async def test_a_server_that_stops_counting_at_its_window_does_not_teach_that_as_the_count(guard):
    backend = small(refuses=BackendRefused(400, refusal(32_768, 32_769, 1)))
    async with gateway([guard, backend]) as running:
        await running.post(dense(90_000, 40_000))
        backend.refuses = None
        counted = await running.post(dense(90_000, 40_000), "/v1/messages/count_tokens")
    assert abs(counted.json()["input_tokens"] - 40_000) <= 2


async def test_only_the_answer_is_too_long_so_the_server_is_asked_for_a_shorter_one(guard):
    backend = small(counts=1.25, too_long="told")
    backend.count = _cannot_count
    async with gateway([guard, backend]) as running:
        response = await running.post(dense(54_000, 23_862))
    first, second = (request.body["max_tokens"] for request in backend.seen)
    assert response.status_code == 200
    assert first > second == 32_768 - backend.tokens(backend.seen[0])
    assert "changes=2; by=guard" in response.headers["plugway-receipt"]


@pytest.mark.parametrize("kind", RUNS)
@pytest.mark.parametrize("window", [8192, 4096])
async def test_a_prompt_of_runs_is_served_again_and_its_server_is_not_said_to_truncate(
    guard, caplog, kind, window
):
    """The server counts a token for 16 of a character, and the estimate is far too high."""
    text, tokens = RUNS[kind]
    backend = small(window=window)
    backend.count = _cannot_count
    backend.tokens = lambda request: tokens
    async with gateway([guard, backend]) as running:
        for _ in range(3):
            answer = await running.post(request_body(text, model="m", max_tokens=1000))
            assert answer.status_code == 200, answer.text
    assert "truncate" not in caplog.text


async def test_a_server_that_counts_only_what_is_not_cached_does_not_turn_the_guard_off(guard):
    backend = small(window=16_384)
    backend.count = _cannot_count
    async with gateway([guard, backend]) as running:
        for _ in range(8):
            await running.post(request_body(words(2000), max_tokens=1000))
        backend.tokens = lambda request: 60
        for _ in range(3):
            await running.post(request_body(words(3000), max_tokens=1000))
        refused = await running.post(request_body(words(21_602), max_tokens=1000))
    assert refused.status_code == 400


async def test_a_text_of_more_tokens_than_any_before_is_not_sent_unchecked(guard):
    """Prose first, and then a dump of bytes that has four times as many tokens for its size."""
    backend = small(window=8192)
    backend.count = _cannot_count
    listed = ModelInfo("m", context_tokens=8192, extra={"cuts_prompts": True})
    backend.models = lambda: _listed(listed)
    dump = "\n".join(f"{n:08x}  " + " ".join(["5f", "03", "9c", "71"] * 4) for n in range(280))
    async with gateway([guard, backend]) as running:
        for _ in range(3):
            served = await running.post(request_body(words(700), max_tokens=1000))
            assert served.status_code == 200
        refused = await running.post(request_body(words(700) + dump, max_tokens=1000))
    assert refused.status_code == 400
    assert len(backend.seen) == 3


async def test_a_server_that_counts_double_does_not_shut_itself_off(guard):
    """It adds what it has cached to what it has read; the prompts fit all the same."""
    backend = small(counts=2.0)
    backend.count = _cannot_count
    async with gateway([guard, backend]) as running:
        answers = [await running.post(dense(45_000, 20_000)) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4


async def test_where_prompts_are_cut_in_silence_the_estimate_decides(guard, caplog):
    backend = small(too_long="silent", window=131_072)
    async with gateway([guard, backend]) as running:
        for _ in range(3):  # so that the estimate is sure
            await running.post(dense(120_000, 54_000))
        cut = await running.post(dense(300_000, 134_000))
        refused = await running.post(dense(300_000, 134_000))
        compacted = await running.post(dense(120_000, 54_000))
    assert cut.status_code == 200, "nobody could know"
    assert cut.json()["usage"]["input_tokens"] == 65_536
    assert caplog.text.count("it seems to truncate prompts") == 1
    assert refused.status_code == 400
    assert abs(int(LONG.match(refused.json()["error"]["message"])[1]) - 134_000) < 500, (
        "what is left of a prompt is not taken for its count"
    )
    assert compacted.status_code == 200


async def test_a_backend_that_says_that_it_cuts_is_never_sent_what_may_be_cut(guard):
    backend = small(too_long="silent")
    listed = ModelInfo("m", context_tokens=32_768, extra={"cuts_prompts": True})
    backend.models = lambda: _listed(listed)
    async with gateway([guard, backend]) as running:
        fits = await running.post(dense(54_000, 23_862))
        refused = await running.post(dense(74_000, 32_500))
    assert (fits.status_code, refused.status_code) == (200, 400)
    assert len(backend.seen) == 1


async def test_the_reason_for_a_shorter_answer_is_the_one_that_holds(guard):
    small_window, short_answers = small(), small("short", output=4096)
    targets = {"here": "small/m", "there": "short/m"}
    router = build_plugin(Router, "router", models=targets)
    reasons = {}
    async with gateway([router, guard, small_window, short_answers]) as running:
        for model in targets:
            body = request_body(words(3000), model=model, max_tokens=32_000)
            explained = (await running.post(body, "/v1/messages/explain")).json()["receipt"]
            reasons[model] = next(e["what"] for e in explained if "max_tokens" in e["what"])
    assert "the window 32768" in reasons["here"]
    assert reasons["there"] == "set max_tokens: the model's output limit is 4096 tokens"


async def _listed(info):
    return [info]


async def _cannot_count(request, attempt):
    return None


async def test_nothing_to_do_costs_little(guard):
    from plugway import Attempt, Exchange

    backend = small(window=200_000)
    body = request_body(words(29_000), model="m", max_tokens=32_000)
    request = MessagesRequest(orjson.dumps(body))
    assert len(request.raw) > 110_000
    attempt, exchange = Attempt(backend, "m"), Exchange(request)
    await guard.prepare_attempt(request, attempt, exchange)
    best = min([await _timed(guard, request, attempt, exchange) for _ in range(20)])
    assert best < 0.0002


async def _timed(guard, request, attempt, exchange):
    began = time.perf_counter()
    guard.transform_request(request, exchange)
    assert await guard.prepare_attempt(request, attempt, exchange) is request
    return time.perf_counter() - began


async def test_the_list_of_models_states_the_window_that_holds():
    guard = build_plugin(ContextGuard, "context-guard", windows={"small/*": 20_000})
    async with gateway([guard, Small(PlainOptions(), name="small")]) as running:
        (listed,) = (await running.client.get("/v1/models")).json()["data"]
    assert listed["max_input_tokens"] == 20_000


TERSE = {
    "a run of spaces": " " * 400_000,
    "rulers": ("=" * 70 + "\n" + "-" * 70 + "\n") * 600,
    "empty lines": "\n" * 60_000,
    "digits": "31415926535897932384" * 2000,
    "zeros": "0" * 60_000,
    "a table of numbers": "1234567,8901234,5678901\n" * 1600,
}
"""Texts of which common vocabularies make fewer than 20,000 tokens."""


@pytest.mark.parametrize("name", TERSE)
async def test_what_some_vocabulary_makes_few_tokens_of_is_left_to_a_server_that_can_refuse(
    guard, name
):
    backend = small()
    async with gateway([guard, backend]) as running:
        response = await running.post(request_body(TERSE[name], max_tokens=4000))
    assert response.status_code == 200, response.text
    assert backend.seen[0].body["max_tokens"] >= 2048


@pytest.mark.parametrize("written", ["escaped", "indented"])
async def test_how_a_client_writes_its_json_makes_no_prompt_longer(guard, written):
    text = "\u4f60\u597d\u4e16\u754c\uff0c" * 2400 if written == "escaped" else "hello"
    turn = {"role": "user", "content": [{"type": "text", "text": "x"}] * 1000}
    body = request_body(text, max_tokens=4000)
    if written == "indented":
        body["messages"] = [turn]
    raw = json.dumps(body, indent=200 if written == "indented" else None).encode()
    backend = small()
    async with gateway([guard, backend]) as running:
        response = await running.post(raw)
        assert response.status_code == 200, response.text
        await running.post(orjson.dumps(body))
    assert backend.seen[0].body["max_tokens"] == backend.seen[1].body["max_tokens"]


class WithoutTools(Small):
    """A backend whose chat template writes the names of tools only."""

    def tokens(self, request):
        return super().tokens(request.replace(because="t", tools=[]))


@pytest.mark.parametrize("can_count", [True, False])
async def test_tools_are_not_too_long_by_a_count_of_prompts_without_tools(guard, can_count):
    backend = WithoutTools(PlainOptions(), name="small")
    backend.counts = 2
    if not can_count:
        backend.count = _cannot_count
    tool = {"name": "t", "description": words(25_000), "input_schema": {"type": "object"}}
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(3000), model="m"))
        response = await running.post(request_body(words(3000), model="m", tools=[tool]))
        assert response.status_code == 200, response.text
        assert len(backend.answered) == 2
        backend.seen.clear()
        long = await running.post(request_body(words(90_000), model="m", tools=[tool]))
    assert long.status_code == 400
    assert backend.seen == []


@pytest.mark.parametrize("size", [20_000, 29_000, 31_000])
async def test_a_template_that_leaves_out_tools_does_not_count_as_a_server_that_cuts(guard, size):
    backend = WithoutTools(PlainOptions(), name="small")
    backend.count = _cannot_count
    tool = {"name": "t", "description": words(size), "input_schema": {"type": "object"}}
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(3000), model="m"))
        for turn in range(4):
            body = request_body(words(3000 + 10 * turn), model="m", tools=[tool])
            response = await running.post(body)
            assert response.status_code == 200, response.text


async def test_a_server_that_cuts_prompts_with_tools_is_recognized(guard):
    backend = small(counts=1.3, too_long="silent", count=_cannot_count)
    tool = {"name": "t", "description": words(26_000), "input_schema": {"type": "object"}}
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(3000), model="m"))
        served = [
            (await running.post(request_body(words(5000 + turn), model="m", tools=[tool])))
            for turn in range(4)
        ]
    assert served[-1].status_code == 400
    assert len(backend.answered) <= 3


@pytest.mark.parametrize("tools", [{}, {"tools": []}])
async def test_an_empty_list_of_tools_teaches_nothing_of_tools(guard, tools):
    backend = WithoutTools(PlainOptions(), name="small")
    backend.counts, backend.count = 2, _cannot_count
    tool = {"name": "t", "description": words(25_000), "input_schema": {"type": "object"}}
    async with gateway([guard, backend]) as running:
        await running.post(request_body(words(3000), model="m", **tools))
        response = await running.post(request_body(words(3000), model="m", tools=[tool]))
    assert response.status_code == 200, response.text

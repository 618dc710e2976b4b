"""The loop that runs a model's calls inside a reply, with scripted models and tools."""

import asyncio
import contextlib
import gc

import pytest
from loop_models import (
    Backend,
    Model,
    Tools,
    asked,
    block,
    events,
    loop,
    message,
    reply_of,
    results,
    said,
)

from plugway import BackendRefused, BackendUnavailable, Original, Reply, StreamInterrupted, event
from plugway.testing import LeakCheck
from plugway_tools import ToolResult
from plugway_tools.loop import stop

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
CALL = ("I look.", [("our_a", {"x": 1})])


@pytest.fixture
def anyio_backend():
    return "asyncio"


@both
async def test_calls_are_run_and_the_model_goes_on_in_the_same_message(stream):
    model, tools, notes = Model(CALL, ("Done.", []), stream=stream), Tools(), []
    made = await message(loop(model, tools, notes), stream=stream)
    assert said(made) == ["I look.", "running our_a", "<ran our_a>", "Done."]
    assert made["stop_reason"] == "end_turn"
    assert [call.arguments for call in tools.ran] == [{"x": 1}]
    (result,) = results(model, 1).values()
    assert result["content"] == "result of our_a"
    assert "is_error" not in result
    assert model.asked[1]["messages"][-2]["content"][-1]["input"] == {"x": 1}
    assert any("2 requests, 1 calls" in note for note in notes)


@both
async def test_a_reply_without_hidden_calls_stays_as_it_is(stream):
    model = Model(("Hello.", [("theirs", {})]), stream=stream)
    made = await message(loop(model, Tools()), stream=stream)
    assert said(made) == ["Hello.", "theirs"]
    assert made["stop_reason"] == "tool_use"
    assert len(model.asked) == 1


@both
async def test_the_clients_own_call_comes_after_the_results_of_the_hidden_ones(stream):
    calls = [("our_a", {}), ("theirs", {"p": 2}), ("our_b", {})]
    model, tools = Model(("", calls), stream=stream), Tools()
    made = await message(loop(model, tools), stream=stream)
    assert said(made) == [
        *("running our_a", "running our_b", "<ran our_a>", "<ran our_b>", "theirs"),
    ]
    assert made["content"][-1]["input"] == {"p": 2}
    assert made["stop_reason"] == "tool_use"
    assert all(call.mixed for call in tools.ran)
    assert len(model.asked) == 1


async def test_thinking_keeps_its_signature_for_the_model():
    thought = block(
        0,
        "thinking",
        {"type": "thinking_delta", "thinking": ""},
        {"type": "signature_delta", "signature": "SIGNED"},
        thinking="",
        signature="",
    )
    redacted = block(1, "redacted_thinking", data="HIDDEN")
    call = block(2, "tool_use", id="a", name="our_a", input={})
    model = Model(reply_of(thought, redacted, call, reason="tool_use"), ("Done.", []))
    await message(loop(model, Tools()))
    turn = model.asked[1]["messages"][-2]["content"]
    assert [b["type"] for b in turn] == ["thinking", "redacted_thinking", "tool_use"]
    assert turn[0]["signature"] == "SIGNED"


async def test_calls_run_together_where_every_tool_allows_it_and_in_order_otherwise():
    async def together(parallel):
        at_once, most = 0, 0

        async def act(call):
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            at_once -= 1
            return ToolResult.of("ok")

        calls = [("our_a", {}), ("our_b", {}), ("our_c", {})]
        tools = Tools(parallel=parallel, our_a=act, our_b=act, our_c=act)
        await message(loop(Model(("", calls), ("Done.", [])), tools))
        assert [call.name for call in tools.ran] == ["our_a", "our_b", "our_c"]
        return most

    assert await together(True) == 3
    assert await together(False) == 1


@pytest.mark.parametrize("text", ["[1]", '{"a":', "7", '"x"', "[" * 400 + "]" * 400])
async def test_arguments_that_are_no_object_are_told_to_the_model_and_not_run(text):
    call = block(
        0,
        "tool_use",
        {"type": "input_json_delta", "partial_json": text},
        id="a",
        name="our_a",
        input={},
    )
    model, tools = Model(reply_of(call, reason="tool_use"), ("Done.", [])), Tools()
    await message(loop(model, tools))
    assert tools.ran == []
    assert "not a JSON object" in results(model, 1)["a"]["content"]


async def test_a_call_that_comes_twice_in_a_reply_is_run_once():
    twice = [block(i, "tool_use", id="a", name="our_a", input={}) for i in range(2)]
    model, tools = Model(reply_of(*twice, reason="tool_use"), ("Done.", [])), Tools()
    await message(loop(model, tools))
    assert len(tools.ran) == 1
    assert [b["id"] for b in model.asked[1]["messages"][-2]["content"]] == ["a"]


async def test_an_id_that_a_server_uses_again_in_a_later_reply_is_another_call():
    def turn():
        call = block(0, "tool_use", id="call_0", name="our_a", input={})
        return reply_of(call, reason="tool_use")

    model, tools = Model(turn(), turn(), ("Done.", [])), Tools()
    await message(loop(model, tools))
    first, second = (call.id for call in tools.ran)
    assert first == "call_0" != second
    assert list(results(model, 2)) == [second]


@both
async def test_at_the_limit_of_rounds_the_model_is_asked_once_more_without_calls(stream):
    model, tools = Model(CALL, CALL, ("I give up.", []), stream=stream), Tools()
    made = await message(loop(model, tools, rounds=2), stream=stream)
    assert said(made)[-1] == "I give up."
    assert made["stop_reason"] == "end_turn"
    assert [body.get("tool_choice") for body in model.asked] == [None, None, {"type": "none"}]


@both
async def test_a_model_that_calls_even_then_is_stopped_by_a_sentence(stream):
    model, tools = Model(CALL, stream=stream), Tools()
    made = await message(loop(model, tools, rounds=2), stream=stream)
    assert len(model.asked) == 3
    assert len(tools.ran) == 2
    assert said(made)[-2:] == [
        "<failed our_a>",
        "Stopped: the limit of 2 rounds of calls is reached.",
    ]
    assert made["stop_reason"] == "end_turn"


async def test_more_calls_than_allowed_are_not_run():
    calls = [("our_a", {})] * 5
    model, tools = Model(("", calls), ("Done.", [])), Tools()
    model.turns[0] = reply_of(
        *(block(i, "tool_use", id=f"c{i}", name="our_a", input={}) for i in range(5)),
        reason="tool_use",
    )
    made = await message(loop(model, tools, calls=3))
    assert len(tools.ran) == 3
    assert [r.get("is_error", False) for r in results(model, 1).values()] == [False] * 3 + [
        True
    ] * 2
    assert model.asked[1]["tool_choice"] == {"type": "none"}
    assert said(made)[-1] == "Done."


async def test_the_limit_of_tokens_counts_every_request_and_its_cache():
    usage = {"input_tokens": 10, "cache_read_input_tokens": 80, "output_tokens": 10}
    call = reply_of(
        block(0, "tool_use", id="a", name="our_a", input={}), reason="tool_use", usage=usage
    )
    model = Model(call, ("Done.", []))
    await message(loop(model, Tools(), tokens=100))
    assert model.asked[1]["tool_choice"] == {"type": "none"}


async def test_a_call_that_hangs_is_stopped_at_the_time_limit():
    async def hang(call):
        await asyncio.Event().wait()

    model = Model(CALL, ("Done.", []))
    made = await message(loop(model, Tools(our_a=hang), seconds=0.05))
    (result,) = results(model, 1).values()
    assert result["is_error"] is True
    assert "time limit" in result["content"]
    assert said(made)[-1] == "Done."


async def test_a_call_that_cannot_be_stopped_does_not_hold_up_the_reply(monkeypatch):
    monkeypatch.setattr("plugway_tools.loop._STOP_SECONDS", 0.05)
    over = asyncio.Event()

    async def deaf(call):
        while not over.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await over.wait()
        return ToolResult.of("late")

    model = Model(CALL, ("Done.", []))
    made = await message(loop(model, Tools(our_a=deaf), seconds=0.05))
    assert "does not stop" in str(results(model, 1))
    assert said(made)[-1] == "Done."
    over.set()


@pytest.mark.parametrize("waits", [False, True])
async def test_the_rest_of_a_finished_stream_is_read_unless_it_takes_long(waits):
    call = block(0, "tool_use", id="a", name="our_a", input={})
    end = asyncio.Event()
    rest = [asyncio.Event() if waits else event("ping"), end]
    end.set()
    model = Model([*reply_of(call, reason="tool_use"), *rest], ("Done.", []))
    made = await events(loop(model, Tools()))
    assert made[-1].type == "message_stop"
    assert model.exhausted is not waits


@pytest.mark.parametrize("error", [ValueError("secret"), SystemExit(3), asyncio.CancelledError()])
async def test_whatever_a_tool_raises_is_a_result(error):
    async def crash(call):
        raise error

    model = Model(CALL, ("Done.", []))
    made = await message(loop(model, Tools(our_a=crash)))
    (result,) = results(model, 1).values()
    assert result["content"] == f"The tool failed ({type(error).__name__})."
    assert said(made)[-1] == "Done."


@pytest.mark.parametrize(
    "wrong", [None, "text", ToolResult(({"type": "image", "source": {1, 2}},))]
)
async def test_a_result_that_is_none_is_a_failure(wrong):
    async def odd(call):
        return wrong

    model = Model(CALL, ("Done.", []))
    made = await message(loop(model, Tools(our_a=odd)))
    (result,) = results(model, 1).values()
    assert result["is_error"] is True
    assert said(made)[-1] == "Done."


async def test_half_a_character_in_a_result_harms_nothing():
    async def half(call):
        return ToolResult(({"type": "text", "text": "a\ud800b"},))

    model = Model(CALL, ("Done.", []))
    await message(loop(model, Tools(our_a=half)))
    (result,) = results(model, 1).values()
    assert result["content"] == "a?b"


async def test_long_results_are_cut_and_all_together_are_bounded():
    async def long(call):
        return ToolResult(({"type": "text", "text": "x" * 9_000_000},))

    calls = [("our_a", {}), ("our_b", {})]
    model = Model(("", calls), ("Done.", []))
    await message(loop(model, Tools(our_a=long), result_characters=1000))
    first, _ = results(model, 1).values()
    assert len(first["content"]) < 1100
    assert first["content"].endswith("[cut: 9,000,000 characters; ask for a part]")
    model = Model(("", calls), ("Done.", []))
    tools = Tools(our_a=long, our_b=long)
    await message(loop(model, tools, result_characters=10_000_000))
    assert ["dropped" in r["content"] for r in results(model, 1).values()] == [False, True]


async def test_a_picture_reaches_the_model():
    picture = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": "A"},
    }

    async def shot(call):
        return ToolResult(({"type": "text", "text": "see"}, picture))

    model = Model(CALL, ("Done.", []))
    await message(loop(model, Tools(our_a=shot)))
    (result,) = results(model, 1).values()
    assert result["content"] == [{"type": "text", "text": "see"}, picture]


async def test_pings_come_while_a_tool_runs_and_while_the_model_is_asked_again():
    go, asking = asyncio.Event(), asyncio.Event()

    async def wait(call):
        await go.wait()
        return ToolResult.of("ok")

    class Slow(Model):
        async def __call__(self, request, attempt):
            if self.asked:
                await asking.wait()
            return await super().__call__(request, attempt)

    model = Slow(CALL, ("Done.", []))
    reply = await loop(model, Tools(our_a=wait), ping_seconds=0.01).run(asked(stream=True))
    pings = 0
    async for item in reply.decoded():
        if item.type == "ping":
            pings += 1
            if pings == 2:
                go.set()
            if pings == 5:
                asking.set()
    assert go.is_set()
    assert asking.is_set()


async def test_the_usage_is_the_last_prompt_and_all_that_was_written():
    first = {"input_tokens": 5, "output_tokens": 10}
    last = {"input_tokens": 7, "cache_read_input_tokens": 40, "output_tokens": 3}
    model = Model(
        reply_of(
            block(0, "tool_use", id="a", name="our_a", input={}), reason="tool_use", usage=first
        ),
        reply_of(block(0, "text", {"type": "text_delta", "text": "Done."}, text=""), usage=last),
    )
    notes = []
    made = await message(loop(model, Tools(), notes))
    assert made["usage"] == {**last, "output_tokens": 13}
    assert notes[-1] == "2 requests, 1 calls; all together 52 tokens read, 13 written"


@both
@pytest.mark.parametrize(
    "second",
    [BackendRefused(500, b""), Reply.whole(500, b"{}"), ("", [])],
    ids=["an error", "a status", "nothing"],
)
async def test_a_model_that_cannot_be_asked_again_or_says_nothing_has_a_sentence(second, stream):
    model = Model(CALL, second, stream=stream)
    made = await message(loop(model, Tools()), stream=stream)
    assert said(made)[-1].startswith("Stopped: the model ")
    assert made["stop_reason"] == "end_turn"


async def test_a_failure_that_may_pass_costs_a_second_try_and_no_second_run():
    model, tools, notes = Model(CALL, BackendRefused(529, b""), ("Done.", [])), Tools(), []
    made = await message(loop(model, tools, notes))
    assert said(made)[-1] == "Done."
    assert len(tools.ran) == 1
    assert len(model.asked) == 3
    assert "2 requests, 1 calls" in notes[-1]


@pytest.mark.parametrize(
    "failure", [BackendRefused(400, b""), BackendRefused(529, b"", permanent=True)]
)
async def test_a_failure_that_stays_is_not_tried_again(failure):
    model = Model(CALL, failure)
    made = await message(loop(model, Tools()))
    assert len(model.asked) == 2
    assert said(made)[-1] == "Stopped: the model could not be asked again."


async def test_calls_of_a_reply_that_was_cut_off_are_not_run_and_the_reason_stays():
    call = reply_of(block(0, "tool_use", id="a", name="our_a", input={}), reason="max_tokens")
    model, tools = Model(call), Tools()
    made = await message(loop(model, tools))
    assert tools.ran == []
    assert made["stop_reason"] == "max_tokens"
    assert len(model.asked) == 1


def thought(text="hm"):
    return block(0, "thinking", {"type": "thinking_delta", "thinking": text}, thinking="")


def blank():
    return block(0, "text", {"type": "text_delta", "text": " \n"}, text="")


@pytest.mark.parametrize("reason", ["end_turn", "max_tokens"])
@pytest.mark.parametrize("nothing", [thought, blank])
async def test_a_model_that_only_thinks_or_writes_blanks_in_the_end_has_a_sentence(nothing, reason):
    made = await message(loop(Model(CALL, reply_of(nothing(), reason=reason)), Tools()))
    assert said(made)[-1].startswith("Stopped: ")
    assert made["stop_reason"] == reason


async def test_a_turn_that_pauses_with_a_call_is_ended_so_that_no_client_goes_on_for_ever():
    call = reply_of(block(0, "tool_use", id="a", name="our_a", input={}), reason="pause_turn")
    tools = Tools()
    made = await message(loop(Model(call), tools))
    assert tools.ran == []
    assert made["stop_reason"] == "end_turn"


async def test_blank_text_which_anthropic_refuses_does_not_go_back_to_the_model():
    call = block(1, "tool_use", id="a", name="our_a", input={})
    model = Model(reply_of(blank(), call), ("Done.", []))
    await message(loop(model, Tools()))
    assert [b["type"] for b in model.asked[1]["messages"][-2]["content"]] == ["tool_use"]


@pytest.mark.parametrize("name", ["", "our" * 99, "our tool", "our\x1b[2J", "our.a/b"])
async def test_a_name_that_apis_refuse_does_not_go_back_to_the_model(name):
    class Hides(Tools):
        def hidden(self, name):
            return self.tool

    model = Model(reply_of(block(0, "tool_use", id="a", name=name, input={})), ("Done.", []))
    tools = Hides()
    await message(loop(model, tools))
    assert model.asked[1]["messages"][-2]["content"][0]["name"] == "unknown_tool"
    assert [call.name for call in tools.ran] == ["unknown_tool"]


SCHEMA = {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}}


@both
async def test_a_client_that_asked_for_a_schema_gets_only_the_text_of_the_last_reply(stream):
    model = Model(CALL, ("More.", [("our_b", {})]), ('{"a": 1}', []), stream=stream)
    made = await message(loop(model, Tools()), stream=stream, **SCHEMA)
    shown = [text for text in said(made) if not text.startswith(("<ran", "running"))]
    assert shown == ['{"a": 1}']
    assert "I look." in str(model.asked[1])


@both
async def test_with_a_schema_a_call_of_the_clients_own_keeps_the_text_before_it(stream):
    model = Model(("I look.", [("our_a", {}), ("mine", {})]), stream=stream)
    made = await message(loop(model, Tools()), stream=stream, **SCHEMA)
    assert "I look." in said(made)
    assert said(made)[-1] == "mine"


async def test_with_a_schema_a_reply_that_breaks_off_is_still_ended_after_a_change():
    made = await message(loop(Model(CALL, BROKEN), Tools(changes=True)), **SCHEMA)
    assert said(made)[-2:] == ["Half", "Stopped: its reply broke off."]


BROKEN = [
    *reply_of(block(0, "text", {"type": "text_delta", "text": "Half"}, text=""))[:3],
    StreamInterrupted("gone"),
]
ERROR = [*BROKEN[:-1], event("error", error={"type": "overloaded_error", "message": "x"})]


@pytest.mark.parametrize("broken", [BROKEN, ERROR, BROKEN[:-1]], ids=["cut", "error", "ended"])
async def test_a_reply_that_breaks_off_is_cut_off_if_its_calls_only_read(broken):
    with pytest.raises(StreamInterrupted) as raised:
        await events(loop(Model(CALL, broken), Tools()))
    assert raised.value.try_next


@pytest.mark.parametrize("broken", [BROKEN, ERROR, BROKEN[:-1]], ids=["cut", "error", "ended"])
async def test_a_reply_that_breaks_off_after_a_change_is_ended_and_not_made_again(broken):
    made = await message(loop(Model(CALL, broken), Tools(changes=True)), stream=True)
    assert said(made)[-2:] == ["Half", "Stopped: its reply broke off."]
    assert made["stop_reason"] == "end_turn"


async def test_after_a_change_a_reply_that_breaks_off_inside_a_call_is_not_repeated_either():
    inside = reply_of(block(0, "tool_use", id="t", name="theirs", input={}))[:2]
    with pytest.raises(StreamInterrupted) as raised:
        await events(loop(Model(CALL, [*inside, StreamInterrupted("gone")]), Tools(changes=True)))
    assert raised.value.try_next is False
    assert ("x-should-retry", "false") in raised.value.headers


async def test_the_first_failure_is_the_attempts_own():
    with pytest.raises(BackendUnavailable):
        await loop(Model(BackendUnavailable("down")), Tools()).run(asked())


async def test_a_forced_choice_is_free_again_after_the_first_call():
    model = Model(CALL, ("Done.", []))
    await message(loop(model, Tools()), tool_choice={"type": "any"})
    assert model.asked[1]["tool_choice"] == {"type": "auto"}


async def test_the_clients_own_bytes_are_not_relayed_past_the_loop():
    class Relaying(Backend):
        def relays(self, request, attempt):
            return request.original is not None

        def losses(self, request, attempt):
            return ()

    seen = []

    async def send(request, attempt):
        seen.append(request.original)
        return Reply.message({"content": [], "usage": {}})

    one = loop(send, Tools())
    one._attempt = one._attempt.replace(backend=Relaying())
    request = asked()
    request.original = Original("acme", "/acme", b"{}")
    await one.run(request)
    assert seen == [None]


async def test_a_client_that_leaves_stops_its_calls_and_leaves_nothing_behind():
    started = asyncio.Event()
    ended = []

    async def hang(call):
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.name)

    async with LeakCheck():
        model = Model(("", [("our_a", {}), ("our_b", {})]), ("Done.", []))
        one = loop(model, Tools(our_a=hang, our_b=hang))
        task = asyncio.ensure_future(events(one))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await stop(one._attempt.exchange)
        assert sorted(ended) == ["our_a", "our_b"]
        del one, model, task
        gc.collect()


async def test_calls_end_too_where_the_stream_is_left_between_two_pings():
    ended = []

    async def hang(call):
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.name)

    async with LeakCheck():
        one = loop(Model(CALL), Tools(our_a=hang), ping_seconds=0.01)
        reply = await one.run(asked(stream=True))
        async for item in reply.decoded():
            if item.type == "ping":
                break
        await stop(one._attempt.exchange)
        assert ended == ["our_a"]


async def test_every_reply_is_closed_when_it_has_ended():
    model = Model(CALL, CALL, ("Done.", []))
    await message(loop(model, Tools()))
    assert model.closed == 3

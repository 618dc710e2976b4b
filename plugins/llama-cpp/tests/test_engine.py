"""The engine through its backend: reuse, sharing, limits, cancels, deaths."""

import os
import re
import signal
from importlib.resources import files

import anyio
import pytest
from running_engine import computed, reused, text_of

from plugway import BackendUnavailable, RequestRejected, StreamInterrupted
from tests.slow import quick_first

pytestmark = pytest.mark.anyio
BOTH = pytest.mark.parametrize("kind", ["full", "sliding"])
ALL = pytest.mark.parametrize("kind", quick_first(["full", "hybrid", "sliding", "recurrent"], 2))
MOSTLY_FULL = pytest.mark.parametrize(
    "kind", quick_first(["full", "hybrid", "sliding", "recurrent"], 1)
)
MOSTLY_HYBRID = pytest.mark.parametrize(
    "kind", quick_first(["hybrid", "full", "sliding", "recurrent"], 1)
)

LONG = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 12


def turn(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


async def fresh(engine, path, messages, **fields):
    async with engine(path, disk_cache_mib=0) as e:
        return text_of(await e.say(messages, **fields))


@ALL
async def test_the_next_turn_computes_only_what_is_new(engine, models, kind):
    async with engine(models[kind]) as e:
        first = await e.say(turn(LONG), session="s")
        total = computed(first)
        assert reused(first) == 0
        messages = turn(LONG, text_of(first), "and then?")
        second = await e.say(messages, session="s")
        assert reused(second) >= total - 10
        assert computed(second) < 150
        assert reused(second) + computed(second) == await e.count(messages)
    assert text_of(second) == await fresh(engine, models[kind], messages)


@ALL
async def test_an_edited_turn_goes_on_from_what_is_the_same(engine, models, kind):
    async with engine(models[kind]) as e:
        first = await e.say(turn(LONG, "one", "two"), session="s", max_tokens=100)
        edited = turn(LONG, "one", "three")
        second = await e.say(edited, session="s")
        assert reused(second) > 0.8 * computed(first)
    assert text_of(second) == await fresh(engine, models[kind], edited)


@MOSTLY_FULL
async def test_agents_that_start_together_compute_their_common_prefix_once(engine, models, kind):
    system = LONG * 2
    prompts = [turn(f"agent {n} has task {n * 1111}") for n in range(4)]
    answers = {}
    async with engine(models[kind]) as e:

        async def ask(n):
            answers[n] = await e.say(prompts[n], system=system, session="s", agent=f"a{n}")

        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(ask, n)
        work = sum(computed(m) for m in answers.values())
        prefix = max(computed(m) for m in answers.values())
    assert work < 1.15 * prefix + 4 * 64
    for n in (0, 3):
        alone = await fresh(engine, models[kind], prompts[n], system=system)
        assert text_of(answers[n]) == alone


@MOSTLY_HYBRID
async def test_a_title_request_costs_the_main_conversation_nothing(engine, models, kind):
    async with engine(models[kind], slots=2) as e:
        first = await e.say(turn(LONG), session="s")
        for n in range(4):
            await e.say(turn(f"Title for conversation {n} " + "word " * 100), session="s")
        await e.say(turn("Explore the folder. " * 20), session="s", agent="sub")
        second = await e.say(turn(LONG, text_of(first), "go on"), session="s")
        # The reply's own header may be computed again.
        assert reused(second) >= computed(first) - 16


async def test_idle_conversations_wait_in_memory_where_there_is_room_for_them(engine, models):
    for room, source in ((512, "from memory"), (0, "live")):
        async with engine(models["sliding"], cache_mib=room, disk_cache_mib=0) as e:
            first = await e.say(turn(LONG), session="one")
            await e.say(turn("something else"), session="two")
            second = await e.say(turn(LONG, text_of(first), "go on"), session="one")
            assert reused(second) >= computed(first) - 16
            assert any(source in note for note in e.notes)


@ALL
async def test_an_evicted_conversation_comes_back_from_memory(engine, models, kind):
    async with engine(models[kind], slots=1, disk_cache_mib=0) as e:
        first = await e.say(turn(LONG), session="one")
        await e.say(turn(LONG[::-1]), session="two")
        messages = turn(LONG, text_of(first), "go on")
        second = await e.say(messages, session="one")
        assert reused(second) >= computed(first) - 20
        assert any("from memory" in note for note in e.notes)
    assert text_of(second) == await fresh(engine, models[kind], messages)


@MOSTLY_HYBRID
async def test_a_restart_goes_on_from_disk(engine, models, kind):
    async with engine(models[kind]) as e:
        first = await e.say(turn(LONG), session="s")
        await anyio.sleep(0.1)
    messages = turn(LONG, text_of(first), "go on")
    async with engine(models[kind]) as e:
        second = await e.say(messages, session="s")
        assert reused(second) >= computed(first) - 20
        assert any("from disk" in note for note in e.notes)
    assert text_of(second) == await fresh(engine, models[kind], messages)


async def test_a_damaged_prefix_file_is_thrown_away(engine, models, tmp_path):
    async with engine(models["full"]) as e:
        await e.say(turn(LONG), session="s")
    (file,) = (tmp_path / "cache").rglob("*.kv")
    data = bytearray(file.read_bytes())
    data[-100] ^= 1
    file.write_bytes(data)
    async with engine(models["full"]) as e:
        assert reused(await e.say(turn(LONG), session="s")) == 0
    assert not file.exists() or file.read_bytes() != data


async def test_a_changed_beginning_is_explained(engine, models):
    async with engine(models["full"]) as e:
        await e.say(turn("hi"), system="Today is Monday. " + LONG, session="s")
        await e.say(turn("hi"), system="Today is Friday. " + LONG, session="s")
    note = next(n for n in e.notes if "computed again" in n)
    assert re.search(r"differs from token [\d,]+ of [\d,]+ on, in the tools, the system", note)
    assert "Mon" not in note
    assert "Fri" not in note


async def test_more_conversations_than_cells_get_room_one_after_the_other(engine, models):
    async with engine(models["full"], slots=4, context=2048) as e:
        for n in range(8):
            message = await e.say(turn(f"{n} " + LONG[n:]), session=f"s{n}")
            assert message["stop_reason"] == "max_tokens"


async def test_running_requests_that_outgrow_the_cells_all_finish(engine, models):
    async with engine(models["full"], slots=4, context=512, disk_cache_mib=0) as e:
        done = []

        async def ask(n):
            done.append(await e.say(f"{n} " + "x" * 380, session=f"s{n}", max_tokens=100))

        async with anyio.create_task_group() as group:
            for n in range(8):
                group.start_soon(ask, n)
    assert len(done) == 8


# Limits


async def test_prompts_that_together_outgrow_the_cells_are_all_read_in_the_end(engine, models):
    async with engine(models["full"], slots=8, context=512, batch=128, disk_cache_mib=0) as e:
        done = []

        async def ask(n):
            text = f"{n} " + "x" * 440
            done.append(await e.say(text, session=f"s{n}", max_tokens=2000))

        async with anyio.create_task_group() as group:
            for n in range(8):
                group.start_soon(ask, n)
    assert len(done) == 8


async def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(engine, models):
    async with engine(models["full"], context=512) as e:
        size = await e.count("x" * 2000)
        with pytest.raises(RequestRejected) as caught:
            await e.say("x" * 2000)
    assert caught.value.status == 400
    assert caught.value.message == f"prompt is too long: {size} tokens > 511 maximum"


async def test_max_tokens_is_clamped_and_the_end_of_the_window_said(engine, models):
    async with engine(models["full"], context=256) as e:
        message = await e.say("hello", max_tokens=32000)
        assert any("lowered from 32,000" in note for note in e.notes)
    assert message["stop_reason"] == "model_context_window_exceeded"
    used = message["usage"]
    assert used["input_tokens"] + used["output_tokens"] == 256


async def test_max_tokens_of_zero_only_computes_the_prompt(engine, models):
    async with engine(models["full"]) as e:
        message = await e.say(LONG, max_tokens=0, session="s")
        assert message["content"] == []
        assert message["usage"]["output_tokens"] == 0
        assert message["stop_reason"] == "max_tokens"
        again = await e.say(LONG, session="s")
        assert computed(again) == 1


async def test_a_stop_sequence_ends_the_reply(engine, models):
    async with engine(models["sliding"]) as e:
        free = text_of(await e.say("tell me", max_tokens=60))
        stop = free[20:23]
        message = await e.say("tell me", max_tokens=60, stop_sequences=["never", stop])
    assert message["stop_reason"] == "stop_sequence"
    assert message["stop_sequence"] == stop
    assert text_of(message) == free[: free.index(stop)].rstrip()


async def test_a_seed_makes_sampling_repeatable(engine, models):
    async with engine(models["sliding"]) as e:
        texts = [text_of(await e.say("go", temperature=1)) for _ in range(2)]
        assert texts[0] == texts[1]


@pytest.mark.parametrize(
    "fields",
    [{"temperature": "hot"}, {"temperature": 9}, {"top_p": -1}, {"stop_sequences": "x"}],
)
async def test_an_impossible_sampling_value_is_refused_by_name(engine, models, fields):
    async with engine(models["full"]) as e:
        with pytest.raises(RequestRejected, match=next(iter(fields))):
            await e.say("hello", **fields)


async def test_fields_of_other_engines_change_nothing(engine, models):
    foreign = {
        "n_discard": -1,
        "n": 1_000_000,
        "logit_bias": {"1": 1e6},
        "grammar": "root ::= root" * 1000,
        "chat_template": "{{ 1/0 }}",
        "prompt_embeds": "AAAA",
    }
    async with engine(models["full"]) as e:
        plain = text_of(await e.say("hello"))
        assert text_of(await e.say("hello", **foreign)) == plain


# Cancels and deaths


@MOSTLY_FULL
@pytest.mark.parametrize("phase", ["prefill", "decode"])
async def test_after_a_cancel_the_next_answer_is_a_fresh_processes(engine, models, kind, phase):
    async with engine(models[kind], disk_cache_mib=0) as e:
        await e.ready()
        pid = e.pid
        for _ in range(3):
            reply = await e.send(turn(LONG * 2), session="s", max_tokens=2000)
            if phase == "decode":
                async for item in reply.events:
                    if item.type == "content_block_delta":
                        break
            await reply.close()
        messages = turn(LONG * 2, "no", "what else?")
        after = text_of(await e.say(messages, session="s"))
        assert e.pid == pid
    assert after == await fresh(engine, models[kind], messages)


async def test_a_cancel_leaves_others_undisturbed(engine, models):
    async with engine(models["full"]) as e:
        alone = text_of(await e.say("count with me", session="a", max_tokens=200))
        result = {}

        async def stay():
            result["text"] = text_of(await e.say("count with me", session="b", max_tokens=200))

        async with anyio.create_task_group() as group:
            group.start_soon(stay)
            for n in range(5):
                reply = await e.send(f"{n}" + LONG, session=f"c{n}", max_tokens=500)
                await anyio.sleep(0.01)
                await reply.close()
    assert result["text"] == alone


async def test_killed_while_it_loads_the_request_is_told_to_come_again(engine, models):
    async with engine(models["full"]) as e:
        loaded = await e.backend.loader.get("")
        await anyio.sleep(0.05)
        os.kill(loaded.supervisor.pid, signal.SIGKILL)
        assert text_of(await e.say("hello")) is not None


@pytest.mark.parametrize("phase", ["prefill", "decode"])
async def test_killed_at_work_nobody_hangs_and_the_next_request_is_served(engine, models, phase):
    async with engine(models["full"]) as e:
        await e.ready()
        reply = await e.send(turn(LONG * 2), max_tokens=3000)
        expected = BackendUnavailable
        if phase == "decode":
            async for item in reply.events:
                if item.type == "content_block_delta":
                    expected = StreamInterrupted
                    break
        os.kill(e.pid, signal.SIGKILL)
        with pytest.raises(expected):
            async for _ in reply.events:
                pass
        await reply.close()
        assert (await e.say("hello"))["stop_reason"]


async def test_killed_between_requests_it_is_back_by_itself(engine, models):
    async with engine(models["full"]) as e:
        await e.say("hello")
        pid = e.pid
        os.kill(pid, signal.SIGKILL)
        while e.loaded.supervisor.state != "ready" or e.pid == pid:
            await anyio.sleep(0.02)
        assert await e.say("hello")


# Models


async def test_a_missing_model_names_the_file_and_the_command(engine, tmp_path):
    async with engine(tmp_path / "none.gguf") as e:
        with pytest.raises(BackendUnavailable, match=r"none\.gguf.*plugway models") as caught:
            await e.say("hello")
    assert caught.value.permanent
    assert caught.value.status == 503


async def test_a_hostile_model_is_refused_before_it_is_loaded(engine, tmp_path):
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"\x80\x04pickled")
    async with engine(path) as e:
        with pytest.raises(BackendUnavailable, match="pickle") as caught:
            await e.say("hello")
        assert caught.value.permanent
        assert not e.backend.loader.loaded


async def test_a_model_that_cannot_fit_is_refused_with_the_arithmetic(engine, models, monkeypatch):
    monkeypatch.setattr("plugway_llama_cpp._memory.available_memory", lambda: 100 << 20)
    async with engine(models["full"]) as e:
        with pytest.raises(BackendUnavailable, match=r"weights .* available 100 MiB"):
            await e.say("hello")


async def test_a_model_that_did_not_fit_is_listed_with_the_sum_until_it_fits(
    engine, models, monkeypatch
):
    async with engine(models["full"], preload=False) as e:
        with monkeypatch.context() as patch:
            patch.setattr("plugway_llama_cpp._memory.available_memory", lambda: 100 << 20)
            with pytest.raises(BackendUnavailable):
                await e.say("hello")
        (listed,) = await e.backend.models()
        assert "full does not fit into memory: 4K needs 0.1 GiB beside" in listed.notice
        assert listed.notice.endswith("0.1 are free")
        await e.say("hello")
        await e.backend.unload(listed.id)
        (listed,) = await e.backend.models()
        assert listed.notice == ""


async def test_a_template_that_reaches_out_is_refused(engine, tmp_path):
    import tiny_gguf

    evil = "{{ cycler.__init__.__globals__.os.system('true') }}{% for %}"
    path = tiny_gguf.write(tmp_path / "evil.gguf", template=evil)
    async with engine(path) as e:
        with pytest.raises(BackendUnavailable, match="template") as caught:
            await e.say("hello")
        assert caught.value.permanent


async def test_another_model_of_the_folder_is_loaded_on_demand(engine, models):
    from plugway import Attempt
    from plugway_local_models import models_folder

    folder = models_folder()
    folder.mkdir(parents=True)
    (folder / "second.gguf").write_bytes(models["sliding"].read_bytes())
    (folder / "mmproj-second.gguf").write_bytes(b"GGUF")
    async with engine(models["full"]) as e:
        assert [m.id for m in await e.backend.models()] == ["full", "second"]
        request = e.request("hello")
        reply = await e.backend.send(request, Attempt(e.backend, "second"))
        await reply.close()
        states = {m.id: m.state for m in await e.backend.models()}
        assert states["second"] == "loaded"
        with pytest.raises(RequestRejected, match="second") as caught:
            await e.backend.send(request, Attempt(e.backend, "secand"))
        assert caught.value.status == 404


async def test_an_idle_model_is_unloaded_and_comes_back(engine, models):
    async with engine(models["full"], idle_unload_seconds=0.2) as e:
        await e.say("hello")
        while e.backend.loader.loaded:
            await anyio.sleep(0.05)
        assert await e.say("hello")


DEMO = files("plugway_demo_model") / "data/demo.gguf"
"""A model whose words are found by a regular expression of llama.cpp."""


RUNS = quick_first(["[", "a", "\N{CJK UNIFIED IDEOGRAPH-4E2D}", " ", "\n", "a1;"], 2)


@pytest.mark.parametrize("run", RUNS)
async def test_a_very_long_run_of_characters_does_not_end_the_worker(engine, run):
    async with engine(DEMO) as e:
        few = await e.count(turn("a"))
        assert await e.count(turn(f"x{run * 100_000}x")) > few + 1_000
        assert await e.count(turn("a")) == few

"""The engine through its backend: reuse, sharing, limits, cancels, deaths.

What another caller computes is not reused, so that one engine also gives the answers of a fresh one.
"""

import json
import os
import signal
import struct
from itertools import count

import anyio
import pytest
import tiny_mlx
from running_engine import computed, reused, text_of

from plugway import BackendUnavailable, RequestRejected, StreamInterrupted

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(500)]

LONG = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 30
_strangers = count()
TALKATIVE = pytest.mark.parametrize("e", ["full", "sliding"], indirect=True)
"""Of these random weights, those whose replies are long texts."""


def turn(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.fixture(scope="module", params=["full", "sliding", "recurrent"])
async def e(request, run):
    """All layers see all tokens; some slide over 64; none keeps tokens."""
    async with run(request.param, slots=6, disk_cache_mib=0) as engine:
        yield engine


async def fresh(e, messages, **fields):
    return text_of(await e.say(messages, caller=f"stranger {next(_strangers)}", **fields))


async def test_the_next_turn_computes_only_what_is_new(e):
    first = await e.say(turn(LONG), session="next")
    total = computed(first) + reused(first)
    messages = turn(LONG, text_of(first), "and then?")
    second = await e.say(messages, session="next")
    assert reused(second) >= total - 16
    assert reused(second) + computed(second) == await e.count(messages)
    assert text_of(second) == await fresh(e, messages)


async def test_an_edited_turn_goes_on_from_what_is_the_same(e):
    first = await e.say(turn(LONG, "one", "two"), session="edit", max_tokens=60)
    edited = turn(LONG, "one", "three")
    second = await e.say(edited, session="edit")
    assert reused(second) > 0.8 * (computed(first) + reused(first))
    assert text_of(second) == await fresh(e, edited)


async def test_agents_that_start_together_compute_their_common_prefix_once(e):
    system = f"Agents work. {LONG}"
    prompts = [turn(f"agent {n} has task {n * 1111}") for n in range(4)]
    answers = {}

    async def ask(n):
        fields = {"session": "agents", "agent": f"a{n}", "caller": "agents"}
        answers[n] = await e.say(prompts[n], system=system, **fields)

    async with anyio.create_task_group() as group:
        for n in range(4):
            group.start_soon(ask, n)
    work = sum(computed(m) for m in answers.values())
    prefix = max(computed(m) for m in answers.values())
    assert prefix > 500
    assert work < 1.15 * prefix + 4 * 64
    for n in (0, 3):
        assert text_of(answers[n]) == await fresh(e, prompts[n], system=system)


async def test_replies_that_run_together_are_those_that_run_alone(e):
    prompts = [turn(f"{word * 3} tell me about {word}") for word in ("stone ", "rain ", "ice ")]
    alone = [await fresh(e, prompt, max_tokens=24 + 8 * n) for n, prompt in enumerate(prompts)]
    together = {}

    async def ask(n):
        fields = {"caller": "together", "max_tokens": 24 + 8 * n}
        together[n] = text_of(await e.say(prompts[n], session=f"t{n}", **fields))

    async with anyio.create_task_group() as group:
        for n in range(3):
            group.start_soon(ask, n)
    assert [together[n] for n in range(3)] == alone


async def test_a_title_request_costs_the_main_conversation_nothing(e):
    first = await e.say(turn(LONG), session="main", caller="main")
    for n in range(7):
        await e.say(turn(f"Title {n} " + "word " * 50), session="main", caller="main", max_tokens=4)
    messages = turn(LONG, text_of(first), "go on")
    second = await e.say(messages, session="main", caller="main")
    assert reused(second) >= computed(first) - 16
    assert text_of(second) == await fresh(e, messages)


async def test_an_evicted_conversation_comes_back_from_memory(e):
    first = await e.say(turn(LONG), session="evicted", caller="many")
    for n in range(8):
        await e.say(turn(f"{n} {LONG[n:]}"), session=f"m{n}", caller="many", max_tokens=2)
    messages = turn(LONG, text_of(first), "go on")
    second = await e.say(messages, session="evicted", caller="many")
    assert reused(second) >= computed(first) - 20
    assert any("from memory" in note for note in e.notes)
    assert text_of(second) == await fresh(e, messages)
    assert await e.backend.free_caches() > 0
    assert await e.backend.free_caches() == 0


async def test_nothing_of_another_caller_is_reused(e):
    await e.say(turn(f"secret {LONG}"), session="s", caller="one")
    assert reused(await e.say(turn(f"secret {LONG}"), session="s", caller="two")) == 0


# Limits


async def test_a_prompt_that_is_too_long_is_refused_with_the_numbers(e):
    size = await e.count("word " * 8000)
    with pytest.raises(RequestRejected) as caught:
        await e.say("word " * 8000)
    assert caught.value.status == 400
    assert caught.value.message == f"prompt is too long: {size} tokens > 4095 maximum"


async def test_max_tokens_is_clamped_to_the_window_and_said(e):
    reply = await e.send("hello", max_tokens=32_000)
    await reply.close()
    assert any("lowered from 32,000" in note for note in e.notes)


async def test_max_tokens_of_zero_only_computes_the_prompt(e):
    message = await e.say(f"zero {LONG}", max_tokens=0, session="zero")
    assert message["content"] == []
    assert message["usage"]["output_tokens"] == 0
    assert message["stop_reason"] == "max_tokens"


@TALKATIVE
async def test_a_stop_sequence_ends_the_reply(e):
    free = await fresh(e, "what is plugway", max_tokens=40)
    stop = free[20:23]
    message = await e.say("what is plugway", max_tokens=40, stop_sequences=["never so", stop])
    assert message["stop_reason"] == "stop_sequence"
    assert message["stop_sequence"] == stop
    assert text_of(message) == free[: free.index(stop)].rstrip()


async def test_a_seed_makes_sampling_repeatable(e):
    texts = [await fresh(e, "go", temperature=1, max_tokens=20) for _ in range(2)]
    assert texts[0] == texts[1]


@pytest.mark.parametrize("fields", [{"temperature": "hot"}, {"top_p": -1}])
async def test_an_impossible_sampling_value_is_refused_by_name(e, fields):
    with pytest.raises(RequestRejected, match=next(iter(fields))):
        await e.say("hello", **fields)


# Cancels and deaths


@pytest.mark.parametrize("phase", ["prefill", "decode"])
async def test_after_a_cancel_the_next_answer_is_a_fresh_processes(e, phase):
    pid, text = e.pid, f"{phase} {LONG * 2}"
    for _ in range(3):
        reply = await e.send(turn(text), session=phase, max_tokens=2000)
        if phase == "decode":
            async for item in reply.events:
                if item.type == "content_block_delta":
                    break
        await reply.close()
    messages = turn(text, "no", "what else?")
    after = text_of(await e.say(messages, session=phase))
    assert e.pid == pid
    assert after == await fresh(e, messages)


async def test_a_cancelled_prompt_is_not_computed_to_its_end(e):
    reply = await e.send(turn(f"given up {LONG * 3}"), session="given up")
    await reply.close()
    # What was computed of it until then is all that another request can reuse.
    message = await e.say(turn(f"given up {LONG * 3}"), session="given up")
    assert computed(message) > 0.4 * (computed(message) + reused(message))


@TALKATIVE
@pytest.mark.parametrize("phase", ["prefill", "decode"])
async def test_killed_at_work_nobody_hangs_and_the_next_request_is_served(e, phase):
    reply = await e.send(turn(f"killed {LONG * 3}"), max_tokens=3000)
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
    e.loaded.supervisor.reset()


async def test_an_unknown_architecture_is_reported_in_mlx_lms_words(run, tmp_path):
    folder = tiny_mlx.write(tmp_path / "odd", "full")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nonsense"}))
    with pytest.RaisesGroup(
        pytest.RaisesExc(BackendUnavailable, match=r"mlx-lm [\d.]+ cannot load .*nonsense.*log"),
        flatten_subgroups=True,
    ):
        async with run(folder):
            pass


PROGRAM = """
from pathlib import Path
Path(__file__).with_name("ran").touch()
class C: pass
"""
OWN = {"AutoConfig": "program.C", "AutoTokenizer": ["program.C", "program.C"]}


def with_own_program(folder):
    (folder / "program.py").write_text(PROGRAM)
    configure(folder, "config.json", model_type="xverse", auto_map=OWN, trust_remote_code=True)
    configure(folder, "tokenizer_config.json", tokenizer_class="C", auto_map=OWN)


def with_lying_weights(folder):
    """All tensors claim the whole file, so that their shapes do not fit their bytes."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    end = len(data) - 8 - length
    for name, entry in header.items():
        if name != "__metadata__":
            entry.update(data_offsets=[end - 4, end], shape=[1 << 20, *entry["shape"]])
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def configure(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (with_own_program, r"its own program.*\(`auto_map`\), which is not run"),
        (with_lying_weights, r"cannot load"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), r"cannot load"),
        (lambda f: configure(f, "tokenizer_config.json", chat_template="{% if %}"), "template"),
        (lambda f: configure(f, "tokenizer_config.json", chat_template=[5]), "cannot load"),
    ],
)
async def test_a_folder_that_mlx_lm_cannot_load_says_so_and_runs_nothing(
    run, tmp_path, change, expected
):
    folder = tiny_mlx.write(tmp_path / "odd", "full")
    change(folder)
    with pytest.RaisesGroup(
        pytest.RaisesExc(BackendUnavailable, match=expected), flatten_subgroups=True
    ):
        async with run(folder):
            pass
    assert not (folder / "ran").exists()


async def test_a_template_that_cannot_be_read_is_named(run, tmp_path):
    with pytest.RaisesGroup(
        pytest.RaisesExc(BackendUnavailable, match=r"`template`: .*none\.jinja cannot be read"),
        flatten_subgroups=True,
    ):
        async with run("full", template=str(tmp_path / "none.jinja")):
            pass


# Restarts


@pytest.mark.parametrize("layout", ["full", "sliding", "recurrent"])
async def test_a_restart_goes_on_from_disk(run, layout):
    text = LONG * 3
    async with run(layout) as e:
        first = await e.say(turn(text), session="s")
    messages = turn(text, text_of(first), "go on")
    async with run(layout) as e:
        second = await e.say(messages, session="s")
        assert computed(second) < 0.05 * (computed(second) + reused(second))
        assert any("from disk" in note for note in e.notes)
        assert text_of(second) == await fresh(e, messages)


async def test_replies_end_with_the_window_and_more_conversations_than_memory_get_room(run):
    async with run("full", slots=8, context=512, batch=128, disk_cache_mib=0) as e:
        done = []

        async def ask(n):
            text = f"{n} " + "word " * 200
            done.append(await e.say(text, session=f"s{n}", max_tokens=2000))

        async with anyio.create_task_group() as group:
            for n in range(8):
                group.start_soon(ask, n)
    assert len(done) == 8
    ends = {"model_context_window_exceeded", "end_turn"}
    assert {message["stop_reason"] for message in done} <= ends
    for message in done:
        if message["stop_reason"] == "model_context_window_exceeded":
            total = computed(message) + reused(message) + message["usage"]["output_tokens"]
            assert total == 512

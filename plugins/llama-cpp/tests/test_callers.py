"""Callers with limited tokens share nothing that was computed with anybody else."""

import base64
from dataclasses import dataclass

import anyio
import numpy as np
import pytest
import tiny_mmproj

from conftest import computed, reused, text_of
from plugway.testing import build_plugin, gateway, request_body
from plugway_llama_cpp import LlamaCpp
from plugway_llama_cpp._images import Images
from plugway_llama_cpp._mtmd import Piece
from plugway_llama_cpp._slots import Owner
from plugway_llama_cpp._states import SavedState, StateStore
from tests.slow import quick_first

pytestmark = pytest.mark.anyio
ALL = pytest.mark.parametrize("kind", quick_first(["hybrid", "full", "sliding", "recurrent"], 1))

LONG = "The quick brown fox jumps over the lazy dog, and the dog sleeps on. " * 12
CALLERS = ("", "phone", "guest")
"""The owner, and two with limited tokens."""


def turn(*texts):
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


async def each_goes_on_from_its_own_alone(e, callers, **fields):
    """Every caller says the same in the same session, and then goes on."""
    first = {caller: await e.say(turn(LONG), caller=caller, **fields) for caller in callers}
    assert {caller: reused(message) for caller, message in first.items()} == dict.fromkeys(
        callers, 0
    )
    for caller, message in first.items():
        following = turn(LONG, text_of(message), "and then?")
        second = await e.say(following, caller=caller, **fields)
        assert reused(second) >= computed(message) - 20


@ALL
@pytest.mark.parametrize("session", quick_first(["s", None], 1))
async def test_the_same_session_and_prompt_of_others_is_computed_anew(
    engine, models, kind, session
):
    async with engine(models[kind], disk_cache_mib=0) as e:
        await each_goes_on_from_its_own_alone(e, CALLERS, session=session)


@ALL
async def test_a_session_that_is_named_like_anothers_takes_no_slot_from_it(engine, models, kind):
    async with engine(models[kind], disk_cache_mib=0, cache_mib=0) as e:
        mine = await e.say(turn(LONG), session="s")
        for caller in CALLERS[1:]:
            await e.say(turn("Something else."), session="s", caller=caller)
        second = await e.say(turn(LONG, text_of(mine), "go on"), session="s")
        assert reused(second) >= computed(mine) - 20


@ALL
async def test_states_in_memory_serve_their_own_caller_alone(engine, models, kind):
    async with engine(models[kind], slots=1, disk_cache_mib=0) as e:
        await each_goes_on_from_its_own_alone(e, CALLERS, session="s")
        assert any("from memory" in note for note in e.notes)


@ALL
async def test_files_serve_their_own_caller_alone(engine, models, kind, tmp_path):
    async with engine(models[kind]) as e:
        mine = await e.say(turn(LONG), caller="phone", session="s")
        await anyio.sleep(0.1)
    (file,) = (tmp_path / "cache").rglob("*.kv")
    for caller in ("", "guest"):
        async with engine(models[kind]) as e:
            assert reused(await e.say(turn(LONG), caller=caller, session="s")) == 0
    assert file.exists()
    assert len(list((tmp_path / "cache").rglob("*.kv"))) == len(CALLERS)
    async with engine(models[kind]) as e:
        second = await e.say(turn(LONG, text_of(mine), "go on"), caller="phone", session="s")
        assert reused(second) >= computed(mine) - 20
        assert any("from disk" in note for note in e.notes)


async def test_a_file_that_does_not_say_whose_it_is_is_thrown_away(engine, models, tmp_path):
    async with engine(models["full"]) as e:
        await e.say(turn(LONG), session="s")
    (file,) = (tmp_path / "cache").rglob("*.kv")
    file.write_bytes(b"PLWYKV01" + file.read_bytes()[8:])
    async with engine(models["full"]) as e:
        assert reused(await e.say(turn(LONG), session="s")) == 0


async def test_nobody_waits_for_a_prompt_that_another_caller_is_computing(engine, models):
    answers = {}
    async with engine(models["full"], disk_cache_mib=0) as e:

        async def ask(caller, n):
            answers[caller, n] = await e.say(
                turn(f"task {n}"), system=LONG * 2, caller=caller, session="s", agent=f"a{n}"
            )

        async with anyio.create_task_group() as group:
            for caller in CALLERS[:2]:
                for n in range(2):
                    group.start_soon(ask, caller, n)
    for caller in CALLERS[:2]:
        counts = sorted(reused(answers[caller, n]) for n in range(2))
        assert counts[0] == 0
        assert counts[1] > 256  # its other agent's, of the same caller


def state(caller, tokens):
    content = np.ones(tokens, np.int32)
    return SavedState(content, np.zeros(1, np.uint8), owner=Owner(caller=caller))


def test_a_state_takes_the_place_of_none_but_its_callers():
    store = StateStore(100)
    for caller in CALLERS:
        store.add(state(caller, 10))
    store.add(state("phone", 30))
    sizes = [(s.owner.caller, len(s.tokens)) for s in store.states]
    assert sizes == [("", 10), ("guest", 10), ("phone", 30)]
    assert [len(s.tokens) for s in store.of_caller("phone")] == [30]


@dataclass(frozen=True)
class Part:
    """In place of a part of an image."""

    tokens: int = 3
    positions: int = 3
    both_ways: bool = False


class Splitter:
    """In place of a projector: each image is one part."""

    width = 1

    def split(self, data):
        return [Piece(np.empty(0, np.int32), Part())]


def test_an_image_is_read_once_for_each_caller():
    images = Images(Splitter(), 512, lambda: None)
    source = {"data": base64.b64encode(tiny_mmproj.png(10, 10, 0)).decode()}
    found = [images.picture(source, caller) for caller in (*CALLERS, *CALLERS)]
    assert found[:3] == found[3:]
    assert len({id(picture) for picture in found}) == len(CALLERS)
    assert len({picture.tokens.tobytes() for picture in found}) == len(CALLERS)


async def test_through_the_gateway_nobody_is_told_of_anothers_prompt(models):
    """Counts and receipts, with the same session, agent and prompt."""
    limited = [
        {"name": name, "token": f"{name}-token", "models": ["local/*"]} for name in CALLERS[1:]
    ]
    options = {"threads": 1, "context": 4096, "slots": 4, "disk_cache_mib": 0}
    plugin = build_plugin(LlamaCpp, "local", model=str(models["full"]), **options)
    session = {"x-claude-code-session-id": "s", "x-claude-code-agent-id": "a"}
    async with gateway([plugin], tokens=limited) as running:

        async def say(caller, *texts):
            token = f"{caller}-token" if caller else running.token
            headers = {**session, "authorization": f"Bearer {token}"}
            body = {**request_body(model="local/default", max_tokens=8), "messages": turn(*texts)}
            answer = await running.client.post("/v1/messages", json=body, headers=headers)
            return answer.json()

        first = {caller: await say(caller, LONG) for caller in CALLERS}
        second = {caller: await say(caller, LONG, "yes", "go on") for caller in CALLERS}
    assert [reused(message) for message in first.values()] == [0, 0, 0]
    assert all(reused(message) > 300 for message in second.values())

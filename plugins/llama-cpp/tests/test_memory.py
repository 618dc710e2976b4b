"""What the engine says of its memory, and what it asks before it takes some."""

from contextlib import asynccontextmanager

import pytest

from plugway import BackendUnavailable
from plugway_local_models import (
    AsksForRoom,
    FreesCaches,
    HoldsModels,
    MemoryReport,
    NamesModels,
    models_folder,
)

pytestmark = pytest.mark.anyio
GIB = 1 << 30


class Room:
    """Makes room, and writes down for whom."""

    def __init__(self, available=8 * GIB, obtainable=8 * GIB):
        self.available, self.most = available, obtainable
        self.asked, self.open = [], 0
        self.full = False

    @asynccontextmanager
    async def loading(self, backend, model, size, note):
        if self.full:
            raise BackendUnavailable("no memory", status=529)
        self.asked.append((backend, model, size))
        self.open += 1
        yield
        self.open -= 1

    async def obtainable(self, backend, model):
        return self.most

    async def report(self):
        return MemoryReport(16 * GIB, self.available, 0)


def test_it_takes_part_in_everything(engine):
    from plugway_llama_cpp import LlamaCpp, LlamaCppOptions

    backend = LlamaCpp(LlamaCppOptions(), name="local").backend
    for protocol in (HoldsModels, NamesModels, AsksForRoom, FreesCaches):
        assert isinstance(backend, protocol)


async def test_a_loaded_model_has_its_size_its_process_and_its_requests(engine, models):
    async with engine(models["full"], preload=False) as e:
        assert await e.backend.loaded() == []
        needed = await e.backend.needs("default")
        reply = await e.send("hello")
        (held,) = await e.backend.loaded()
        assert (held.model, held.state, held.requests) == ("full", "loaded", 1)
        assert held.size >= needed > 0
        assert held.pid == e.pid
        assert 0 <= held.reclaimable <= held.size
        await reply.close()
        (held,) = await e.backend.loaded()
        assert held.requests == 0
        assert await e.backend.name_of("default") == "full"
        assert await e.backend.name_of("unknown") == "unknown"


async def test_room_is_asked_for_before_a_model_takes_memory_and_until_it_has_it(engine, models):
    room = Room()
    async with engine(models["full"], preload=False) as e:
        e.backend.ask_for_room(room)
        loaded = await e.backend.loader.get("")
        assert room.asked == [("local", "full", loaded.plan.total)]
        assert room.open == 1
        await loaded.supervisor.ready()
        await e.say("hello")
        assert (len(room.asked), room.open) == (1, 0)
    assert room.open == 0


async def test_without_room_nothing_is_loaded_and_the_next_request_tries_again(engine, models):
    room = Room()
    room.full = True
    async with engine(models["full"], preload=False) as e:
        e.backend.ask_for_room(room)
        with pytest.raises(BackendUnavailable, match="no memory"):
            await e.say("hello")
        assert not e.backend.loader.loaded
        room.full = False
        await e.say("hello")


async def test_the_context_is_planned_for_what_could_be_free_if_it_is_short_otherwise(
    engine, models
):
    wanted = 4096
    for available, most in ((GIB, GIB), (0, GIB)):
        room = Room(available, most)
        async with engine(models["full"], preload=False, context=None) as e:
            e.backend.ask_for_room(room)
            loaded = await e.backend.loader.get("")
            wanted = max(wanted, loaded.plan.context)
            assert loaded.plan.context == wanted


async def test_another_model_of_the_folder_is_known_by_its_own_name(engine, models):
    folder = models_folder()
    folder.mkdir(parents=True)
    (folder / "second.gguf").write_bytes(models["full"].read_bytes())
    async with engine(models["full"], preload=False) as e:
        assert await e.backend.name_of("second.gguf") == "second"
        assert await e.backend.needs("second") > 0


async def test_the_states_of_conversations_without_a_slot_are_given_up(engine, models):
    text = "many words that make a long conversation " * 40
    async with engine(models["full"], slots=1, context=4096) as e:
        assert await e.backend.free_caches() == 0
        await e.say(f"{text} one", session="one")
        await e.say(f"{text[::-1]} two", session="two")
        assert await e.backend.free_caches() > 0
        assert await e.backend.free_caches() == 0
        await e.say(f"{text} one", session="one")

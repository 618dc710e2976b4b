"""A machine with a limit, engines that load models into it, and a clock that tests move."""

from contextlib import asynccontextmanager
from functools import partial

import anyio

from plugway import (
    Attempt,
    Emitter,
    Exchange,
    MessagesRequest,
    ModelInfo,
    Options,
    Plugin,
    Reply,
    hookimpl,
)
from plugway_local_models import LoadedModel, Memory
from plugway_memory import MemoryOptions, MemoryPlugin
from plugway_memory._arbiter import Arbiter

GIB = 1 << 30


class Machine:
    """Memory that engines and other programs take; more than there is fails the test."""

    def __init__(self, total=16):
        self.total, self.taken, self.eaten, self.cached = total * GIB, {}, 0, 0
        self.now = 1_000.0
        self.most = 0

    def read(self):
        used = sum(self.taken.values()) + self.eaten * GIB
        return Memory(self.total, self.total - used)

    def clock(self):
        return self.now

    def take(self, key, size):
        self.taken[key] = size
        self.most = max(self.most, sum(self.taken.values()))
        assert sum(self.taken.values()) <= self.total, f"out of memory: {self.taken}"


class Engine:
    """Loads a model with its first request, as servers do."""

    zone = "local"

    def __init__(self, machine, name, sizes):
        self.machine, self.name = machine, name
        self.sizes = {model: round(size * GIB) for model, size in sizes.items()}
        self.busy = dict.fromkeys(sizes, 0)
        self.held, self.unloaded = {}, []
        self.unloads, self.stated = True, True
        self.idle = {}
        self.tokens = 100

    async def load(self, model):
        if model not in self.held:
            self.machine.take((self.name, model), self.sizes[model])
            self.held[model] = "loading"
            await anyio.lowlevel.checkpoint()
            self.held[model] = "loaded"

    async def unload(self, model):
        await anyio.lowlevel.checkpoint()
        if not self.unloads or model not in self.held:
            return False
        assert not self.busy[model], f"{model} serves requests"
        del self.held[model]
        self.machine.taken.pop((self.name, model))
        self.unloaded.append(model)
        return True

    async def loaded(self):
        return [
            LoadedModel(
                model,
                size=self.sizes[model] if self.stated else 0,
                state=state,
                idle_seconds=self.idle.get(model),
                context_tokens=32_768,
            )
            for model, state in self.held.items()
        ]

    async def needs(self, model):
        return self.sizes[model] if self.stated else 0

    async def count(self, request, attempt):
        return self.tokens

    async def send(self, request, attempt):
        await self.load(attempt.model)
        self.busy[attempt.model] += 1

        async def close():
            self.busy[attempt.model] -= 1

        return Reply.streamed(self.events(attempt), close=close)

    async def events(self, attempt):
        emitter = Emitter(model=attempt.model)
        for made in (
            emitter.start({"input_tokens": 1, "output_tokens": 0}),
            emitter.text("hello"),
            emitter.finish("end_turn", {"output_tokens": 1}),
        ):
            for event in made:
                assert self.busy[attempt.model]
                yield event

    async def models(self):
        return [ModelInfo(model) for model in self.sizes]

    @asynccontextmanager
    async def serving(self, model):
        await self.load(model)
        self.busy[model] += 1
        try:
            yield
        finally:
            self.busy[model] -= 1


class Asking(Engine):
    """Asks for room itself, as engines in a process of the gateway do."""

    def ask_for_room(self, room):
        self.room = room

    async def load(self, model):
        if model not in self.held:
            async with self.room.loading(self.name, model, self.sizes[model], print):
                await super().load(model)


class Owner(Plugin[Options]):
    """A plugin with an engine as its backend."""

    @hookimpl
    def register_backends(self):
        return [self.engine]


class FakeGateway:
    def __init__(self, *backends, predecessor=None):
        self.backends, self.predecessor = backends, predecessor

    def find(self, kind):
        return [(one.name, one) for one in self.backends if isinstance(one, kind)]


def arbiter(machine, *engines, **options):
    settings = {"reserve": "0 B", "wait_seconds": 60, **options}
    return Arbiter(
        {engine.name: engine for engine in engines},
        MemoryOptions(**settings),
        read=machine.read,
        clock=machine.clock,
        list_seconds=0.02,
    )


class Running:
    """The plugin with its engines, and short ways to use it."""

    def __init__(self, plugin, machine):
        self.plugin, self.machine = plugin, machine
        self.arbiter, self.watch = plugin.arbiter, plugin.watch
        self.exchanges = []

    @property
    def notes(self):
        return [entry.what for exchange in self.exchanges for entry in exchange.receipt]

    async def open(self, engine, model, *, session=None):
        """A reply whose stream is still open."""
        headers = (("x-claude-code-session-id", session),) if session else ()
        request = MessagesRequest(b'{"model": "m", "messages": []}', headers)
        exchange = Exchange(request)
        if session:
            exchange.session_id = session
        self.exchanges.append(exchange)
        attempt = Attempt(engine, model, exchange=exchange)

        async def send(request, attempt):
            context = engine.serving(model)
            await context.__aenter__()
            close = partial(context.__aexit__, None, None, None)
            return Reply.message({"role": "assistant"}).replace(close=close)

        reply = await self.plugin.around_attempt(send, request, attempt, exchange)

        async def close():
            await reply.close()
            self.plugin.finished(exchange)

        return reply.replace(close=close)

    async def ask(self, engine, model, **kinds):
        """A whole exchange."""
        reply = await self.open(engine, model, **kinds)
        await reply.close()


@asynccontextmanager
async def running(machine, *engines, **options):
    settings = {"reserve": "0 B", "wait_seconds": 60, **options}
    plugin = MemoryPlugin(MemoryOptions(**settings), name="memory")
    plugin.read = machine.read
    async with plugin.lifespan(FakeGateway(plugin, *engines)):
        plugin.arbiter._clock = machine.clock
        yield Running(plugin, machine)

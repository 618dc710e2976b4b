"""A running plugin with an engine, and short ways to ask it: for the tests of each engine."""

import orjson

from plugway import Attempt, Caller, Exchange, MessagesRequest
from plugway_wire.events import collect


class Alone:
    """A gateway with one backend, as a plugin sees it."""

    def __init__(self, backend):
        self.backend = backend

    def find(self, kind):
        return [("local", self.backend)] if isinstance(self.backend, kind) else []


class Engine:
    """A running plugin and short ways to ask it."""

    def __init__(self, plugin):
        self.plugin = plugin
        self.backend = plugin.backend
        self.exchanges = []

    @property
    def notes(self):
        """What the engine put on receipts."""
        return [e.what for x in self.exchanges for e in x.receipt if e.stage == "engine"]

    @property
    def loaded(self):
        return next(iter(self.backend.loader.loaded.values()))

    @property
    def pid(self):
        return self.loaded.supervisor.pid

    async def ready(self):
        await (await self.backend.loader.get("")).supervisor.ready()
        return self

    def request(self, messages, *, session=None, agent=None, **fields):
        if isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        body = {"model": "default", "max_tokens": 16, "temperature": 0, "messages": messages}
        headers = ()
        if session is not None:
            headers += (("x-claude-code-session-id", session),)
        if agent is not None:
            headers += (("x-claude-code-agent-id", agent),)
        return MessagesRequest(orjson.dumps({**body, **fields}), headers)

    def attempt(self, request, caller=""):
        """As the kernel makes it; `caller` is the name of one with a limited token."""
        limited = Caller(caller, models=("local/*",)) if caller else Caller()
        self.exchanges.append(Exchange(request, caller=limited))
        return Attempt(self.backend, "default", exchange=self.exchanges[-1])

    async def send(self, messages, *, caller="", **fields):
        request = self.request(messages, **fields)
        return await self.backend.send(request, self.attempt(request, caller))

    async def say(self, messages, **fields):
        """The whole message."""
        reply = await self.send(messages, **fields)
        try:
            return await collect(reply.events)
        finally:
            await reply.close()

    async def count(self, messages, *, caller="", **fields):
        request = self.request(messages, **fields)
        return await self.backend.count(request, self.attempt(request, caller))


def text_of(message):
    return "".join(block.get("text", "") for block in message["content"])


def reused(message):
    return message["usage"]["cache_read_input_tokens"]


def computed(message):
    return message["usage"]["input_tokens"]

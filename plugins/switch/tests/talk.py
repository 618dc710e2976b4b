"""A gateway over scripted backends, and a client that keeps a conversation."""

import itertools
from contextlib import AsyncExitStack, asynccontextmanager

import orjson

from plugway import ModelInfo, Reply, StreamEvent, as_list, as_object, replay
from plugway.testing import PlainBackend, anthropic_message, build_plugin, gateway, parse_sse
from plugway_switch import Switch
from plugway_wire.events import collect


class Scripted(PlainBackend):
    """A backend of any zone with any models; says its name and the model."""

    zone = "local"
    infos = (ModelInfo("m", context_tokens=200_000),)
    script = ()

    async def send(self, request, attempt):
        self.seen.append(request)
        said = f"{self.name}/{attempt.model} here"
        message = {**anthropic_message(said), "model": request.model}
        if self.script:
            message = self.script.pop(0)
        message["usage"] = {"input_tokens": len(request.raw) // 4, "output_tokens": 20}

        async def events():
            for item in replay(message):
                yield item

        return Reply.streamed(events())

    async def models(self):
        return self.infos


def backend(name, zone="local", *infos):
    made = build_plugin(Scripted, name)
    made.zone = zone
    made.infos = infos or Scripted.infos
    return made


@asynccontextmanager
async def running(*backends, others=(), before=(), tokens=(), port=8484, **options):
    stack = [*before, build_plugin(Switch, "switch", **options), *others, *backends]
    async with AsyncExitStack() as exits:
        yield await exits.enter_async_context(gateway(stack, tokens=list(tokens), port=port))


async def _events(raw):
    for name, data in parse_sse(raw):
        yield StreamEvent(name, data)


class Client:
    """Keeps a conversation as Claude Code does."""

    numbers = itertools.count()

    def __init__(self, running, model="home/m", session=None, **headers):
        self.running, self.model = running, model
        self.session = session or f"session-{next(self.numbers)}"
        self.headers = headers
        self.messages = []
        self.last = None

    async def say(self, text, **fields):
        """One turn; the text of the answer."""
        return await self.turn([{"type": "text", "text": text}], **fields)

    async def turn(self, blocks, **fields):
        self.messages.append({"role": "user", "content": blocks})
        path = fields.pop("path", "/v1/messages")
        body = {"model": self.model, "max_tokens": 100, "messages": self.messages, **fields}
        headers = {"content-type": "application/json", **self.headers}
        if self.session != "none":
            headers["x-claude-code-session-id"] = self.session
        self.last = await self.running.client.post(
            path, content=orjson.dumps(body), headers=headers
        )
        if fields.get("stream") and self.last.status_code == 200:
            answer = await collect(_events(self.last.content))
        else:
            answer = as_object(self.last.json())
        if self.last.status_code != 200:
            self.messages.pop()
            return answer["error"]["message"]
        if "content" not in answer:
            self.messages.pop()
            return ""
        self.messages.append({"role": "assistant", "content": answer["content"]})
        return "".join(b.get("text", "") for b in as_list(answer["content"]))

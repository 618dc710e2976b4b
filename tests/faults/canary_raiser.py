"""A plugin that fails in every hook, with text of the request in the exception: `x-raise` selects
the hook and the kind of failure."""

from __future__ import annotations

from pathlib import Path

HOOKS = (
    "transform_request", "answer", "resolve_route", "plan_attempts", "prepare_attempt",
    "around_attempt", "normalize_failure", "transform_response", "transform_stream", "layer",
    "finished", "route", "backend", "backend stream", "on_leave",
)  # fmt: skip
KINDS = (
    "value", "key", "int", "json", "pydantic", "type", "attribute", "unicode", "os", "group",
    "notes", "repr", "data", "own", "rejected", "forbidden", "chain", "task", "thread", "destructor",
    "warning", "library", "library args",
)  # fmt: skip
SOURCE = """
import asyncio, dataclasses, json, logging, threading, warnings

import pydantic
from starlette.responses import Response
from starlette.routing import Route

from plugway import (
    Emitter, Exchange, MessagesRequest, Plugin, Reply, RequestRejected, StateKey, hookimpl,
)

WISH = StateKey("wish")


class Model(pydantic.BaseModel):
    number: int


class Own(Exception):
    pass


@dataclasses.dataclass
class Held:
    text: str


class Grave:
    def __init__(self, text):
        self.text = text

    def __repr__(self):
        return self.text

    def __del__(self):
        raise ValueError(self.text)


def fails(text):
    raise Own(text)


async def fails_later(text):
    raise Own(text)


def fail(kind, text, *more):
    match kind:
        case "value": raise ValueError(text)
        case "key": {}[text]
        case "int": int(text)
        case "json": json.loads("[" + text)
        case "pydantic": Model.model_validate({"number": text, text: text})
        case "type": dict(**{text: 1}).update(1, **{text: fails(text)})
        case "attribute": getattr(object(), text)
        case "unicode": (text + chr(0xD800)).encode()
        case "os": open("/nowhere/" + text)
        case "group": raise ExceptionGroup(text, [ValueError(text), ExceptionGroup(text, [KeyError(text)])])
        case "notes":
            error = ValueError("no")
            error.add_note(text)
            raise error
        case "repr": raise RuntimeError(repr(more) + text)
        case "data": raise RuntimeError(Held(text))
        case "own": raise Own(text, more)
        case "rejected": raise RequestRejected(text)
        case "forbidden": raise RequestRejected("the prompt has " + text, status=403)
        case "chain":
            try:
                int(text)
            except ValueError as error:
                raise Own(text) from error
        case "task":
            asyncio.get_running_loop().create_task(fails_later(text), name=text)
        case "thread": threading.Thread(target=fails, args=(text,), name=text).start()
        case "destructor": Grave(text)
        case "warning": warnings.warn(text)
        case "library": logging.getLogger("a.library").error(f"it says {text}")
        case "library args": logging.getLogger("a.library").error("it says %s", text, extra={"x": text})


def text_of(request):
    return request.raw.decode()


class Layer:
    def __init__(self, inner, kind, text):
        self.inner, self.kind, self.text = inner, kind, text

    def __aiter__(self):
        return self

    async def __anext__(self):
        item = await anext(self.inner)
        if item.type == "content_block_delta":
            fail(self.kind, self.text, item)
        return item

    async def aclose(self):
        pass


class Backend:
    name, zone = "canary", "local"

    async def send(self, request, attempt):
        hook, _, kind = (request.header("x-raise") or "").rpartition(" ")
        if hook == "backend":
            fail(kind, text_of(request), request, attempt)
        return Reply.streamed(self._events(request, kind if hook == "backend stream" else ""))

    async def _events(self, request, kind):
        emitter = Emitter(model=request.model)
        for item in (*emitter.start({"input_tokens": 1, "output_tokens": 0}), *emitter.text("a")):
            yield item
        if kind:
            fail(kind, text_of(request), emitter)
        for item in emitter.finish("end_turn", {"input_tokens": 1, "output_tokens": 1}):
            yield item

    async def count(self, request, attempt):
        fail("value", text_of(request))

    async def models(self):
        return []


class Raiser(Plugin):
    @hookimpl
    def register_backends(self):
        return [Backend()]

    @hookimpl
    def register_routes(self):
        async def route(request):
            _, _, kind = request.headers.get("x-raise", "").rpartition(" ")
            fail(kind, (await request.body()).decode())
            return Response("")
        return [Route("/canary", route, methods=["POST"])]

    def meet(self, hook, exchange, *more):
        wished = exchange.state.get(WISH)
        if wished is not None and wished[0] == hook:
            fail(wished[1], wished[2], exchange, *more)

    @hookimpl
    async def transform_request(self, request, exchange):
        hook, _, kind = (request.header("x-raise") or "").rpartition(" ")
        exchange.state[WISH] = (hook, kind, text_of(request))
        if hook == "on_leave":
            exchange.on_leave = lambda stop: fail(kind, text_of(request))
        self.meet("transform_request", exchange, request)

    @hookimpl
    async def answer(self, request, exchange):
        self.meet("answer", exchange, request)

    @hookimpl
    async def resolve_route(self, request, exchange):
        self.meet("resolve_route", exchange, request)

    @hookimpl
    async def plan_attempts(self, attempts, request, exchange):
        self.meet("plan_attempts", exchange, attempts)

    @hookimpl
    async def prepare_attempt(self, request, attempt, exchange):
        self.meet("prepare_attempt", exchange, attempt)

    @hookimpl
    async def around_attempt(self, send, request, attempt, exchange):
        self.meet("around_attempt", exchange, attempt)
        return await send(request, attempt)

    @hookimpl
    async def normalize_failure(self, failure, attempt, exchange):
        self.meet("normalize_failure", exchange, failure)

    @hookimpl
    async def transform_response(self, reply, exchange):
        self.meet("transform_response", exchange, reply)

    @hookimpl
    def transform_stream(self, stream, exchange):
        self.meet("transform_stream", exchange, stream)
        wished = exchange.state.get(WISH)
        if wished is not None and wished[0] == "layer":
            return Layer(stream, *wished[1:])

    @hookimpl
    async def finished(self, exchange, outcome):
        self.meet("finished", exchange, outcome)
"""


def install(site: Path) -> Path:
    """The plugin in a folder for `PYTHONPATH`, like an installed package."""
    info = site / "plugway_canary_raiser-1.dist-info"
    info.mkdir(parents=True)
    (site / "canary_raiser.py").write_text(SOURCE)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugway-canary-raiser\nVersion: 1\n"
    )
    (info / "entry_points.txt").write_text("[plugway]\ncanary-raiser = canary_raiser:Raiser\n")
    return site

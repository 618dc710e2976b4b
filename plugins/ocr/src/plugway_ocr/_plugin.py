"""The plugin: an endpoint, tools, and eyes for models without vision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute

from plugway import (
    Attempt,
    Exchange,
    Gateway,
    MessagesRequest,
    Plugin,
    Reply,
    RequestRejected,
    Send,
    StateKey,
    as_object,
    hookimpl,
)
from plugway_endpoints import Trial
from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.engine import Engine, HoldsEngines
from plugway_media.routes import EngineRoute
from plugway_media.streams import unless_gone
from plugway_media.uploads import decode_base64, read_form
from plugway_ocr._engines import engine_spec, problem_of
from plugway_ocr._eyes import (
    Pending,
    Sights,
    replaced,
    with_pictures,
    with_texts,
)
from plugway_ocr._options import OcrOptions
from plugway_ocr._reader import Reader
from plugway_ocr._tools import OcrTools
from plugway_tools import ToolCall, ToolResult, ToolSpec
from plugway_wire.bounds import aside
from plugway_wire.errors import InvalidRequest

Flaw = tuple[tuple[str | int, ...], str]
_PENDING: StateKey[Pending | None] = StateKey("ocr.pending")
"""The pictures of the current attempt that have to be read."""
PATH: Final = "/v1/ocr"
_FILES: Final = ("file", "image")
"""Names of the picture in a form."""


class Ocr(HoldsEngines, Plugin[OcrOptions]):
    """Reads text in pictures, for clients, as a tool, and for models without vision."""

    reads_pictures = True

    def __init__(self, options: OcrOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        spec = engine_spec(
            options.engine,
            options.languages,
            seconds=options.timeout_seconds,
            idle_seconds=options.idle_unload_seconds,
        )
        engine = Engine(self.name, spec)
        self.engines = [engine]
        self.reader = Reader(engine)
        self._sights = Sights(options.eyes)
        self._tools = OcrTools(self.reader, options.folders)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn of what is missing for the engine: it may be installed while the gateway runs."""
        if problem := problem_of(self.options.engine):
            self.log.warning("pictures cannot be read: %s", problem)
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """The worker starts with the first picture, and ends with the gateway at the latest."""
        self._tools.gateway = gateway
        return self.running(gateway)

    # ── eyes ─────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Put texts and marks in place of the pictures, if the model accepts none."""
        exchange.state[_PENDING] = None
        if exchange.caller.limited and not self.options.limited_callers:
            return None
        if not _may_show(request):
            return None
        sight = await self._sights.of(attempt)
        if sight == "sees":
            return None
        work = partial(
            replaced,
            request,
            self.reader,
            exchange.caller,
            self.options.images,
            self.options.max_images,
            sight,
        )
        found = await aside(request.heavy, work)
        if found is None:
            return None
        if found.pending.blocks:
            exchange.state[_PENDING] = found.pending
        return found.request

    @hookimpl
    async def around_attempt(
        self, send: Send, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> Reply:
        """Read the marked pictures, and send the request with their texts."""
        pending = exchange.state.get(_PENDING)
        if pending is None:
            return await send(request, attempt)
        sight = pending.sight
        if sight == "unloaded":
            sight = await self._sights.once_loaded(attempt)
        if sight == "blind":
            request = await with_texts(request, pending, self.reader, exchange.caller)
        else:
            request = with_pictures(request, pending)
        return await send(request, attempt)

    # ── the endpoint ─────────────────────────────────────────────────────────────────────────

    @hookimpl
    def register_routes(self) -> list[BaseRoute]:
        """`POST /v1/ocr`."""
        limited = self.options.limited_callers
        return [EngineRoute(PATH, self._serve, limited_callers=limited, forms=True)]

    def trials(self) -> Sequence[Trial]:
        """The endpoint, for a page (`OffersTrials`)."""
        limited, problem = self.options.limited_callers, problem_of(self.options.engine)
        return [Trial("read", PATH, limited, MAX_PICTURE_BYTES, problem)]

    async def _serve(self, request: Request) -> JSONResponse:
        form = await read_form(request, max_bytes=MAX_PICTURE_BYTES)
        data = next((form.files[name] for name in _FILES if name in form.files), None)
        if data is None:
            image = form.fields.get("image")
            if image is None:
                raise InvalidRequest(
                    "image: base64, a `data:` URL, or a file in a form is required", retry=False
                )
            # An image block's `source`, too.
            text = as_object(image).get("data") if isinstance(image, dict) else image
            data = await decode_base64(text, "image", max_bytes=MAX_PICTURE_BYTES)
        work = partial(self.reader.read, data, request.scope["plugway.caller"])
        found = await unless_gone(request.receive, work)
        if found is None:
            raise RequestRejected("the client has left", status=499, retry=False, record=True)
        return JSONResponse(dict(found))

    # ── tools ────────────────────────────────────────────────────────────────────────────────

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that are on (`HoldsTools`)."""
        return await self._tools.tools()

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call (`HoldsTools`)."""
        return await self._tools.run(call)


def _may_show(request: MessagesRequest) -> bool:
    """Whether there may be a picture or a PDF file; a fast check."""
    raw = request.unparsed("messages")
    data = request.raw if raw is None else bytes(raw)
    return b'"image"' in data or b'"document"' in data

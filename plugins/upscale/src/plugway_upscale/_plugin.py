"""The plugin: an endpoint and a tool that enlarge pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from plugway import Gateway, Plugin, RequestRejected, hookimpl
from plugway_endpoints import Trial
from plugway_media.checks import MAX_PICTURE_BYTES
from plugway_media.engine import Engine, HoldsEngines
from plugway_media.routes import EngineRoute
from plugway_media.streams import unless_gone
from plugway_tools import ToolCall, ToolResult, ToolSpec
from plugway_upscale import _endpoint
from plugway_upscale._enlarging import Enlarged, enlarge
from plugway_upscale._models import MODELS, SCALES, engine_spec, problem
from plugway_upscale._options import ModelName, UpscaleOptions
from plugway_upscale._tools import UpscaleTools

PATH: Final = "/v1/images/upscale"
Flaw = tuple[tuple[str | int, ...], str]


class Upscale(HoldsEngines, Plugin[UpscaleOptions]):
    """Enlarges pictures with Real-ESRGAN, for clients and as a tool."""

    def __init__(self, options: UpscaleOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self._by_model: Mapping[ModelName, Engine] = {
            model: Engine(
                self.name,
                engine_spec(
                    model,
                    options.device,
                    max_pixels=options.max_output_pixels,
                    seconds=options.timeout_seconds,
                    idle_seconds=options.idle_unload_seconds,
                ),
            )
            for model in MODELS
        }
        self.engines = list(self._by_model.values())
        self._tools = UpscaleTools(self._by_model, options.model, options.folders)

    def check(self, zones: Mapping[str, str]) -> Sequence[Flaw]:
        """Warn of what is missing for the models: it may be installed while the gateway runs."""
        if missing := problem():
            self.log.warning("pictures cannot be enlarged: %s", missing)
        return ()

    @hookimpl
    def lifespan(self, gateway: Gateway) -> AbstractAsyncContextManager[object]:
        """A worker starts with the first picture, and ends with the gateway at the latest."""
        return self.running(gateway)

    @hookimpl
    def register_routes(self) -> list[BaseRoute]:
        """`POST /v1/images/upscale`."""
        limited = self.options.limited_callers
        return [EngineRoute(PATH, self._serve, limited_callers=limited, forms=True)]

    def trials(self) -> Sequence[Trial]:
        """The endpoint, for a page (`OffersTrials`)."""
        models = sorted(MODELS, key=lambda model: model != self.options.model)
        choices = {"scale": [str(scale) for scale in SCALES], "model": models}
        limited = self.options.limited_callers
        return [Trial("enlarge", PATH, limited, MAX_PICTURE_BYTES, problem(), choices)]

    async def _serve(self, request: Request) -> Response:
        body, data = await _endpoint.read(request)
        model = body.model or self.options.model

        async def work() -> Enlarged:
            engine = self._by_model[model]
            return await enlarge(engine, data, scale=body.scale, kind=body.output_format)

        found = await unless_gone(request.receive, work)
        if found is None:
            raise RequestRejected("the client has left", status=499, retry=False, record=True)
        return _endpoint.answer(found, model, body)

    async def tools(self) -> Sequence[ToolSpec]:
        """The tools that are on (`HoldsTools`)."""
        return self._tools.tools()

    async def run_tool(self, call: ToolCall) -> ToolResult:
        """Run a call (`HoldsTools`)."""
        return await self._tools.run(call)

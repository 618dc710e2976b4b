"""Routes whose callers an option decides, and that may take forms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from plugway_media.uploads import MULTIPART


class EngineRoute(Route):
    """A route to an engine. The kernel reads its attributes: see `register_routes` of the hooks."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        *,
        limited_callers: bool,
        forms: bool = False,
        methods: Sequence[str] = ("POST",),
    ) -> None:
        """`limited_callers` is whether callers with a limited token may use it, `forms` whether a
        body may be a form besides JSON."""
        super().__init__(path, endpoint, methods=list(methods))
        self.limited_callers = limited_callers
        self.accepts = (MULTIPART,) if forms else ()

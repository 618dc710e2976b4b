"""Serves the application with `plugway_http.server`, with errors in the format of the API."""

from __future__ import annotations

from functools import partial
from typing import Final

from plugway.exchange.intake import PRESSURE
from plugway_http import server
from plugway_wire.errors import Headers, error_body, error_type
from plugway_wire.ids import new_id


def _rendered(status: int, reason: str) -> tuple[Headers, bytes]:
    """An error outside of an exchange."""
    request_id = new_id("req")
    lines = (("content-type", "application/json"), ("request-id", request_id))
    return lines, error_body(error_type(status), reason, request_id)


run: Final = partial(server.run, pressure=PRESSURE, render_error=_rendered)
"""Serve until a signal stops it; returns the exit status."""
serving: Final = partial(server.serving, pressure=PRESSURE, render_error=_rendered)
"""Serve in the running loop for the duration of the block; yields the port."""

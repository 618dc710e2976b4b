"""Serves the application with `plugway_server`: its errors in the format of the API, its open files
counted together with those of upstreams."""

from __future__ import annotations

from functools import partial
from typing import Final

import plugway_server
from plugway.exchange.intake import PRESSURE
from plugway.types.errors import Headers, error_body, error_type
from plugway.types.ids import new_id


def _rendered(status: int, reason: str) -> tuple[Headers, bytes]:
    """An error outside of an exchange."""
    request_id = new_id("req")
    lines = (("content-type", "application/json"), ("request-id", request_id))
    return lines, error_body(error_type(status), reason, request_id)


run: Final = partial(plugway_server.run, pressure=PRESSURE, render_error=_rendered)
"""Serve until a signal stops it; returns the exit status."""
serving: Final = partial(plugway_server.serving, pressure=PRESSURE, render_error=_rendered)
"""Serve in the running loop for the duration of the block; yields the port."""

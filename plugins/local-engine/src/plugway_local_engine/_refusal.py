"""Convert an error of a worker to an exception of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugway import BackendUnavailable, RequestRejected


def raise_error(header: Mapping[str, Any]) -> None:
    """Raises `RequestRejected` or `BackendUnavailable` if a frame has an `error`."""
    error = header.get("error")
    if error is None:
        return
    message, status = str(error["message"]), int(error.get("status", 500))
    if status < 500:
        record = str(error.get("record") or "")
        raise RequestRejected(message, status=status, retry=error.get("retry"), record=record)
    raise BackendUnavailable(message, status=status, permanent=bool(error.get("permanent")))

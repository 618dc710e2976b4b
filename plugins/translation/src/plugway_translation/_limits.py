"""Looks up the output limits of models at their backends, and caches them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

import anyio

from plugway import Attempt, Backend, BackendError, MessagesRequest

ASK_SECONDS: Final = 2.0
"""Timeout of the first lookup at a backend, for a request without `max_tokens`."""
KEEP_SECONDS: Final = 600.0


class OutputLimits:
    """Output limits by backend and model."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, Mapping[str, int]]] = {}

    async def of(self, backend: Backend, model: str) -> int:
        """The limit in tokens; 0 if unknown."""
        until, limits = self._known.get(backend.name, (0.0, {}))
        if time.monotonic() >= until:
            limits = await _ask(backend) or limits
            self._known[backend.name] = (time.monotonic() + KEEP_SECONDS, limits)
        return limits.get(model, 0)

    async def within(
        self, request: MessagesRequest, attempt: Attempt, most: int
    ) -> MessagesRequest:
        """Lower a default `max_tokens` to the model's output limit.

        Applies only if `max_tokens` is still `most`, i.e. nobody has changed it.
        """
        if request.get("max_tokens") != most:
            return request
        limit = await self.of(attempt.backend, attempt.model)
        if not 0 < limit < most:
            return request
        return request.replace(because=f"the maximum of `{attempt.target}`", max_tokens=limit)


async def _ask(backend: Backend) -> Mapping[str, int]:
    try:
        with anyio.move_on_after(ASK_SECONDS):
            return {info.id: info.max_output_tokens for info in await backend.models()}
    except BackendError:
        pass
    return {}

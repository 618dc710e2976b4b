"""What happens when memory runs short although nothing is loaded: caches, idle models, prompts.

See `_arbiter` for the memory that a load needs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import anyio
import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    Bounded,
    Exchange,
    MessagesRequest,
    RequestRejected,
)
from plugway_memory._arbiter import Arbiter
from plugway_memory._options import size_text
from plugway_memory._owners import Key
from plugway_upstream_errors import overflow_sentence

_log = logging.getLogger("plugway.memory")

WATCH_SECONDS: Final = 2.0
_STALLED: Final = 0.1
"""Share of time that programs wait for memory from which on it is short."""
_LEAST_TOKENS: Final = 4_096
"""Shorter prompts are never too long."""
_COUNT_SECONDS: Final = 1.0
_MOST_SESSIONS: Final = 1_000


class Watch:
    """Looks at the memory from time to time, and gives some back before the machine swaps."""

    def __init__(self, arbiter: Arbiter, stalled: Callable[[], float]) -> None:
        """`stalled` returns the share of time that programs waited for memory since the last
        call."""
        self._arbiter = arbiter
        self._stalled = stalled
        self._asked: Bounded[tuple[str, str], bool] = Bounded(_MOST_SESSIONS)
        """Conversations that were asked to compact since the memory became short."""
        self.tight = False
        """Whether nothing is left to give back but the caches of running conversations."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await anyio.sleep(WATCH_SECONDS)
            try:
                await self.look()
            except Exception:  # whatever the system or a backend does: the next look follows
                _log.exception("the memory could not be watched")

    async def look(self) -> None:
        """One look: free caches, then idle models, until the reserve is free again."""
        stalled = self._stalled()
        short = -self._arbiter.spare(await self._arbiter.owners.all())
        if short <= 0 and stalled < _STALLED:
            self.tight = False
            self._asked.clear()
            return
        why = f"because {_reason(stalled, short)}"
        if freed := await self._arbiter.owners.free_caches():
            self._arbiter.record(f"freed {size_text(freed)} of caches {why}")
        held = await self._arbiter.owners.all()
        # Waiting is measured over time: without a shortage, one step per look.
        short = max(-self._arbiter.spare(held), 0 if freed else 1)
        for one in sorted(self._arbiter.idle(held), key=lambda one: not one.loaded.size):
            if short > 0 and await self._arbiter.evict(one, why, _silent):
                short -= one.loaded.size or short  # of unknown size: measured by the next look
        if short > 0 and held and not self.tight:
            self._arbiter.record(f"the next long prompt is to be compacted {why}")
        self.tight = short > 0 and bool(held)

    async def check(
        self, key: Key, request: MessagesRequest, attempt: Attempt, exchange: Exchange, plugin: str
    ) -> None:
        """Refuse a long prompt once per conversation while memory is short, so that the client
        compacts it; the request that does that has the same prompt, and passes.

        Raises:
            BackendRefused: the prompt is too long for now; the message is one that clients act on.
        """
        conversation = (exchange.caller.share, exchange.session_id or "")
        if not self.tight or not exchange.session_id or conversation in self._asked:
            return
        held = await self._arbiter.owners.of(key[0])
        window = next((one.loaded.context_tokens for one in held if one.key == key), 0)
        limit = max(_LEAST_TOKENS, window // 2)
        tokens = await _count(request, attempt)
        if tokens <= limit:
            return
        self._asked[conversation] = True
        text = f"{overflow_sentence(tokens, limit)} (memory of this machine is short)"
        exchange.note(plugin, text, stage="around_attempt")
        self._arbiter.record(f"a prompt of {tokens:,} tokens for `{attempt.target}` was too long")
        error = {"type": "invalid_request_error", "message": text}
        body = orjson.dumps({"type": "error", "error": error, "request_id": exchange.id})
        headers = (("content-type", "application/json"),)
        raise BackendRefused(400, body, headers=headers, native=True, message=text, record=text)


def _reason(stalled: float, short: int) -> str:
    if short > 0:
        return f"{size_text(short)} of the reserve are in use"
    return f"programs waited for memory {stalled:.0%} of the time"


async def _count(request: MessagesRequest, attempt: Attempt) -> int:
    """Tokens of the prompt by the backend's own count; 0 if it has none, or takes too long."""
    try:
        with anyio.fail_after(_COUNT_SECONDS):
            counted = await attempt.backend.count(request, attempt)
    except (BackendError, RequestRejected, TimeoutError):
        return 0
    return counted if isinstance(counted, int) else 0


def _silent(_: str) -> None:
    """No receipt: the machine asked for it, not an exchange."""

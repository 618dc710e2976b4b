"""An event loop that survives `sys.exit` in its tasks, which may run anybody's code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager

from plugway_log import described

log = logging.getLogger("plugway.hooks")


class ContinuingLoop(asyncio.AbstractEventLoop):
    """A mix-in for event loops that survive `sys.exit` in a task or a callback.

    Stopping the process by a signal still works, because signals do not raise here.
    """

    survives_exit = False
    """Set while the gateway serves."""

    def run_forever(self) -> None:
        """Run until `stop`."""
        while True:
            try:
                super().run_forever()  # pyright: ignore[reportAbstractUsage]
            except (SystemExit, KeyboardInterrupt) as error:
                if not self.survives_exit:
                    raise
                reason = "a background task raised %s; the gateway keeps running"
                log.exception(reason, described(error))
            else:
                return


@contextmanager
def surviving_exit(loop: asyncio.AbstractEventLoop) -> Generator[None]:
    """Let `loop`, if it is a `ContinuingLoop`, survive `sys.exit` in its tasks during the block."""
    continuing = loop if isinstance(loop, ContinuingLoop) else ContinuingLoop()
    continuing.survives_exit = True
    try:
        yield
    finally:
        continuing.survives_exit = False

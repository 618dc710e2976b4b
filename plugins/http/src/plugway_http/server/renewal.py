"""The certificate of a running server, which takes renewed files into use."""

from __future__ import annotations

import logging
import math
import time
from typing import Any, Final

import anyio
import anyio.to_thread

from plugway_http.certificate import CertificateError, CertificateFiles
from plugway_http.server.watch import watch_file

SETTLE_SECONDS: Final = 0.5
"""Files that do not fit are loaded again after this time: another program may be writing them."""

log = logging.getLogger("plugway.server")


class RenewedCertificate:
    """The certificate of a running server; renewed files take effect with the next handshake."""

    def __init__(self, files: CertificateFiles) -> None:
        """Raises `CertificateError`."""
        self._files = files
        self._current = files.load()
        self.context = self._current.context
        """Serves every handshake, by the newest certificate."""
        self.context.sni_callback = self._use_newest
        self._changed = anyio.Event()
        self._changed.set()  # the files may change until they are watched
        self._early = math.inf
        """Seconds until the files are valid, if they are not yet."""

    def check(self) -> None:
        """Load the files soon, because they may have changed."""
        self._changed.set()

    async def run(self) -> None:
        """Load the files whenever they change; never returns."""
        async with anyio.create_task_group() as tasks:
            for path in (self._files.certificate, self._files.key):
                tasks.start_soon(watch_file, path, self.check)
            while True:
                with anyio.move_on_after(self._early):
                    await self._changed.wait()
                self._changed = anyio.Event()
                if await self._refusal() is None:
                    continue
                await anyio.sleep(SETTLE_SECONDS)
                self._changed = anyio.Event()
                if error := await self._refusal():
                    log.warning("kept the old certificate because %s", error)

    async def _refusal(self) -> CertificateError | None:
        """Load the files; the reason if the old certificate stays in use."""
        try:
            await anyio.to_thread.run_sync(self._renew)
        except CertificateError as error:
            return error
        return None

    def _renew(self) -> None:
        self._early = math.inf
        fresh = self._files.load()
        if fresh.digest == self._current.digest:
            return
        if reason := fresh.invalid_now:
            now = time.time()
            if now > fresh.expires:
                raise CertificateError("certificate", reason, "renew it")
            self._early = max(fresh.starts - now, 0.0)
            raise CertificateError("certificate", reason, "it is used from then on")
        self._current = fresh
        log.info("the renewed certificate is in use until %s", fresh.until)

    def _use_newest(self, connection: Any, _name: object, _context: object) -> None:
        connection.context = self._current.context

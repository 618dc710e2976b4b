"""Reads pictures for callers, each picture once: results are kept by caller and hash."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from plugway import Bounded, Caller, RequestRejected
from plugway_media.engine import Engine
from plugway_ocr._files import check_file
from plugway_tools import harmless
from plugway_wire.errors import InvalidRequest

_CALLERS: Final = 100
_PICTURES: Final = 200
"""Most pictures that are remembered for one caller."""
_MOST_TEXT: Final = 60_000
"""Characters; a full screen of small print has 20,000."""
_AGAIN_SECONDS: Final = 60.0
"""Time after which a picture that could not be read, for instance because the worker died, is tried
again."""

Found = Mapping[str, Any]
"""What the worker returns: `engine`, `text`, `lines`, `left_out`, and `width` and `height` of a
picture or `pages` of a PDF file."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture could not be read."""

    error: RequestRejected
    at: float

    @property
    def holds(self) -> bool:
        """Whether there is no use in trying again."""
        lasting = isinstance(self.error, InvalidRequest)
        return lasting or time.monotonic() - self.at < _AGAIN_SECONDS


class Reader:
    """The engine, and what it has read."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._known: Bounded[str, Bounded[bytes, Found | Failure]] = Bounded(_CALLERS)

    def known(self, key: bytes, caller: Caller) -> Found | Failure | None:
        """What is known of a picture without reading it."""
        found = self._of(caller).get(key)
        return None if isinstance(found, Failure) and not found.holds else found

    async def read(self, data: bytes, caller: Caller, key: bytes = b"") -> Found:
        """What is written in a picture; `key` is the hash that it is remembered by.

        Raises:
            RequestRejected: it is no picture that can be read, or the engine cannot run now.
        """
        key = key or key_of(data)
        known = self.known(key, caller)
        if known is None:
            known = await self._read(data)
            self._of(caller)[key] = known
        if isinstance(known, Failure):
            raise known.error
        return known

    async def _read(self, data: bytes) -> Found | Failure:
        try:
            check_file(data)
            found = dict((await self.engine.one({}, data)).header)
        except RequestRejected as error:
            if error.status == 429:  # others are in front: it says nothing about this picture
                raise
            return Failure(error, time.monotonic())
        found.pop("id", None)
        found["text"] = harmless(found["text"])[:_MOST_TEXT]
        return found

    def _of(self, caller: Caller) -> Bounded[bytes, Found | Failure]:
        if caller.name not in self._known:
            self._known[caller.name] = Bounded(_PICTURES)
        return self._known[caller.name]


def key_of(data: bytes) -> bytes:
    """The hash of a picture, or of its base64."""
    return hashlib.sha256(data).digest()

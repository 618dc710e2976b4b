"""The worker's side: answers one request after the other, and reports that it is alive.

`engine` is the gateway's side. An engine's entry point loads its model and calls `serve`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from plugway_local_engine import Channel, EngineFailed

_log = logging.getLogger(__name__)

_BEAT_SECONDS: Final = 1.0

Piece = tuple[Mapping[str, Any], bytes]
"""Header and body of one frame of a reply."""
Handler = Callable[[Mapping[str, Any], bytes], Iterable[Piece]]
"""Called with the header and body of a request. A generator can send pieces while it computes, and
is not resumed after a cancellation."""


class Refused(Exception):
    """The input cannot be used. The client gets the message, so it names the reason and the fix."""


def serve(channel: Channel, handle: Handler, **info: Any) -> None:
    """Report `info` as ready, then answer requests until the gateway says stop.

    `Refused` and other exceptions of `handle` fail one request; `EngineFailed` and `MemoryError`
    end the process, which fails the request too.
    """
    cancelled: set[int] = set()
    channel.on_cancel = cancelled.add
    channel.send({"op": "ready", **info})
    threading.Thread(target=_beat, args=(channel,), name="beat", daemon=True).start()
    while True:
        for frame in channel.receive(None):
            match frame.header.get("op"):
                case "stop":
                    return
                case "run":
                    _answer(channel, handle, frame.header, frame.body, cancelled)
                case _:
                    pass


def _answer(
    channel: Channel,
    handle: Handler,
    header: Mapping[str, Any],
    body: bytes,
    cancelled: set[int],
) -> None:
    number = header["id"]
    end: dict[str, Any] = {"id": number, "end": True}
    try:
        if number not in cancelled:
            for piece, data in handle(header, body):
                channel.send({**piece, "id": number}, data)
                if number in cancelled:
                    break
    except Refused as error:
        end["refused"] = str(error)
    except (EngineFailed, MemoryError):
        raise
    except Exception as error:  # an engine of any kind: one request fails
        _log.exception("a request failed")
        end["failed"] = type(error).__name__
    cancelled.discard(number)
    channel.send(end)


def _beat(channel: Channel) -> None:
    """An engine computes for seconds without returning to the loop; a time limit in the gateway
    ends one that hangs."""
    pause = threading.Event()
    while not pause.wait(_BEAT_SECONDS):
        channel.send({"op": "beat"})

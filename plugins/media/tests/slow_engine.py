"""An engine for tests: does what the header of each request says."""

import os
import signal
import threading

from plugway_local_engine import EngineFailed, LoadFailed
from plugway_media.worker import Refused, serve


def main(channel, config):  # noqa: C901
    if "missing" in config:
        raise LoadFailed(config["missing"])
    served = 0

    def handle(header, body):
        nonlocal served
        served += 1
        match header["do"]:
            case "echo":
                yield {"served": served, "pid": os.getpid()}, body
            case "pieces":
                for number in range(header["count"]):
                    yield {"number": number}, b""
            case "compute":  # like native code: it does not look for a cancellation
                threading.Event().wait(header["seconds"])
                yield {"done": True}, b""
            case "count":
                number = 0
                while True:
                    threading.Event().wait(0.01)
                    number += 1
                    yield {"number": number}, b""
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "refuse":
                raise Refused("the file is not a picture")
            case "fail":
                raise EngineFailed("out of ideas")
            case other:
                raise ValueError(other)

    serve(channel, handle)

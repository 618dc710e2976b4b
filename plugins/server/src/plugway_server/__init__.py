"""An ASGI server for gateways: uvicorn with the limits that a gateway needs; see the README."""

from plugway_server._bind import BindError, bind
from plugway_server._pressure import Pressure
from plugway_server._server import Server, StartFailed, run, serving
from plugway_server._watch import Watchdog, watch_file
from plugway_server._wire import RenderError, WireLimits, joined

__all__ = [
    "BindError",
    "Pressure",
    "RenderError",
    "Server",
    "StartFailed",
    "Watchdog",
    "WireLimits",
    "bind",
    "joined",
    "run",
    "serving",
    "watch_file",
]

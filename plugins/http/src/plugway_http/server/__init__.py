"""An ASGI server: uvicorn with the limits that a gateway needs."""

from plugway_http.server.bind import BindError, bind
from plugway_http.server.renewal import RenewedCertificate
from plugway_http.server.server import Server, StartFailed, run, serving
from plugway_http.server.watch import Watchdog, watch_file
from plugway_http.wire import RenderError, WireLimits

__all__ = [
    "BindError",
    "RenderError",
    "RenewedCertificate",
    "Server",
    "StartFailed",
    "Watchdog",
    "WireLimits",
    "bind",
    "run",
    "serving",
    "watch_file",
]

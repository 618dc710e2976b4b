"""Kinds of routes, by who may use them."""

from __future__ import annotations

from starlette.requests import Request
from starlette.routing import Route


class PublicRoute(Route):
    """A route that needs no token, and takes forms and cookies."""

    public = True


class MemberRoute(Route):
    """A route for everybody with a token, including those whose models are limited."""

    limited_callers = True


def peer(request: Request) -> str:
    """The address that a request comes from. Behind a proxy it is the proxy's, as any client can
    send `X-Forwarded-For`: limits by it are for all of its users together."""
    return request.client.host if request.client else ""


class SignalRoute(MemberRoute):
    """A route for telemetry of clients (OTLP), as JSON or as Protocol Buffers."""

    accepts = ("application/x-protobuf",)

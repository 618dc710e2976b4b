"""Plugway: one local address between an agent client and every model.

Everything that plugins may use is exported here; see `docs/writing-a-plugin.md`.
"""

from plugway.cli.local import LocalGateway
from plugway.kept import Bounded, write_file
from plugway.plugins.gateway import Gateway
from plugway.plugins.hookspecs import Send, hookimpl
from plugway.plugins.plugin import Plugin
from plugway.types.backend import Backend, Caller, Loads, ModelInfo, Relays, SpeaksMessages, Usage
from plugway.types.dialect import Deferred, Dialect
from plugway.types.errors import ConfigError
from plugway.types.exchange import Attempt, Exchange, Identity, Outcome, Route, StateKey
from plugway.types.options import NoOptions, Options, Secret
from plugway.types.request import REMOVE, MessagesRequest, Original
from plugway.types.response import Missing, Reply
from plugway.upstream.network import NetworkOptions
from plugway.upstream.origins import StoredKey, origin_of, remember_key
from plugway.upstream.upstream import Upstream, UpstreamResponse
from plugway_http.client.url import url_problem
from plugway_wire.emitter import Emitter, StopReason
from plugway_wire.errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    Headers,
    InvalidRequest,
    NoRoute,
    PlugwayError,
    RequestRejected,
    StreamInterrupted,
)
from plugway_wire.events import EventStream, StreamEvent, collected, event, replay
from plugway_wire.ids import new_id
from plugway_wire.json import as_list, as_object
from plugway_wire.names import named_entries

__all__ = [
    "REMOVE",
    "Attempt",
    "Backend",
    "BackendError",
    "BackendProtocolError",
    "BackendRefused",
    "BackendTimeout",
    "BackendUnavailable",
    "Bounded",
    "Caller",
    "ConfigError",
    "Deferred",
    "Dialect",
    "Emitter",
    "EventStream",
    "Exchange",
    "Gateway",
    "Headers",
    "Identity",
    "InvalidRequest",
    "Loads",
    "LocalGateway",
    "MessagesRequest",
    "Missing",
    "ModelInfo",
    "NetworkOptions",
    "NoOptions",
    "NoRoute",
    "Options",
    "Original",
    "Outcome",
    "Plugin",
    "PlugwayError",
    "Relays",
    "Reply",
    "RequestRejected",
    "Route",
    "Secret",
    "Send",
    "SpeaksMessages",
    "StateKey",
    "StopReason",
    "StoredKey",
    "StreamEvent",
    "StreamInterrupted",
    "Upstream",
    "UpstreamResponse",
    "Usage",
    "as_list",
    "as_object",
    "collected",
    "event",
    "hookimpl",
    "named_entries",
    "new_id",
    "origin_of",
    "remember_key",
    "replay",
    "url_problem",
    "write_file",
]

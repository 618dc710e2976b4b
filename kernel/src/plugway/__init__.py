"""Plugway: one local address between an agent client and every model.

Everything a plugin may use is exported here. `docs/writing-a-plugin.md` starts with thirty lines.
"""

from plugway._backend import Attempt, Backend, Caller, ModelInfo, Usage
from plugway._bounds import aside as aside
from plugway._bounds import check_answer as check_answer
from plugway._dialect import Dialect, DialectEncoder
from plugway._emitter import Emitter, StopReason
from plugway._errors import (
    BackendError,
    BackendProtocolError,
    BackendRefused,
    BackendTimeout,
    BackendUnavailable,
    ConfigError,
    Forbidden,
    Headers,
    HookError,
    InvalidRequest,
    NoRoute,
    Overloaded,
    PluginError,
    PlugwayError,
    RateLimited,
    RequestRejected,
    StreamInterrupted,
    Unauthenticated,
)
from plugway._events import (
    CUT_REASONS,
    EventStream,
    StreamEvent,
    collect,
    collected,
    cut_notice,
    event,
    replay,
)
from plugway._exchange import Exchange, Outcome, Route, StateKey
from plugway._gateway import Gateway
from plugway._gather import MAX_EVENT_BYTES, Gathered
from plugway._hookspecs import Send, hookimpl
from plugway._ids import new_id
from plugway._json import as_list, as_object
from plugway._keyring import Keyring, StoredKey, origin_of
from plugway._local import LocalGateway
from plugway._models import MAX_MODELS, is_model_name, named_entries
from plugway._network import NetworkOptions
from plugway._plugin import NoOptions, Options, Plugin, Secret
from plugway._request import REMOVE, Change, MessagesRequest, Original
from plugway._response import Reply
from plugway._upstream import Upstream, UpstreamResponse
from plugway._url import url_problem

__all__ = [
    "CUT_REASONS",
    "MAX_EVENT_BYTES",
    "MAX_MODELS",
    "REMOVE",
    "Attempt",
    "Backend",
    "BackendError",
    "BackendProtocolError",
    "BackendRefused",
    "BackendTimeout",
    "BackendUnavailable",
    "Caller",
    "Change",
    "ConfigError",
    "Dialect",
    "DialectEncoder",
    "Emitter",
    "EventStream",
    "Exchange",
    "Forbidden",
    "Gateway",
    "Gathered",
    "Headers",
    "HookError",
    "InvalidRequest",
    "Keyring",
    "LocalGateway",
    "MessagesRequest",
    "ModelInfo",
    "NetworkOptions",
    "NoOptions",
    "NoRoute",
    "Options",
    "Original",
    "Outcome",
    "Overloaded",
    "Plugin",
    "PluginError",
    "PlugwayError",
    "RateLimited",
    "Reply",
    "RequestRejected",
    "Route",
    "Secret",
    "Send",
    "StateKey",
    "StopReason",
    "StoredKey",
    "StreamEvent",
    "StreamInterrupted",
    "Unauthenticated",
    "Upstream",
    "UpstreamResponse",
    "Usage",
    "as_list",
    "as_object",
    "collect",
    "collected",
    "cut_notice",
    "event",
    "hookimpl",
    "is_model_name",
    "named_entries",
    "new_id",
    "origin_of",
    "replay",
    "url_problem",
]

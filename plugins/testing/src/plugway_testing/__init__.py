"""The test kit for plugins: a gateway, contract tests, a scripted upstream, a raw HTTP client.

`docs/testing-a-plugin.md` shows how to use it; tests import it as `plugway.testing`.
"""

from plugway_testing._answers import (
    Cut,
    Hold,
    Reset,
    Sleep,
    WaitFor,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    respond,
    sse,
)
from plugway_testing._canned import ERRORS, CannedAnswer
from plugway_testing._client import RawClient, RawResponse, messages_request
from plugway_testing._contract import BackendContract, FeatureContract, PluginContract
from plugway_testing._databases import PostgresServer, RedisServer, postgresql_server, redis_server
from plugway_testing._gateway import Gateway, build_plugin, gateway, request_body
from plugway_testing._leak import LeakCheck
from plugway_testing._plain import PlainBackend, PlainOptions
from plugway_testing._relay import FaultRelay, Faults
from plugway_testing._strict import StrictUpstream, api_of, checking, refusals
from plugway_testing._upstream import ReceivedRequest, ScriptedUpstream
from plugway_testing._wire import assert_valid_stream, parse_sse

__all__ = [
    "ERRORS",
    "BackendContract",
    "CannedAnswer",
    "Cut",
    "FaultRelay",
    "Faults",
    "FeatureContract",
    "Gateway",
    "Hold",
    "LeakCheck",
    "PlainBackend",
    "PlainOptions",
    "PluginContract",
    "PostgresServer",
    "RawClient",
    "RawResponse",
    "ReceivedRequest",
    "RedisServer",
    "Reset",
    "ScriptedUpstream",
    "Sleep",
    "StrictUpstream",
    "WaitFor",
    "anthropic_error",
    "anthropic_message",
    "anthropic_stream",
    "api_of",
    "assert_valid_stream",
    "build_plugin",
    "checking",
    "gateway",
    "messages_request",
    "parse_sse",
    "postgresql_server",
    "redis_server",
    "refusals",
    "request_body",
    "respond",
    "sse",
]

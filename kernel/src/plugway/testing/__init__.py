"""The kit that plugins are tested with: gateway, contract tests, scripted upstream, byte client.

`docs/testing-a-plugin.md` shows it in use. Needs `plugway[testing]`.
"""

from plugway.testing._answers import (
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
from plugway.testing._canned import ERRORS, CannedAnswer
from plugway.testing._client import RawClient, RawResponse, messages_request
from plugway.testing._contract import BackendContract, FeatureContract, PluginContract
from plugway.testing._gateway import Gateway, build_plugin, gateway, request_body
from plugway.testing._leak import LeakCheck
from plugway.testing._plain import PlainBackend, PlainOptions
from plugway.testing._relay import FaultRelay, Faults
from plugway.testing._upstream import ReceivedRequest, ScriptedUpstream
from plugway.testing._wire import assert_valid_stream, parse_sse

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
    "RawClient",
    "RawResponse",
    "ReceivedRequest",
    "Reset",
    "ScriptedUpstream",
    "Sleep",
    "WaitFor",
    "anthropic_error",
    "anthropic_message",
    "anthropic_stream",
    "assert_valid_stream",
    "build_plugin",
    "gateway",
    "messages_request",
    "parse_sse",
    "request_body",
    "respond",
    "sse",
]

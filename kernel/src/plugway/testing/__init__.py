"""The kit that plugins are tested with: a gateway, contract tests, scripted upstreams, byte clients.

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
from plugway.testing._contract import BackendContract, FeatureContract, PluginContract
from plugway.testing._gateway import Gateway, build_plugin, gateway, request_body
from plugway.testing._plain import PlainBackend, PlainOptions
from plugway.testing._upstream import ReceivedRequest, ScriptedUpstream
from plugway.testing._wire import assert_valid_stream, parse_sse

__all__ = [
    "ERRORS",
    "BackendContract",
    "CannedAnswer",
    "Cut",
    "FeatureContract",
    "Gateway",
    "Hold",
    "PlainBackend",
    "PlainOptions",
    "PluginContract",
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
    "parse_sse",
    "request_body",
    "respond",
    "sse",
]

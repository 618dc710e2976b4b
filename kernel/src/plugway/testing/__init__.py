"""The kit that plugins are tested with: a gateway, contract tests, scripted upstreams, byte clients.

`docs/testing-a-plugin.md` shows it in use. Needs `plugway[testing]`.
"""

from plugway.testing._contract import BackendContract, FeatureContract, PluginContract
from plugway.testing._gateway import Gateway, build_plugin, gateway, request_body
from plugway.testing._plain import PlainBackend, PlainOptions
from plugway.testing._wire import assert_valid_stream, parse_sse

__all__ = [
    "BackendContract",
    "FeatureContract",
    "Gateway",
    "PlainBackend",
    "PlainOptions",
    "PluginContract",
    "assert_valid_stream",
    "build_plugin",
    "gateway",
    "parse_sse",
    "request_body",
]

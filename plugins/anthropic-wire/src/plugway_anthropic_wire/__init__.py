"""Shared parts of backends whose server speaks the Anthropic Messages API: a library, not a plugin.

`AnthropicBackend` sends requests and relays responses; `EndpointPlugin` and `EndpointOptions` turn
it into a plugin. Anything specific to one server belongs in that server's plugin.
"""

from plugway_anthropic_wire._backend import (
    MOST_LESSONS,
    NO_THINKING,
    AnthropicBackend,
    Wire,
    key_refusal,
    refuses_key,
)
from plugway_anthropic_wire._fitting import schemas_by
from plugway_anthropic_wire._grammar import named_tools
from plugway_anthropic_wire._headers import key_lines, open_headers, plain_headers
from plugway_anthropic_wire._models import (
    MAX_CURSOR,
    every_page,
    model_of,
    positive,
    seen,
    toolless_notice,
)
from plugway_anthropic_wire._options import AddressOptions, EndpointOptions, checked_url
from plugway_anthropic_wire._plugin import EndpointPlugin, upstream_of, zone_of
from plugway_anthropic_wire._relayed import (
    Payloads,
    RawChunks,
    RelayedApi,
    Rewriter,
    is_unchanged,
    usage_in,
)
from plugway_upstream_errors import retry_after

__all__ = [
    "MAX_CURSOR",
    "MOST_LESSONS",
    "NO_THINKING",
    "AddressOptions",
    "AnthropicBackend",
    "EndpointOptions",
    "EndpointPlugin",
    "Payloads",
    "RawChunks",
    "RelayedApi",
    "Rewriter",
    "Wire",
    "checked_url",
    "every_page",
    "is_unchanged",
    "key_lines",
    "key_refusal",
    "model_of",
    "named_tools",
    "open_headers",
    "plain_headers",
    "positive",
    "refuses_key",
    "retry_after",
    "schemas_by",
    "seen",
    "toolless_notice",
    "upstream_of",
    "usage_in",
    "zone_of",
]

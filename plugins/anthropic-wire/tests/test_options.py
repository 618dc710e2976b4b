"""Addresses, keys and zones of a server."""

import pytest
from pydantic import ValidationError

from plugway import Exchange, MessagesRequest, Upstream
from plugway.testing import build_plugin
from plugway.types.exchange import Attempt
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    upstream_of,
    zone_of,
)

pytestmark = pytest.mark.anyio


class Mine(EndpointPlugin[EndpointOptions]):
    """The plugin of the README."""

    def make_backend(self):
        upstream = upstream_of(self.options)
        return AnthropicBackend(self.name, zone_of(self.options, upstream), upstream)


@pytest.mark.parametrize(
    ("options", "zone"),
    [
        ({"base_url": "http://127.0.0.1:1"}, "local"),
        ({"base_url": "http://localhost:1/"}, "local"),
        ({"base_url": "http://[::1]:1"}, "local"),
        ({"base_url": "http://192.168.1.5:8000"}, "192.168.1.5:8000"),
        ({"base_url": "https://api.example.com/anthropic"}, "api.example.com"),
        ({"base_url": "http://192.168.1.5:8000", "zone": "local"}, "local"),
    ],
)
def test_the_zone_follows_the_address_unless_it_is_set(options, zone):
    assert build_plugin(Mine, "x", **options).backend.zone == zone


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "base_url"),
        ({"base_url": "http://192.168.1.5", "api_key": "k"}, "clear text"),
        ({"base_url": "http://169.254.169.254"}, "metadata"),
        ({"base_url": "http://127.0.0.1:1/v1"}, "/v1"),
        ({"base_url": "http://127.0.0.1:1/v1/"}, "/v1"),
        ({"base_url": "http://127.0.0.1:1/v1/messages"}, "/v1/messages"),
        ({"base_url": "http://127.0.0.1:1", "key_header": "cookie"}, "key_header"),
        ({"base_url": "http://127.0.0.1:1", "zone": " "}, "zone"),
        ({"base_url": "http://127.0.0.1:1", "connect_seconds": 0}, "connect_seconds"),
    ],
)
def test_mistakes_are_named(options, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        build_plugin(Mine, "x", **options)
    assert "k'" not in str(caught.value)


async def test_fields_that_steer_other_gateways_are_taken_away_on_the_record():
    plugin = build_plugin(Mine, "x", base_url="http://127.0.0.1:1")
    asked = MessagesRequest(b'{"model":"m","api_base":"http://evil","provider":{"only":[]},"n":1}')
    exchange = Exchange(asked)
    changed = await _prepared(plugin, asked, plugin.backend, exchange)
    assert changed.raw == b'{"model":"m","n":1}'
    assert {change.field for change in changed.changes} == {"api_base", "provider"}
    plain = MessagesRequest(b'{"model":"m"}')
    assert await _prepared(plugin, plain, plugin.backend, exchange) is plain
    other = AnthropicBackend("other", "local", Upstream("http://127.0.0.1:2"))
    assert await _prepared(plugin, asked, other, exchange) is None


async def _prepared(plugin, asked, backend, exchange):
    return await plugin.prepare_attempt(asked, Attempt(backend, "m"), exchange)

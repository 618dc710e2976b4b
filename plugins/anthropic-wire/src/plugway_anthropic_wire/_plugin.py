"""The base of plugins that register one backend behind one address."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from plugway import (
    REMOVE,
    Attempt,
    Backend,
    Exchange,
    MessagesRequest,
    Plugin,
    Upstream,
    hookimpl,
)
from plugway_anthropic_wire._backend import AnthropicBackend
from plugway_anthropic_wire._headers import key_lines
from plugway_anthropic_wire._options import AddressOptions, EndpointOptions

AddressOptionsT = TypeVar("AddressOptionsT", bound=AddressOptions)

STEERING: Final = frozenset(
    (
        "api_base",
        "api_key",
        "base_url",
        "custom_host",
        "custom_llm_provider",
        "extra_headers",
        "provider",
    )
)
"""Body fields with which clients of some gateways choose where a request goes. Here the
configuration alone does, and a server that believes them must not see them either."""


class EndpointPlugin(Plugin[AddressOptionsT], ABC):
    """Registers one backend; opens and closes what it talks through.

    A subclass gives its options in the brackets and overrides `make_backend`.
    """

    def __init__(self, options: AddressOptionsT, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = self.make_backend()

    @abstractmethod
    def make_backend(self) -> AnthropicBackend:
        """The backend of this instance; called once."""

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Open connections are kept from start to end."""
        return self.backend

    @hookimpl
    def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Takes away what would steer another gateway; Anthropic itself gets it, and refuses it."""
        if attempt.backend is not self.backend or self.backend.wire.headers == "open":
            return None
        found: dict[str, Any] = dict.fromkeys(sorted(STEERING.intersection(request.fields)), REMOVE)
        if not found:
            return None
        return request.replace(because="where a request goes is the configuration's word", **found)


def upstream_of(options: EndpointOptions) -> Upstream:
    """The client for the address and key in `options`."""
    key = options.api_key.get_secret_value() if options.api_key else None
    return Upstream(
        options.base_url,
        credentials=key_lines(options.key_header, key),
        network=options,
        zone=options.zone or "",
    )


def zone_of(options: EndpointOptions, upstream: Upstream) -> str:
    """The zone as set, or `local` on this machine and the host's name elsewhere."""
    return options.zone or ("local" if upstream.loopback else host_of(options.base_url))


def host_of(url: str) -> str:
    """The host that a checked URL names."""
    return url.partition("://")[2].partition("/")[0]

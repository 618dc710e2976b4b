"""The base class of plugins that register one backend with one base URL."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import Any, Final, TypeVar

from plugway import (
    REMOVE,
    Attempt,
    Backend,
    Exchange,
    InvalidRequest,
    MessagesRequest,
    Plugin,
    Upstream,
    as_list,
    as_object,
    hookimpl,
)
from plugway_anthropic_wire._backend import AnthropicBackend
from plugway_anthropic_wire._caching import limit_markers, with_cache_markers
from plugway_anthropic_wire._claude import Claude, fitted
from plugway_anthropic_wire._fitting import fitted_to, plain_schemas, plain_tools
from plugway_anthropic_wire._headers import key_lines
from plugway_anthropic_wire._no_thinking import steers_thinking, switched_off
from plugway_anthropic_wire._options import AddressOptions, EndpointOptions
from plugway_anthropic_wire._searches import searches_as_text
from plugway_anthropic_wire._system_turns import plain_texts, with_reminders, without_blanks
from plugway_capabilities import NOTHING_KNOWN
from plugway_translation import Media, Notes, paired_request, replaced_media, unreadable
from plugway_wire.bounds import aside
from plugway_wire.pieces import Mark
from plugway_wire.shape import wrong_choice

_SOURCE: Final = Mark(b'"source"')
_MEDIA: Final = Mark(b'"image"', b'"document"')
AddressOptionsT = TypeVar("AddressOptionsT", bound=AddressOptions)

ASKED_SECONDS: Final = 1.0
"""Timeout for asking a server whether a model accepts images, while a request waits."""
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
"""Body fields with which clients of some gateways choose a target. Here only the configuration
does, and a server that honors them must not receive them."""


class EndpointPlugin(Plugin[AddressOptionsT], ABC):
    """Registers one backend, and opens and closes its connections.

    A subclass passes its options type in brackets and overrides `make_backend`.
    """

    def __init__(self, options: AddressOptionsT, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = self.make_backend()

    @abstractmethod
    def make_backend(self) -> AnthropicBackend:
        """Create the backend of this instance; called once."""

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Return the backend under this instance's name."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end."""
        return self.backend

    @hookimpl
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Adapt the request to the server.

        Repairs pairs of calls and results, removes fields that would steer another gateway, and
        replaces images and documents that the server or the model does not accept. Requests from
        clients of the Messages API to Anthropic itself stay unchanged.

        Raises:
            InvalidRequest: `tool_choice` is not valid in the Messages API; such servers ignore it.
        """
        if attempt.backend is not self.backend:
            return None
        request = await aside(request.heavy, partial(_paired, request))
        request = self._for_claude(request, attempt, exchange)
        if self.backend.no_thinking and exchange.endpoint != "count_tokens":
            request = await self._without_thinking(request, attempt)
        if (facts := self.backend.facts(attempt.model)) is not NOTHING_KNOWN:
            request = await aside(request.heavy, partial(fitted_to, request, facts))
        if self.backend.wire.headers == "open":
            shows = request.original is not None and _may_show(request)
            return await self._with_readable_media(request, attempt) if shows else request
        if request.original is None:  # texts from other APIs were handled above
            request = without_blanks(request)
        if "tool_choice" in request.fields:
            request = _with_valid_choice(request)
        if not STEERING.isdisjoint(request.fields):
            because = "the configuration decides where requests go"
            request = request.without(sorted(STEERING & request.fields), because=because)
        if _may_show(request):
            request = await self._with_readable_media(request, attempt)
        return request

    def _for_claude(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest:
        """Adapt a request written for another model or API to a Claude model.

        A request from another API also gets its late instructions as reminders, and cache markers.
        """
        claude = Claude.named(attempt.model)
        translated = request.original is not None
        if translated:
            request = limit_markers(plain_texts(request))
        requested = _is_requested(exchange.model_asked, attempt.model)
        if claude is not None and (translated or not requested):
            request = fitted(request, claude)
            if not claude.takes_system_turns:
                request = with_reminders(request)
        if translated and (self.backend.native or "claude" in attempt.model.lower()):
            return with_cache_markers(with_reminders(plain_schemas(request)))
        return plain_tools(request) if translated else request

    async def _without_thinking(
        self, request: MessagesRequest, attempt: Attempt
    ) -> MessagesRequest:
        """Turn thinking off if the client switches it off, or uses the Messages API, where no
        thinking is the default, and does not request it: not every server has that default.

        Fields that the server is known to reject are not added.
        """
        off = self.backend.no_thinking
        kind = as_object(request.get("thinking")).get("type")
        if kind not in (None, "disabled"):
            return request
        if kind is None and not await self._thinks_unasked(request, attempt):
            return request
        fields: dict[str, Any] = switched_off(request, off, self.backend.facts(attempt.model))
        if not fields:
            return request
        if "thinking" in request.fields:
            fields.setdefault("thinking", REMOVE)
        return request.replace(because="the client does not ask for thinking", **fields)

    async def _thinks_unasked(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether the model thinks by default and nothing in the request is about thinking."""
        if request.original is not None or any(c.field == "thinking" for c in request.changes):
            return False
        if any(steers_thinking(request.get(name)) for name in self.backend.no_thinking):
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKED_SECONDS):
                return await self.backend.thinks(attempt.model)
        return False

    async def _with_readable_media(
        self, request: MessagesRequest, attempt: Attempt
    ) -> MessagesRequest:
        """Replace images and documents that the server or the model does not accept."""
        backend, notes = self.backend, Notes()
        blind, translated = False, request.original is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(ASKED_SECONDS):
                if not backend.native:
                    blind = await backend.sees_images(attempt.model) is False

        def unfit(media: Media) -> str:
            if blind and media.kind == "image":
                return "the model does not accept images"
            return backend.unfit(media) or (unreadable(media) if translated else "")

        messages = as_list(request.get("messages"))
        shown = replaced_media(messages, unfit, notes)
        if shown is messages:
            return request
        return request.replace(because="; ".join(notes.lines()), messages=shown)


def _paired(request: MessagesRequest) -> MessagesRequest:
    """The request with valid pairs of calls and results, and searches as text."""
    return searches_as_text(paired_request(request))


def _is_requested(asked: str, model: str) -> bool:
    """Whether the client requested this model by its listed id (`anthropic/cloud/claude-...`)."""
    return asked.removesuffix("[1m]").endswith(model)


def _may_show(request: MessagesRequest) -> bool:
    """Whether there may be an image or document; a fast check: each has a `source`."""
    return _SOURCE.may_be_in(request, "messages") and _MEDIA.may_be_in(request, "messages")


def _with_valid_choice(request: MessagesRequest) -> MessagesRequest:
    """Remove a choice of a tool that is not offered. Raises `InvalidRequest` if it is malformed."""
    choice, tools = request.get("tool_choice"), as_list(request.get("tools"))
    if problem := wrong_choice({"tool_choice": choice, "tools": tools}):
        raise InvalidRequest(problem, retry=False, record=True)
    named = choice.get("name") if as_object(choice).get("type") == "tool" else None
    if named is None or any(as_object(tool).get("name") == named for tool in tools):
        return request
    because = "the named tool is not offered"
    return request.replace(because=because, tool_choice=REMOVE)


def upstream_of(options: EndpointOptions) -> Upstream:
    """The client for the URL and key in `options`."""
    key = options.api_key.get_secret_value() if options.api_key else None
    return Upstream(
        options.base_url,
        credentials=key_lines(options.key_header, key),
        network=options,
        zone=options.zone or "",
    )


def zone_of(options: EndpointOptions, upstream: Upstream) -> str:
    """The configured zone; by default `local` on this machine, else the host name."""
    return options.zone or ("local" if upstream.loopback else host_of(options.base_url))


def host_of(url: str) -> str:
    """The host of a validated URL."""
    return url.partition("://")[2].partition("/")[0]

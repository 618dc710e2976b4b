"""The base of plugins that register one backend behind one address."""

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
    aside,
    hookimpl,
    wrong_choice,
)
from plugway_anthropic_wire._backend import AnthropicBackend
from plugway_anthropic_wire._caching import fewer_marks, marked
from plugway_anthropic_wire._claude import Claude, fitted
from plugway_anthropic_wire._fitting import fitted_to, plain_schemas, plain_tools
from plugway_anthropic_wire._headers import key_lines
from plugway_anthropic_wire._options import AddressOptions, EndpointOptions
from plugway_anthropic_wire._searches import told_searches
from plugway_anthropic_wire._system_turns import plain_texts, reminded, without_blanks
from plugway_capabilities import Facts
from plugway_translation import Media, Notes, paired_request, replaced_media, unreadable

AddressOptionsT = TypeVar("AddressOptionsT", bound=AddressOptions)

ASKED_SECONDS: Final = 1.0
"""Patience with a server that is asked what a model sees while a request waits."""
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
    async def prepare_attempt(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest | None:
        """Puts calls and results of the conversation in pairs. Takes away what would steer another
        gateway, and puts words in the place of images and documents that the server or the model
        cannot take: Anthropic itself gets all of that of a client of its own API.

        Raises:
            InvalidRequest: `tool_choice` is none of the Messages API's, which such servers ignore.
        """
        if attempt.backend is not self.backend:
            return None
        request = await aside(request.heavy, partial(paired_request, request))
        request = await aside(request.heavy, partial(told_searches, request))
        request = self._for_claude(request, attempt, exchange)
        if (facts := self.backend.facts(attempt.model)) != Facts():
            request = await aside(request.heavy, partial(fitted_to, request, facts))
        if self.backend.wire.headers == "open":
            shows = request.original is not None and _may_show(request)
            return await self._seen(request, attempt) if shows else request
        if request.original is None:  # another API's texts are plain by now
            request = without_blanks(request)
        if "tool_choice" in request.fields:
            request = _chosen(request)
        found: dict[str, Any] = dict.fromkeys(sorted(STEERING.intersection(request.fields)), REMOVE)
        if found:
            because = "the configuration decides where requests go"
            request = request.replace(because=because, **found)
        if _may_show(request):
            request = await self._seen(request, attempt)
        if request.original is None and exchange.endpoint != "count_tokens":
            request = await self._unthinking(request, attempt)
        return request

    def _for_claude(
        self, request: MessagesRequest, attempt: Attempt, exchange: Exchange
    ) -> MessagesRequest:
        """The request as a Claude model takes it, where it was written for another model or in
        another API; one of another API with its late instructions as reminders, and marks for
        caching."""
        claude = Claude.named(attempt.model)
        translated = request.original is not None
        if translated:
            request = fewer_marks(plain_texts(request))
        if claude is not None and (translated or not _means(exchange.model_asked, attempt.model)):
            request = fitted(request, claude)
        if translated and (self.backend.native or "claude" in attempt.model.lower()):
            return marked(reminded(plain_schemas(request)))
        return plain_tools(request) if translated else request

    async def _unthinking(self, request: MessagesRequest, attempt: Attempt) -> MessagesRequest:
        """The request with the server's own word for no thinking, where the client asks for none:
        in the Messages API that is the default, and at such a server it is not."""
        off = self.backend.no_thinking
        if not off or any(change.field == "thinking" for change in request.changes):
            return request
        kind = as_object(request.get("thinking")).get("type")
        if kind not in (None, "disabled") or any(name in request.fields for name in off):
            return request
        if kind is None:
            with suppress(TimeoutError):
                async with asyncio.timeout(ASKED_SECONDS):
                    if await self.backend.thinks(attempt.model):
                        kind = "disabled"
        if kind is None:
            return request
        fields: dict[str, Any] = dict(off)
        if "thinking" in request.fields:
            fields = {"thinking": REMOVE, **off}
        return request.replace(because="the client does not ask for thinking", **fields)

    async def _seen(self, request: MessagesRequest, attempt: Attempt) -> MessagesRequest:
        """The request with the images and documents that can be read there."""
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


def _means(asked: str, model: str) -> bool:
    """Whether a client named that very model, as it is listed (`anthropic/cloud/claude-...`)."""
    return asked.removesuffix("[1m]").endswith(model)


def _may_show(request: MessagesRequest) -> bool:
    """Whether there may be an image or document, by a quick look: each has a source."""
    raw = request.unparsed("messages")
    data = request.raw if raw is None else bytes(raw)
    return b'"source"' in data and (b'"image"' in data or b'"document"' in data)


def _chosen(request: MessagesRequest) -> MessagesRequest:
    """The request with a choice among tools that can be made. Raises `InvalidRequest`."""
    choice, tools = request.get("tool_choice"), as_list(request.get("tools"))
    if problem := wrong_choice({"tool_choice": choice, "tools": tools}):
        raise InvalidRequest(problem, retry=False, record=True)
    named = choice.get("name") if as_object(choice).get("type") == "tool" else None
    if named is None or any(as_object(tool).get("name") == named for tool in tools):
        return request
    because = "the named tool is not offered"
    return request.replace(because=because, tool_choice=REMOVE)


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

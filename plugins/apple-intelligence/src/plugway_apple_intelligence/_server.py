"""The backend over a server on a Mac: `fm serve` (macOS 27) or `apfel` (macOS 26).

What `fm serve` does was read in public notes on its early builds, not in documentation of Apple's:
`01_CLI_REFERENCE.md` of llostinthesauce/fm-teardown and `README.md`, `AGENTS.md` and `fm-proxy.js`
of gregbarbosa/fm-proxy (betas of macOS 27). apfel: `README.md` and `Sources/Core/ApfelError.swift`
of Arthur-Ficial/apfel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    BackendUnavailable,
    MessagesRequest,
    ModelInfo,
    NoRoute,
    Original,
    Reply,
    Upstream,
    as_list,
    as_object,
)
from plugway_anthropic_wire import key_lines
from plugway_apple_intelligence._errors import (
    ASSETS_SECONDS,
    BUSY_SECONDS,
    Sizes,
    refused,
    too_long,
)
from plugway_apple_intelligence._options import PCC_ZONE, AppleIntelligenceOptions
from plugway_apple_intelligence._words import SWITCH_ON, described
from plugway_capabilities import Facts, Ledger
from plugway_openai_wire import Call, OpenAIBackend
from plugway_openai_wire.chat import ChatApi, Quirks

QUIRKS: Final = {
    "fm-serve": Quirks(formats="schema"),
    "apfel": Quirks(images=False, formats="object"),
}
APFEL_MODEL: Final = "apple-foundationmodel"
TOOLLESS_SECONDS: Final = 3600.0
"""For how long a server is known to refuse tools: it may be updated at any time."""
_CLEAR: Final = frozenset((401, 403, 404, 429))
"""Statuses that mean the same whatever the words."""
_TOOL_WORDS: Final = ("invalid tool definition", "tools are not supported")
_PROBE: Final[Mapping[str, Any]] = {
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 1,
    "stream": False,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "noop",
                "description": "",
                "parameters": {"type": "object", "properties": {}, "required": []},
            },
        }
    ],
}
"""The smallest request with a tool."""


class AppleChat(ChatApi):
    """Chat Completions as `fm serve` reads them."""

    def accepts_original(self, original: Original, facts: Facts) -> bool:
        """Never: what `call` adds would be missing."""
        return False

    def call(self, request: MessagesRequest, attempt: Attempt, facts: Facts) -> Call:
        """Without `stream` the server streams; without a tool's `description` it returns 400."""
        call = super().call(request, attempt, facts)
        body = {"stream": False, **call.body}
        if tools := as_list(body.get("tools")):
            body["tools"] = [_with_description(as_object(tool)) for tool in tools]
        return replace(call, body=body)


def _with_description(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {"description": "", **as_object(tool.get("function"))}}


class AppleServer(OpenAIBackend):
    """One tier of Apple's models behind a server."""

    def __init__(self, name: str, options: AppleIntelligenceOptions) -> None:
        key = options.api_key.get_secret_value() if options.api_key else None
        upstream = Upstream(
            options.address,
            credentials=key_lines("authorization", key),
            network=options,
            zone=options.zone or "",
        )
        super().__init__(
            name,
            _zone_of(options, upstream),
            upstream,
            AppleChat(QUIRKS[options.run]),
            provider=f"apple-{options.run}",
            ledger=Ledger(),
        )
        self._options = options
        self._toolless_until = 0.0

    @property
    def model(self) -> str:
        """The only model of this instance."""
        return APFEL_MODEL if self._options.run == "apfel" else self._options.tier

    @property
    def window(self) -> int:
        """Tokens of prompt and reply."""
        return self._options.window

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """As the base class; a server that refuses tools is remembered for an hour.

        Raises:
            NoRoute: another tier was named, which would be in another zone.
            BackendError: the request failed.
        """
        if attempt.model != self.model:
            raise NoRoute(self._only(attempt.model), retry=False, record=True)
        tools = request.offers_tools
        if tools and time.monotonic() < self._toolless_until:
            raise self._without_tools()
        try:
            return await super().send(request, attempt)
        except BackendRefused as refusal:
            if not tools or not _may_be_about_tools(refusal):
                raise
            takes = await self._takes_tools(attempt)
            if takes and _about_tools(refusal):
                raise self._bad_schema(refusal) from refusal
            if takes is not False:
                raise
            self._toolless_until = time.monotonic() + TOOLLESS_SECONDS
            raise self._without_tools() from refusal

    async def models(self) -> Sequence[ModelInfo]:
        """The instance's tier, if the server lists it."""
        listed = {info.id for info in await super().models()}
        if self.model not in listed:
            return []
        tools = self._options.run == "apfel" and time.monotonic() >= self._toolless_until
        able = ("tools",) if tools else ("structured_output",)
        return [described(self.model, self.window, *able)]

    def refused(self, refusal: BackendRefused) -> BackendError:
        """The error with what to do about it; the server's own texts are generic."""
        said = _joined(refusal.message)
        for words, make in _MEANINGS:
            if refusal.status not in _CLEAR and _joined(words) in said:
                return make(refusal, self)
        return super().refused(refusal)

    # ── tools ────────────────────────────────────────────────────────────────────────────────

    async def _takes_tools(self, attempt: Attempt) -> bool | None:
        """Whether the server accepts the smallest tool, so that only a schema was refused; None if
        it fails for another reason."""
        body = orjson.dumps({"model": self.model, **_PROBE})
        lines = (("content-type", "application/json"), ("accept", "application/json"))
        credentials = await self.credentials(attempt)
        response = await self.upstream.request(
            "POST", self.api.path, body=body, headers=lines, credentials=credentials
        )
        if response.status < 400:
            await response.aclose()
            return True
        refusal = BackendRefused(response.status, await response.refusal())
        return False if _may_be_about_tools(refusal) else None

    def _without_tools(self) -> BackendRefused:
        return refused(
            400,
            f"`{self.name}/{self.model}` does not accept tools: its server refuses even the "
            "smallest one. Use it for requests without tools, such as titles, and route others to "
            "another model. A newer macOS may accept tools; Plugway asks again after an hour",
        )

    def _bad_schema(self, refusal: BackendRefused) -> BackendRefused:
        return refused(
            400,
            f"`{self.name}/{self.model}` accepts tools, but not one of these: {refusal.message}. "
            "Simplify its schema, or route this request to another model",
            record=f"`{self.model}` refuses the schema of a tool",
        )

    def _only(self, model: str) -> str:
        tiers = ("system", "pcc")
        other = f"; for `{model}` add an instance with `tier: {model}`" if model in tiers else ""
        return f"model: {model}. `{self.name}` serves only `{self.model}`{other}"


def _zone_of(options: AppleIntelligenceOptions, upstream: Upstream) -> str:
    if options.tier == "pcc":
        return PCC_ZONE
    host = options.address.partition("://")[2].partition("/")[0]
    return options.zone or ("local" if upstream.loopback else host)


def _about_tools(refusal: BackendRefused) -> bool:
    said = refusal.message.lower()
    return any(words in said for words in _TOOL_WORDS)


def _may_be_about_tools(refusal: BackendRefused) -> bool:
    """Whether the server's words name tools. They differ; the smallest request decides."""
    return (
        bool(refusal.body)
        and refusal.status not in _CLEAR
        and any(word in refusal.message.lower() for word in ("tool", "function"))
    )


def _joined(text: str) -> str:
    """Without spaces: an error has a sentence, or the name of Apple's own error."""
    return text.lower().replace(" ", "").replace("_", "")


# ── errors of the servers ────────────────────────────────────────────────────────────────────


def _unavailable(refusal: BackendRefused, server: AppleServer) -> BackendError:
    cloud = server.model == "pcc"
    fix = (
        "Run `fm serve` in the foreground of the Terminal app on a Mac that is signed in to an "
        "Apple Account, or use `tier: system`"
        if cloud
        else f"Look at {SWITCH_ON} on that Mac: Apple Intelligence may be switched off, or its "
        "model still be downloading"
    )
    return BackendUnavailable(
        f"{refusal.message.rstrip('.')}. {fix}",
        status=503,
        permanent=cloud,
        retry_after=None if cloud else ASSETS_SECONDS,
        record=f"`{server.model}` is not available on its server",
    )


def _overflow(refusal: BackendRefused, server: AppleServer) -> BackendError:
    """The servers name no numbers; the sentence needs some, so that the client compacts."""
    return too_long(Sizes(0, server.window))


def _guide(refusal: BackendRefused, server: AppleServer) -> BackendError:
    return refused(
        400,
        f"`{server.model}` cannot be forced to call a tool, or a schema is not supported "
        f"({refusal.message}). Use `tool_choice: auto`, or another model",
        record="a forced call, or a schema, is not supported",
    )


def _guardrails(refusal: BackendRefused, server: AppleServer) -> BackendError:
    return refused(
        400,
        f"Apple's guardrails blocked this request or its reply ({refusal.message}). They sometimes "
        "block harmless text: rephrase it, or use another model",
        record="blocked by Apple's guardrails",
    )


def _rate(refusal: BackendRefused, server: AppleServer) -> BackendError:
    return BackendRefused(429, refusal.body, message=refusal.message, retry_after=BUSY_SECONDS)


_MEANINGS: Final[tuple[tuple[str, Callable[[BackendRefused, AppleServer], BackendError]], ...]] = (
    ("guardrail", _guardrails),
    ("context window", _overflow),
    ("is unavailable", _unavailable),
    ("not available in this context", _unavailable),
    ("use the terminal app", _unavailable),
    ("model assets are loading", _unavailable),
    ("unsupported generation guide", _guide),
    ("languagemodelerror", _rate),
)
"""Words in an error of `fm serve` or apfel, and the error that it becomes. The first row counts."""

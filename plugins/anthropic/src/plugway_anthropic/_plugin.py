"""The backend for Anthropic's API: selects the credential.

`plugway-anthropic-wire` sends requests and relays responses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from plugway import (
    Attempt,
    BackendError,
    BackendRefused,
    ModelInfo,
    Upstream,
)
from plugway_anthropic_wire import (
    AddressOptions,
    AnthropicBackend,
    EndpointPlugin,
    Wire,
    checked_url,
    key_lines,
)

_OF_ANTHROPIC = frozenset((b"authorization", b"x-api-key"))
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_KEPT = frozenset(
    ("authorization", "x-api-key", "cookie", "host", "content-length", "content-type", "connection")
)


class AnthropicOptions(AddressOptions):
    """Options of `anthropic`."""

    credential: Literal["key", "client"] = "key"
    """`key` sends `api_key`; `client` sends the credential for Anthropic that the client includes
    beside the gateway's token: its API key, or the login of its subscription."""
    base_url: str = "https://api.anthropic.com"
    """URL of the API, without `/v1`."""
    extra_headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Headers added to every request; they replace the client's headers of the same name."""

    @field_validator("credential")
    @classmethod
    def _there_is_a_key(cls, credential: str, info: ValidationInfo) -> str:
        given = info.data.get("api_key")
        if credential == "key" and given is None and "api_key" in info.data:
            raise ValueError(
                "needs `api_key`: {$env: ANTHROPIC_API_KEY} or {$keyring: anthropic}; or set "
                "`credential: client` where clients bring their own"
            )
        if credential == "client" and given is not None:
            raise ValueError("`client` sends no `api_key`; remove one of the two")
        return credential

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str, info: ValidationInfo) -> str:
        return checked_url(url, with_key=True)

    @field_validator("extra_headers")
    @classmethod
    def _headers_are_lines(cls, lines: dict[str, str]) -> dict[str, str]:
        lower = {name.lower(): value for name, value in lines.items()}
        for name, value in lower.items():
            if not _NAME.fullmatch(name) or not value.isprintable():
                raise ValueError(f"`{name}` is not a valid header")
            if name in _KEPT:
                raise ValueError(f"`{name}` is set elsewhere; keys belong in `api_key`")
        return lower


class AnthropicApi(AnthropicBackend):
    """Anthropic's API with one credential."""

    def __init__(self, name: str, options: AnthropicOptions) -> None:
        key = options.api_key.get_secret_value() if options.api_key else None
        lines = key_lines("x-api-key", key)
        upstream = Upstream(options.base_url, credentials=lines, network=options)
        wire = Wire(
            headers="open",
            query=True,
            native_errors=True,
            extra_headers=options.extra_headers,
            models_path="/v1/models?limit=1000",
        )
        super().__init__(name, "anthropic", upstream, wire)
        self._of_client = options.credential == "client"

    def credentials(self, attempt: Attempt) -> Mapping[str, str] | None:
        """The client's credential, if the configuration says so.

        Raises:
            BackendRefused: the client sent none.
        """
        if not self._of_client:
            return None
        brought = attempt.exchange.caller.credentials
        lines = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in brought
            if name in _OF_ANTHROPIC
        }
        if lines:
            return lines
        raise BackendRefused(
            401,
            b"",
            message=f"`{self.name}` is set to `credential: client`, but this request has no "
            "credential for Anthropic beside the gateway's token. Send the token as "
            "`plugway-token` or in the other of `authorization` and `x-api-key`, or give "
            f"`{self.name}` an `api_key` ({{$env: ANTHROPIC_API_KEY}}, or see `plugway keys`)",
            permanent=True,
        )

    def key_refused(self, refusal: BackendRefused) -> BackendError:
        """Return an error about the client's own credential unchanged."""
        return refusal if self._of_client else super().key_refused(refusal)

    async def models(self) -> Sequence[ModelInfo]:
        """Anthropic's list; empty without a key of the gateway."""
        return [] if self._of_client else await super().models()


class Anthropic(EndpointPlugin[AnthropicOptions]):
    """Registers Anthropic's API as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """Create the backend with the credential from the options."""
        return AnthropicApi(self.name, self.options)

"""The plugin: its options, and the backend it registers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Literal

from pydantic import Field

from plugway import Backend, Plugin, Upstream, hookimpl
from plugway_anthropic_wire import AddressOptions
from plugway_capabilities import Ledger
from plugway_gemini._backend import GeminiBackend
from plugway_translation import MediaPolicy


class GeminiOptions(AddressOptions):
    """Options of `gemini`."""

    base_url: str = "https://generativelanguage.googleapis.com"
    """URL of the API, without its version. With a key it must be https or on this machine."""
    api_version: Literal["v1", "v1beta", "v1alpha"] = "v1beta"
    """Version of the API in its paths."""
    media: MediaPolicy = "placeholder"
    """How to treat images and documents that Gemini does not support: `placeholder` replaces them
    with text, `reject` returns a 400."""
    safety: Literal["OFF", "BLOCK_NONE", "BLOCK_ONLY_HIGH", "BLOCK_MEDIUM_AND_ABOVE"] | None = None
    """Google's blocking threshold for all harm categories; Google's default if unset."""
    zone: Annotated[str, Field(min_length=1)] = "google"
    """Who receives the data."""


class Gemini(Plugin[GeminiOptions]):
    """Registers the Gemini API as a backend."""

    def __init__(self, options: GeminiOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        key = options.api_key.get_secret_value() if options.api_key else ""
        upstream = Upstream(
            options.base_url,
            credentials={"x-goog-api-key": key} if key else None,
            network=options,
            zone=options.zone,
        )
        self.backend = GeminiBackend(
            self.name,
            options.zone,
            upstream,
            Ledger(),
            version=options.api_version,
            media=options.media,
            safety=options.safety or "",
        )

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report no errors, only warn about a missing key."""
        if not self.options.api_key and not self.backend.upstream.loopback:
            self.log.warning(
                "Google requires a key and none is set: add `api_key: {$env: GEMINI_API_KEY}`"
            )
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Return the backend under this instance's name."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end."""
        return self.backend

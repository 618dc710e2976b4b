"""The plugin: one server of OpenAI's APIs, configured by preset and options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from plugway import (
    Backend,
    Headers,
    NetworkOptions,
    Plugin,
    Secret,
    Upstream,
    hookimpl,
)
from plugway_anthropic_wire import key_lines
from plugway_capabilities import Ledger
from plugway_embeddings import OpenAIEmbeddings
from plugway_openai_compatible._presets import KeyHeader, Preset, PresetName, presets
from plugway_openai_wire import Api, Endpoint, OpenAIBackend, address_problem
from plugway_openai_wire.chat import ChatApi
from plugway_openai_wire.responses import ResponsesApi
from plugway_translation import MediaPolicy

_PLAIN: Final = Preset()
_FORBIDDEN: Final = frozenset(("model", "messages", "input", "stream", "tools"))


def _extra_fits(extra: dict[str, Any]) -> dict[str, Any]:
    if wrong := sorted(_FORBIDDEN & extra.keys()):
        raise ValueError(f"must not set fields of the client's request: {', '.join(wrong)}")
    return extra


class OpenAICompatibleOptions(NetworkOptions):
    """Options of `openai-compatible`."""

    preset: PresetName | None = None
    """A known server: sets its URL and its features."""
    base_url: str = ""
    """URL as for OpenAI's own clients, usually ending in `/v1`; by default the preset's. With a key
    it must be https or on this machine."""
    api_key: Secret | None = None
    """Key of the server: `{$keyring: NAME}`, `{$env: NAME}` or `{$file: PATH}`."""
    key_header: KeyHeader | None = None
    """Header for the key; by default the preset's, or `authorization`, which sends it as
    `Bearer`."""
    api: Literal["chat", "responses"] = "chat"
    """The API to use: Chat Completions, or Responses."""
    zone: str | None = None
    """Who receives the data; by default `local` on this machine, else the host name."""
    images: bool | None = None
    """Whether models accept images; by default as in the preset, or yes."""
    media: MediaPolicy = "placeholder"
    """How to treat images and documents that a model does not accept: `placeholder` replaces them
    with text, `reject` returns a 400."""
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The field that limits the length of a reply, if the server requires the other one."""
    learn: bool = True
    """Remember in a file which fields a server rejected, and omit them from then on."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_extra_fits)] = Field(
        default_factory=dict[str, Any]
    )
    """Fields added to every request; they override other fields: `{provider: {sort: price}}` at
    OpenRouter, `{chat_template_kwargs: {enable_thinking: false}}` at vLLM."""

    @model_validator(mode="after")
    def _address_is_safe(self) -> OpenAICompatibleOptions:
        url = self.address
        if not url:
            missing = ": Azure has no default" if self.preset else ", or a `preset` with one"
            raise ValueError(f"`base_url` is required{missing}")
        if problem := address_problem(url, with_key=self.api_key is not None):
            raise ValueError(f"`base_url`: {problem}")
        return self

    @property
    def address(self) -> str:
        """The URL to use."""
        return (self.base_url or self.known.base_url).rstrip("/")

    @property
    def known(self) -> Preset:
        """The preset, or defaults for any server."""
        return presets()[self.preset] if self.preset else _PLAIN


class OpenAICompatible(Plugin[OpenAICompatibleOptions]):
    """Registers one server of OpenAI's APIs as a backend."""

    def __init__(self, options: OpenAICompatibleOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = make_backend(name, options)

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Report no errors, only warn about a missing key if the preset's server requires one."""
        preset = self.options.preset
        if preset and not self.options.api_key and not self.backend.upstream.loopback:
            text = "`%s` requires a key and none is set: add e.g. `api_key: {$env: %s_API_KEY}`"
            self.log.warning(text, preset, preset.upper())
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """Return the backend under this instance's name."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end."""
        return self.backend


class CompatibleBackend(OpenAIEmbeddings, OpenAIBackend):
    """A server of OpenAI's APIs, which may support embeddings."""

    embeddings_path = "/embeddings"

    def embedding_lines(self) -> Headers:
        """The headers of every request."""
        return tuple(self.endpoint.headers.items())


def make_backend(name: str, options: OpenAICompatibleOptions) -> OpenAIBackend:
    """Create the backend for `options`."""
    preset = options.known
    key = options.api_key.get_secret_value() if options.api_key else None
    header = options.key_header or preset.key_header
    upstream = Upstream(
        options.address,
        credentials=key_lines(header, key),
        network=options,
        zone=options.zone or "",
    )
    host = options.address.partition("://")[2].partition("/")[0]
    return CompatibleBackend(
        name,
        options.zone or ("local" if upstream.loopback else host),
        upstream,
        _api(options, preset),
        provider=options.preset or name,
        ledger=Ledger() if options.learn else None,
        endpoint=Endpoint(models_path=preset.models_path),
    )


def _api(options: OpenAICompatibleOptions, preset: Preset) -> Api:
    if options.api == "responses":
        return ResponsesApi(media=options.media)
    changes: Mapping[str, Any] = {
        "images": options.images,
        "output_limit_field": options.output_limit_field,
        "extra_body": options.extra_body or None,
    }
    quirks = replace(preset.quirks, **{k: v for k, v in changes.items() if v is not None})
    return ChatApi(quirks, options.media)

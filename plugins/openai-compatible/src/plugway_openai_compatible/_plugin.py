"""The plugin: one server of OpenAI's APIs behind one address, by preset and options."""

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
    url_problem,
)
from plugway_anthropic_wire import key_lines
from plugway_capabilities import Ledger
from plugway_embeddings import OpenAIEmbeddings
from plugway_openai_compatible._presets import KeyHeader, Preset, PresetName, presets
from plugway_openai_wire import Api, Endpoint, OpenAIBackend
from plugway_openai_wire.chat import ChatApi
from plugway_openai_wire.responses import ResponsesApi
from plugway_translation import MediaPolicy

_PLAIN: Final = Preset()
_FORBIDDEN: Final = frozenset(("model", "messages", "input", "stream", "tools"))


def _extra_fits(extra: dict[str, Any]) -> dict[str, Any]:
    if wrong := sorted(_FORBIDDEN & extra.keys()):
        raise ValueError(f"may not set what the client asks for: {', '.join(wrong)}")
    return extra


class OpenAICompatibleOptions(NetworkOptions):
    """Options of `openai-compatible`."""

    preset: PresetName | None = None
    """A known server: sets its address and what is particular to it."""
    base_url: str = ""
    """Address as for OpenAI's own clients, mostly ending in `/v1`; the preset's unless set. With a
    key it must be https, or on this machine."""
    api_key: Secret | None = None
    """Key of the server: `{$keyring: NAME}`, `{$env: NAME}` or `{$file: PATH}`."""
    key_header: KeyHeader | None = None
    """Header that carries the key; `authorization`, which carries it as `Bearer`, or the
    preset's."""
    api: Literal["chat", "responses"] = "chat"
    """The API that is spoken: Chat Completions, or Responses."""
    zone: str | None = None
    """In whose hands the data is: `local` on this machine, elsewhere the host, unless set."""
    images: bool | None = None
    """Models see images; the preset's word, or yes, unless set."""
    media: MediaPolicy = "placeholder"
    """What becomes of images and documents that a model cannot take: words in their place
    (`placeholder`), or an error (`reject`)."""
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] | None = None
    """The field that limits the length of an answer, where a server wants the other one."""
    learn: bool = True
    """Remember, in a file, which fields a server refused, and leave them out from then on."""
    extra_body: Annotated[dict[str, Any], AfterValidator(_extra_fits)] = Field(
        default_factory=dict[str, Any]
    )
    """Fields for every request, over everything else: `{provider: {sort: price}}` at OpenRouter,
    `{chat_template_kwargs: {enable_thinking: false}}` at vLLM."""

    @model_validator(mode="after")
    def _address_is_safe(self) -> OpenAICompatibleOptions:
        url = self.address
        if not url:
            missing = "Azure has none of its own" if self.preset else "or a `preset` that has one"
            raise ValueError(f"`base_url` is needed: {missing}")
        if problem := url_problem(url, with_key=self.api_key is not None):
            raise ValueError(f"`base_url`: {problem}")
        return self

    @property
    def address(self) -> str:
        """The address that is used."""
        return (self.base_url or self.known.base_url).rstrip("/")

    @property
    def known(self) -> Preset:
        """The preset, or what any server takes."""
        return presets()[self.preset] if self.preset else _PLAIN


class OpenAICompatible(Plugin[OpenAICompatibleOptions]):
    """Registers one server of OpenAI's APIs as a backend."""

    def __init__(self, options: OpenAICompatibleOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        self.backend = make_backend(name, options)

    def check(self, zones: Mapping[str, str]) -> Sequence[tuple[tuple[str | int, ...], str]]:
        """Nothing is wrong; a key that is missing where the preset's server wants one is odd."""
        preset = self.options.preset
        if preset and not self.options.api_key and not self.backend.upstream.loopback:
            told = "`%s` wants a key and none is set: `api_key: {$env: %s_API_KEY}`, for example"
            self.log.warning(told, preset, preset.upper())
        return ()

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Open connections are kept from start to end."""
        return self.backend


class CompatibleBackend(OpenAIEmbeddings, OpenAIBackend):
    """A server of OpenAI's APIs, which may make embeddings, too."""

    embeddings_path = "/embeddings"

    def embedding_lines(self) -> Headers:
        """Those of every request."""
        return tuple(self.endpoint.headers.items())


def make_backend(name: str, options: OpenAICompatibleOptions) -> OpenAIBackend:
    """The backend that `options` describe."""
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

"""The backend for OpenAI's API: which of its two APIs, whose key, and which models can chat.

Translating is the business of `plugway-openai-wire`; what a model takes, of `plugway-capabilities`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Final, Literal
from urllib.parse import urlsplit

from pydantic import ValidationInfo, field_validator

from plugway import (
    Backend,
    Headers,
    ModelInfo,
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
from plugway_openai_wire import Api, Endpoint, OpenAIBackend
from plugway_openai_wire.chat import ChatApi, Quirks
from plugway_openai_wire.responses import ResponsesApi
from plugway_translation import MediaPolicy

OWN_HOST: Final = "api.openai.com"
_CHAT: Final = Quirks(
    output_limit_field="max_completion_tokens",
    system_turns="keep",
    text_parts=True,
    documents=True,
    reasoning="effort",
    efforts=("none", "minimal", "low", "medium", "high", "xhigh", "max"),
    # "Function tools with reasoning_effort are not supported for gpt-5.6-luna in
    # /v1/chat/completions": 400 of OpenAI, from GPT-5.4 on.
    effortless_tools=r"gpt-(?:5\.[4-9]|[6-9]|\d\d)",
    reasoning_back=False,
    parallel_flag=True,
    strict=True,
    user_field="safety_identifier",
    cache_key_field="prompt_cache_key",
)
_NO_CHAT: Final = re.compile(
    r"embedding|whisper|tts|dall-e|image|audio|realtime|transcribe|moderation|sora|davinci|babbage"
    r"|computer-use|search-api|deep-research"
)
"""Models that are listed and do not answer in text."""
_REASONS: Final = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)|codex")
_HEADER: Final = re.compile(r"[\w-]{1,100}")


class OpenAIOptions(NetworkOptions):
    """Options of `openai`."""

    api_key: Secret
    """Key of the API: `{$keyring: NAME}`, `{$env: OPENAI_API_KEY}` or `{$file: PATH}`."""
    api: Literal["responses", "chat"] = "responses"
    """Which API: `responses`, where models keep what they thought across turns, or `chat`."""
    base_url: str = "https://api.openai.com/v1"
    """Address of the API, with `/v1`. It must be https, or on this machine."""
    organization: str = ""
    """Id of the organization that is billed, where the key belongs to several."""
    project: str = ""
    """Id of the project that is billed, where the key belongs to several."""
    media: MediaPolicy = "placeholder"
    """What becomes of images and documents that a model cannot take: words in their place, or a
    400 (`reject`)."""
    web_search: bool = True
    """Let OpenAI search the web where a client asks for Anthropic's tool that does; OpenAI bills
    each search. Only with `api: responses`."""
    zone: str = ""
    """In whose hands the data is: `openai`, `local` at a `base_url` on this machine, or the host of
    another one, unless set."""

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str) -> str:
        if problem := url_problem(url, with_key=True):
            raise ValueError(problem)
        url = url.rstrip("/")
        return url if urlsplit(url).path else f"{url}/v1"

    @field_validator("organization", "project")
    @classmethod
    def _id_is_a_header(cls, text: str, info: ValidationInfo) -> str:
        if text and not _HEADER.fullmatch(text):
            raise ValueError(f"`{info.field_name}` is an id such as `org-…` or `proj_…`")
        return text


class OpenAIApi(OpenAIEmbeddings, OpenAIBackend):
    """OpenAI's API under one key."""

    embeddings_path = "/embeddings"

    def embedding_lines(self) -> Headers:
        """The organization and project."""
        return tuple(self.endpoint.headers.items())

    @property
    def runs_tools(self) -> tuple[str, ...]:
        """How the types of Anthropic's server tools begin that it runs by itself, for the plugin
        `server-tools`."""
        return self.api.runs_tools if isinstance(self.api, ResponsesApi) else ()

    async def models(self) -> Sequence[ModelInfo]:
        """The models of the key that answer in text, with what is known of each."""
        return [described(info) for info in await super().models() if chats(info.id)]


def chats(model: str) -> bool:
    """Whether a listed model answers in text."""
    return not _NO_CHAT.search(model)


def described(info: ModelInfo) -> ModelInfo:
    """A model of OpenAI's, whose list says nothing but the name."""
    name = info.id.removeprefix("ft:")
    able = {"tools", "structured_output"}
    able |= {"thinking"} if _REASONS.match(name) else set()
    able |= set() if name.startswith(("gpt-3.5", "o1-mini", "o3-mini")) else {"images"}
    return replace(info, capabilities=info.capabilities | able)


class OpenAI(Plugin[OpenAIOptions]):
    """Registers OpenAI's API as a backend."""

    def __init__(self, options: OpenAIOptions, *, name: str = "") -> None:
        super().__init__(options, name=name)
        key = options.api_key.get_secret_value()
        upstream = Upstream(
            options.base_url,
            credentials=key_lines("authorization", key),
            network=options,
            zone=options.zone,
        )
        self.backend = OpenAIApi(
            self.name,
            zone_of(options, upstream),
            upstream,
            api_of(options),
            provider="openai",
            ledger=Ledger(),
            endpoint=Endpoint(headers=account_lines(options)),
        )

    @hookimpl
    def register_backends(self) -> list[Backend]:
        """The backend under the name of this instance."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Open connections are kept from start to end."""
        return self.backend


def api_of(options: OpenAIOptions) -> Api:
    """The API that the options choose."""
    if options.api == "chat":
        return ChatApi(_CHAT, options.media)
    return ResponsesApi(media=options.media, web_search=options.web_search)


def zone_of(options: OpenAIOptions, upstream: Upstream) -> str:
    """The zone as set; `openai` at its own address, otherwise as for any server of its API."""
    host = urlsplit(options.base_url).netloc
    own = "openai" if host == OWN_HOST else host
    return options.zone or ("local" if upstream.loopback else own)


def account_lines(options: OpenAIOptions) -> dict[str, str]:
    """The header lines that say who is billed."""
    lines = {
        "openai-organization": options.organization,
        "openai-project": options.project,
    }
    return {name: value for name, value in lines.items() if value}

"""The backend for OpenAI's API: selects the API, the key and the chat models.

`plugway-openai-wire` translates; `plugway-capabilities` records what a model supports.
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
)
from plugway_anthropic_wire import key_lines
from plugway_capabilities import Ledger
from plugway_embeddings import OpenAIEmbeddings
from plugway_openai_wire import Api, Endpoint, OpenAIBackend, address_problem
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
    openai_fields=True,
)
_NO_CHAT: Final = re.compile(
    r"embedding|whisper|tts|dall-e|image|audio|realtime|transcribe|moderation|sora|davinci|babbage"
    r"|computer-use|search-api|deep-research"
)
"""Listed models that do not reply with text."""
_REASONS: Final = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)|codex")
_HEADER: Final = re.compile(r"[\w-]{1,100}")


class OpenAIOptions(NetworkOptions):
    """Options of `openai`."""

    api_key: Secret
    """Key of the API: `{$keyring: NAME}`, `{$env: OPENAI_API_KEY}` or `{$file: PATH}`."""
    api: Literal["responses", "chat"] = "responses"
    """`responses`, where models keep their reasoning across turns, or `chat`."""
    base_url: str = "https://api.openai.com/v1"
    """URL of the API, with `/v1`. It must be https or on this machine."""
    organization: str = ""
    """Id of the organization to bill, if the key belongs to several."""
    project: str = ""
    """Id of the project to bill, if the key belongs to several."""
    media: MediaPolicy = "placeholder"
    """How to treat images and documents that a model does not accept: `placeholder` replaces them
    with text, `reject` returns a 400."""
    web_search: bool = True
    """Let OpenAI run web searches if a client offers Anthropic's web search tool; OpenAI bills each
    search. Only with `api: responses`."""
    zone: str = ""
    """Who receives the data; by default `openai`, `local` for a `base_url` on this machine, else
    its host name."""

    @field_validator("base_url")
    @classmethod
    def _address_is_safe(cls, url: str) -> str:
        if problem := address_problem(url, with_key=True):
            raise ValueError(problem)
        url = url.rstrip("/")
        return url if urlsplit(url).path else f"{url}/v1"

    @field_validator("organization", "project")
    @classmethod
    def _id_is_a_header(cls, text: str, info: ValidationInfo) -> str:
        if text and not _HEADER.fullmatch(text):
            raise ValueError(f"`{info.field_name}` must be an id such as `org-…` or `proj_…`")
        return text


class OpenAIApi(OpenAIEmbeddings, OpenAIBackend):
    """OpenAI's API with one key."""

    embeddings_path = "/embeddings"

    def embedding_lines(self) -> Headers:
        """The headers for organization and project."""
        return tuple(self.endpoint.headers.items())

    @property
    def runs_tools(self) -> tuple[str, ...]:
        """Type prefixes of Anthropic's server tools that the API runs itself, for the plugin
        `server-tools`."""
        return self.api.runs_tools if isinstance(self.api, ResponsesApi) else ()

    async def models(self) -> Sequence[ModelInfo]:
        """The key's text models, with known facts."""
        return [described(info) for info in await super().models() if chats(info.id)]


def chats(model: str) -> bool:
    """Whether a listed model replies with text."""
    return not _NO_CHAT.search(model)


def described(info: ModelInfo) -> ModelInfo:
    """A model of OpenAI's list, which contains only names, with its capabilities."""
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
        """Return the backend under this instance's name."""
        return [self.backend]

    @hookimpl
    def lifespan(self) -> AbstractAsyncContextManager[object]:
        """Keep connections open from start to end."""
        return self.backend


def api_of(options: OpenAIOptions) -> Api:
    """The configured API."""
    if options.api == "chat":
        return ChatApi(_CHAT, options.media)
    return ResponsesApi(media=options.media, web_search=options.web_search)


def zone_of(options: OpenAIOptions, upstream: Upstream) -> str:
    """The configured zone, or the default for the URL."""
    host = urlsplit(options.base_url).netloc
    own = "openai" if host == OWN_HOST else host
    return options.zone or ("local" if upstream.loopback else own)


def account_lines(options: OpenAIOptions) -> dict[str, str]:
    """The headers that select the account to bill."""
    lines = {
        "openai-organization": options.organization,
        "openai-project": options.project,
    }
    return {name: value for name, value in lines.items() if value}

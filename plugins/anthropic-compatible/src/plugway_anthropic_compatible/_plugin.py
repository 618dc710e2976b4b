"""The backend for a server of the Messages API that is given by its URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field

from plugway import ModelInfo, Options
from plugway_anthropic_wire import (
    AnthropicBackend,
    EndpointOptions,
    EndpointPlugin,
    Wire,
    upstream_of,
    zone_of,
)


def _is_path(path: str) -> str:
    if not path.startswith("/") or not path.isascii() or set(path) & set(" ?#\\"):
        raise ValueError("should start with `/`, without query, spaces or backslashes")
    if ".." in path.split("/") or not path.isprintable():
        raise ValueError("should be a plain path, without `..`")
    return path.rstrip("/")


def _from_name(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


Path = Annotated[str, AfterValidator(_is_path)]


class StatedModel(Options):
    """A model listed in the configuration."""

    id: str = Field(min_length=1)
    """The server's name for it."""
    context_tokens: int = Field(default=0, ge=0)
    """Its context window in tokens; 0 if unknown."""
    max_output_tokens: int = Field(default=0, ge=0)
    """Maximum tokens of a reply; 0 if unknown."""


class AnthropicCompatibleOptions(EndpointOptions):
    """Options of `anthropic-compatible`."""

    models: tuple[Annotated[StatedModel, BeforeValidator(_from_name)], ...] = ()
    """Models to list, by name or as `{id, context_tokens, max_output_tokens}`; if empty, the server
    is asked."""
    messages_path: Path = "/v1/messages"
    """Path of the Messages API below `base_url`; `/count_tokens` is appended to count tokens."""
    models_path: Path = "/v1/models"
    """Path of the model list below `base_url`."""
    native_errors: bool = False
    """The server's errors are Anthropic's own: pass them to clients unchanged."""
    answer_seconds: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Timeout for the first byte of a response; the server's own limits if unset."""


class StatedBackend(AnthropicBackend):
    """A server whose models may be listed in the configuration."""

    stated: Sequence[StatedModel] = ()

    async def models(self) -> Sequence[ModelInfo]:
        """The configured models, or else the server's list."""
        if not self.stated:
            return await super().models()
        return [
            ModelInfo(m.id, context_tokens=m.context_tokens, max_output_tokens=m.max_output_tokens)
            for m in self.stated
        ]


class AnthropicCompatible(EndpointPlugin[AnthropicCompatibleOptions]):
    """Registers one server as a backend."""

    def make_backend(self) -> AnthropicBackend:
        """Create the backend for `base_url`."""
        options = self.options
        upstream = upstream_of(options)
        wire = Wire(
            native_errors=options.native_errors,
            messages_path=options.messages_path,
            models_path=options.models_path,
            answer_seconds=options.answer_seconds,
        )
        backend = StatedBackend(self.name, zone_of(options, upstream), upstream, wire)
        backend.stated = options.models
        return backend

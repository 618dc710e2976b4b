"""The protocol of backends, optional protocols that they may implement, and models and callers.

Hooks choose backends and retry; `upstream/upstream` is the HTTP client.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from plugway.types.request import MessagesRequest
from plugway.types.response import Reply
from plugway_wire.errors import Headers

if TYPE_CHECKING:
    from plugway.types.exchange import Attempt

OWNER: Final = "owner"
"""The caller with the gateway's own token; also used for requests of plugins."""
ANONYMOUS: Final = "anonymous"
"""The caller without a token, on a public path."""
RESERVED_CALLERS: Final = (OWNER, ANONYMOUS)
"""Caller names that a limited token must not have."""

Zone = str
"""Where data goes: `local` for this machine, otherwise a vendor or a host."""

LoadState = Literal["loaded", "unloaded", "loading", "unknown"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a backend, as far as known. Sizes are in tokens; 0 means unknown."""

    id: str
    """The backend's own name of the model."""
    display_name: str = ""
    context_tokens: int = 0
    max_output_tokens: int = 0
    state: LoadState = "unknown"
    capabilities: frozenset[str] = frozenset()
    """Any of `tools`, `images`, `thinking`, `structured_output`."""
    created_at: str = "1970-01-01T00:00:00Z"
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """More data. `capabilities`, in Anthropic's format, are listed unchanged."""
    notice: str = ""
    """One or two sentences that a user should read before the first prompt."""


class Usage(NamedTuple):
    """Token counts of one exchange, as in the client's reply."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """The caller of a request, and its own credentials for upstreams. A plugin that authenticates
    callers may return a subclass with more fields."""

    name: str = OWNER
    """`owner` for the gateway's own token, the configured name for a limited one, `anonymous` on a
    public path. Logs and receipts contain it."""
    credentials: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Credential headers other than the gateway's token: the caller's own, for an upstream."""
    models: tuple[str, ...] = ()
    """Patterns of `instance/model` that the caller may use; empty for all."""

    @property
    def limited(self) -> bool:
        """Whether the caller may use some models only, and nothing else of the gateway."""
        return bool(self.models)

    @property
    def share(self) -> str:
        """The group within which cached prompts may be shared: a limited caller's name; empty for
        all others together."""
        return self.name if self.models else ""

    def may_use(self, target: str) -> bool:
        """Whether requests of this caller may go to `instance/model`."""
        return not self.models or any(fnmatchcase(target, one) for one in self.models)


@runtime_checkable
class Backend(Protocol):
    """Serves Messages requests. A plugin registers one per configured instance."""

    @property
    def name(self) -> str:
        """The instance's name, unique in the configuration."""
        ...

    @property
    def zone(self) -> Zone:
        """Where requests to this backend go."""
        ...

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference.

        The request's model is already `attempt.model`. The reply to a streaming request may be
        whole, and vice versa: the kernel converts it.

        Raises:
            BackendError: the attempt failed; another may be made.
            RequestRejected: the request is at fault; no other attempt is made.
        """
        ...

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """Input tokens of the request, the upstream's own reply, or None if it cannot count."""
        ...

    async def models(self) -> Sequence[ModelInfo]:
        """The models that it serves now.

        Raises `BackendError`: the list cannot be read; the last known one is used instead.
        """
        ...


@runtime_checkable
class Loads(Protocol):
    """A backend that can load and unload models."""

    async def load(self, model: str) -> None:
        """Load `model` into memory. Raises `BackendError` or `RequestRejected` on failure."""
        ...

    async def unload(self, model: str) -> bool:
        """Remove `model` from memory; False if nothing was unloaded. Raises `BackendError`."""
        ...


@runtime_checkable
class SpeaksMessages(Protocol):
    """A backend whose server speaks the Messages API, so requests need no translation; plugins use
    it to find out which features the server supports."""

    @property
    def native(self) -> bool:
        """The server is the API vendor's own: it accepts requests as clients send them."""
        ...

    @property
    def kind(self) -> str:
        """The kind of server in one lower-case word, if known."""
        ...


@runtime_checkable
class Translates(Protocol):
    """A backend whose server speaks another API: `explain` shows what would be sent."""

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body in the server's API. Raises `RequestRejected` as `send` does."""
        ...


@runtime_checkable
class Addresses(Protocol):
    """A backend with a server: `explain` shows the URL and headers of its requests."""

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL, and the headers without credentials."""
        ...


@runtime_checkable
class Reaches(Protocol):
    """A backend whose server is reached over a network: `check` and `doctor` show how."""

    @property
    def way(self) -> str:
        """How the server is reached, as text: directly, or through a proxy (`Upstream.way`)."""
        ...


@runtime_checkable
class Relays(Protocol):
    """A backend whose server speaks a dialect of clients too (`MessagesRequest.original`)."""

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether `send` would pass on the client's bytes, except the model name.

        Plugins use it to find out whether losses in the Messages API matter.
        """
        ...

    def losses(self, request: MessagesRequest, attempt: Attempt) -> Sequence[str]:
        """Those of `Original.notes` that are true if it does not."""
        ...

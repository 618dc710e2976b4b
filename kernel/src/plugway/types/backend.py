"""What a backend is, what it says about itself, and what it is asked.

Choosing among backends and retrying are hooks; talking to an upstream is `upstream/upstream`'s
business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

from plugway.types.errors import Headers
from plugway.types.request import MessagesRequest
from plugway.types.response import Reply

if TYPE_CHECKING:
    from plugway.types.attempt import Attempt

OWNER: Final = "owner"
"""The caller with the gateway's own token, and the gateway itself where a plugin asks."""
RESERVED_CALLERS: Final = (OWNER, "anonymous")
"""Names of callers that no limited token may have."""

Zone = str
"""Where data goes: `local` for this machine, otherwise a vendor or a host."""

LoadState = Literal["loaded", "unloaded", "loading", "unknown"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model of a backend, as far as it is known. Sizes in tokens; 0 means unknown."""

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
    """More facts. `capabilities`, as Anthropic states them, are listed as they are."""
    notice: str = ""
    """What a person should read before the first prompt, in one or two sentences."""


class Usage(NamedTuple):
    """Token counts of one exchange, as the client was told."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_creation_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling, and the credentials it carries for somebody else."""

    name: str = OWNER
    """`owner` with the gateway's own token, the configured name of a limited one, `anonymous` on a
    public path. What is recorded of a request says it."""
    credentials: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    """Credential headers that were not the gateway's token: the caller's own, for an upstream."""
    models: tuple[str, ...] = ()
    """Patterns of `instance/model` that it may use; none for a caller that may use all."""

    @property
    def limited(self) -> bool:
        """Whether it may use some models only, and nothing else of the gateway."""
        return bool(self.models)

    @property
    def share(self) -> str:
        """Among whom what is kept of prompts may be shared: a limited caller's name, otherwise
        empty, for all others together."""
        return self.name if self.models else ""

    def may_use(self, target: str) -> bool:
        """Whether a request of it may go to `instance/model`."""
        return not self.models or any(fnmatchcase(target, one) for one in self.models)


@runtime_checkable
class Backend(Protocol):
    """Something that answers Messages requests. A plugin registers one per configured instance."""

    @property
    def name(self) -> str:
        """The instance's name, unique in the configuration."""
        ...

    @property
    def zone(self) -> Zone:
        """Where a request goes that is sent here."""
        ...

    async def send(self, request: MessagesRequest, attempt: Attempt) -> Reply:
        """Run inference.

        The request's model is already `attempt.model`. A reply to a request that asks for a
        stream may be whole and the other way round: the kernel replays or collects.

        Raises:
            BackendError: the attempt failed; another may be made.
            RequestRejected: the caller is at fault; no other attempt is made.
        """
        ...

    async def count(self, request: MessagesRequest, attempt: Attempt) -> int | Reply | None:
        """Input tokens of the request, the upstream's own answer, or None: cannot be counted."""
        ...

    async def models(self) -> Sequence[ModelInfo]:
        """What it serves now.

        Raises:
            BackendError: the list cannot be had; the last known one is shown instead.
        """
        ...


@runtime_checkable
class Loads(Protocol):
    """A backend that takes models into memory and out of it when it is told to."""

    async def load(self, model: str) -> None:
        """Have `model` ready. Raises `BackendError` or `RequestRejected` where that cannot be."""
        ...

    async def unload(self, model: str) -> bool:
        """Take `model` out of memory; False where it was not there."""
        ...


@runtime_checkable
class SpeaksMessages(Protocol):
    """A backend whose server speaks the Messages API itself, so that a request needs no
    translation; plugins ask it what of a request the server takes."""

    @property
    def native(self) -> bool:
        """The server is that of the API's own vendor: it takes requests as clients send them."""
        ...

    @property
    def kind(self) -> str:
        """What server it is, in one word of lower case, as far as that is known."""
        ...


@runtime_checkable
class Translates(Protocol):
    """A backend whose server speaks another API: `explain` shows what would be sent there."""

    def translated(self, request: MessagesRequest, attempt: Attempt) -> Mapping[str, Any]:
        """The body in the server's API. Raises `RequestRejected` as `send` does."""
        ...


@runtime_checkable
class Addresses(Protocol):
    """A backend that asks a server: `explain` shows where, and under which header lines."""

    def addressed(self, request: MessagesRequest, attempt: Attempt) -> tuple[str, Headers]:
        """The URL, and the header lines without those that carry credentials."""
        ...


@runtime_checkable
class Reaches(Protocol):
    """A backend whose server is reached over a network: `check` and `doctor` show the way."""

    @property
    def way(self) -> str:
        """In words: directly, or by which proxy and who says so (`Upstream.way`)."""
        ...


@runtime_checkable
class Relays(Protocol):
    """A backend whose server speaks a dialect of clients too (`MessagesRequest.original`)."""

    def relays(self, request: MessagesRequest, attempt: Attempt) -> bool:
        """Whether `send` would pass on the bytes that the client sent, all but the model's name.

        Plugins ask it whether what the Messages API cannot say matters.
        """
        ...

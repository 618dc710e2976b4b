"""Options of `pool`, and the plugin that connects to each server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from plugway import NetworkOptions, Secret, url_problem
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_anthropic_wire import EndpointPlugin
from plugway_llama_server import LlamaServer
from plugway_openai_compatible import OpenAICompatible
from plugway_pool._addresses import addresses_in, checked_address
from plugway_vllm import Vllm

Member = EndpointPlugin[Any] | OpenAICompatible
"""The plugin that connects to one server."""
Kind = Literal["vllm", "sglang", "llama-server", "messages", "chat"]

_MEMBERS: Final[Mapping[Kind, type[Member]]] = {
    "vllm": Vllm,
    "sglang": OpenAICompatible,
    "llama-server": LlamaServer,
    "messages": AnthropicCompatible,
    "chat": OpenAICompatible,
}
_SHARED: Final = ("api_key", "key_header", *NetworkOptions.model_fields)
_OWN: Final = frozenset((*_SHARED, "base_url", "zone"))
_HEADER: Final = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_RESERVED: Final = frozenset(
    (
        *("accept", "accept-encoding", "anthropic-beta", "anthropic-version", "api-key"),
        *("authorization", "connection", "content-length", "content-type", "cookie", "host"),
        *("te", "transfer-encoding", "upgrade", "user-agent", "x-api-key"),
    )
)
_DNS: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}):[0-9]{1,5}")


def _header_fits(name: str) -> str:
    name = name.lower()
    if not _HEADER.fullmatch(name) or name in _RESERVED:
        raise ValueError("should be the name of a header for ids, such as `x-session-id`")
    return name


def _dns_fits(name: str) -> str:
    port = name.rpartition(":")[2]
    if not _DNS.fullmatch(name) or not 0 < int(port) < 2**16:
        raise ValueError("should be `HOST:PORT`, such as `vllm.models.svc:8000`")
    if problem := url_problem(f"http://{name}", with_key=False):
        raise ValueError(problem)
    return name


HeaderName = Annotated[str, AfterValidator(_header_fits)]


class PoolOptions(NetworkOptions):
    """Options of `pool`."""

    kind: Kind = "vllm"
    """What the servers are: `vllm`, `llama-server` and `messages` (any other) have the Messages
    API; `sglang` and `chat` (any other) have OpenAI's Chat Completions."""
    servers: tuple[str, ...] = ()
    """Addresses of the servers, without `/v1`. One of `servers`, `dns` and `file` is required."""
    dns: Annotated[str, AfterValidator(_dns_fits)] | None = None
    """`HOST:PORT` of which every address is a server, over http. It is resolved again every
    `refresh_seconds`."""
    file: Path | None = None
    """A file with the address of one server per line; `#` starts a comment. It is read again
    when it changes."""
    refresh_seconds: float = Field(default=5.0, ge=0.1, le=3600)
    """How often `dns` and `file` are looked at."""
    api_key: Secret | None = None
    """Key of the servers: `{$keyring: NAME}`, `{$env: NAME}` or `{$file: PATH}`. With a key all
    servers must be https, or on this machine."""
    key_header: Literal["authorization", "x-api-key"] = "authorization"
    """Header for the key; `authorization` sends it as `Bearer`."""
    zone: str | None = Field(default=None, min_length=1)
    """Who receives the data; by default `local` if all servers are on this machine, else the
    pool's name."""
    server_options: dict[str, Any] = Field(default_factory=dict[str, Any])
    """Further options of the plugin that connects to each server (`vllm`, `llama-server`,
    `anthropic-compatible` for `messages`, `openai-compatible` for the others), such as
    `{images: false}`."""
    comfortable: int = Field(default=8, ge=1, le=10_000)
    """Requests with which a server is never too busy. A llama-server's own number of slots is used
    instead if it reports one."""
    load_seconds: float = Field(default=2.0, ge=0, le=3600)
    """How often the load of each server is read from its metrics; 0 for never: only the requests
    of this gateway count then."""
    check_seconds: float = Field(default=10.0, ge=0, le=3600)
    """How often each server is asked for its models, to find out whether it responds; 0 for
    never: an ejected server then returns after its time."""
    session_header: HeaderName | None = None
    """Header that carries a hash of the conversation's id to the servers, for servers that are
    routers themselves, such as `x-dynamo-session-id`. None is sent by default."""
    parent_session_header: HeaderName | None = None
    """The same for the conversation that a subagent belongs to, such as
    `x-dynamo-parent-session-id`."""

    @model_validator(mode="after")
    def _has_servers(self) -> PoolOptions:
        given = [name for name in ("servers", "dns", "file") if getattr(self, name)]
        if len(given) != 1:
            named = " and ".join(f"`{name}`" for name in given) or "none"
            raise ValueError(f"set exactly one of `servers`, `dns` and `file`; {named} is set")
        if self.dns and self.api_key:
            raise ValueError(
                "`dns` is for servers over http, and the key would be sent in clear text: use "
                "`servers` with https addresses, or remove `api_key`"
            )
        plain: list[str] = []
        for address in self.servers:
            try:
                plain.append(checked_address(address, with_key=self.api_key is not None))
            except ValueError as error:
                raise ValueError(f"`servers`: {address!r}: {error}") from None
        if twice := sorted({address for address in plain if plain.count(address) > 1}):
            raise ValueError(f"`servers`: listed twice: {', '.join(twice)}")
        if self.file:
            self._check_file(self.file)
        return self

    def _check_file(self, path: Path) -> None:
        try:
            path = path.expanduser()
        except RuntimeError:
            raise ValueError(f"`file`: {path} names a user without a home folder") from None
        if not path.is_absolute():
            raise ValueError(f"`file`: {path} is not an absolute path; start it with `/` or `~/`")
        try:
            found, problems = addresses_in(path, with_key=self.api_key is not None)
        except (OSError, ValueError) as error:
            raise ValueError(f"`file`: cannot read {path}: {error}") from None
        if problems:
            raise ValueError(f"`file`: {'; '.join(problems)}")
        if not found:
            raise ValueError(f"`file`: {path} lists no servers; write one address per line")

    @model_validator(mode="after")
    def _server_options_fit(self) -> PoolOptions:
        if own := sorted(_OWN & self.server_options.keys()):
            raise ValueError(f"`server_options`: set {', '.join(own)} directly, not in here")
        if not self.first_addresses:
            return self
        try:
            _ = self.member(self.first_addresses[0], "pool", "local")
        except ValidationError as error:
            details = error.errors(include_url=False, include_input=False, include_context=False)
            reasons = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in details]
            raise ValueError(f"`server_options`: {'; '.join(reasons)}") from None
        return self

    @property
    def first_addresses(self) -> tuple[str, ...]:
        """The servers known before the start; for `dns`, the name itself."""
        if self.dns:
            return (f"http://{self.dns}",)
        if self.file:
            found, _ = addresses_in(self.file.expanduser(), with_key=self.api_key is not None)
            return tuple(found)
        with_key = self.api_key is not None
        return tuple(checked_address(address, with_key=with_key) for address in self.servers)

    def member(self, address: str, name: str, zone: str) -> Member:
        """A new plugin that connects to one server. Raises `ValidationError`."""
        plugin = _MEMBERS[self.kind]
        shared = {field: getattr(self, field) for field in _SHARED}
        url = f"{address}/v1" if plugin is OpenAICompatible else address
        values = {**self.server_options, **shared, "base_url": url, "zone": zone}
        options: Any = plugin.options_type().model_validate(values)
        return plugin(options, name=name)

"""The user's own gateway on this machine, as commands see it: where it is, whether it runs.

Starting and stopping it is theirs; what it serves is the application's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from plugway.config.config import (
    FlawedConfig,
    PluginEntry,
    ServerOptions,
    default_config_path,
    find_config,
    gateway_token,
    load_config,
)
from plugway.types.errors import ConfigError, PlugwayError


@dataclass(frozen=True, slots=True)
class LocalGateway:
    """Where the gateway of this user is or would be, by its configuration."""

    url: str
    """Its base URL for clients on this machine."""
    token: str = field(repr=False)
    """What it asks of them."""
    config_path: Path
    """Its configuration, or the file that it would be read from."""
    configured: bool
    """Whether that file is there; without it the installed stack runs."""
    _server: ServerOptions = field(repr=False)

    @classmethod
    def find(cls, config: Path | None = None, port: int | None = None) -> LocalGateway:
        """As `plugway serve` would find it. Raises `ConfigError` where the file is wrong."""
        from plugway.cli.running import base_url, server_settings  # rich, for commands only

        path = find_config(config)
        server = server_settings(config, {} if port is None else {"port": port})
        target = path or default_config_path()
        return cls(base_url(server), gateway_token(server), target, path is not None, server)

    def plugins(self, path: Path | None = None) -> tuple[PluginEntry, ...]:
        """The entries of its configuration, or of the one at `path`, as they are written: `use`,
        `name` and `options` of each that can be read."""
        try:
            return load_config(path or self.config_path).plugins
        except ConfigError as error:
            return error.rest.plugins if isinstance(error, FlawedConfig) else ()

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self._server.port

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """The JSON of its answer. Raises `PlugwayError`, with its own words where it refuses."""
        from plugway.cli.running import ask

        return ask(self._server, method, path, body)

    def state(self) -> Mapping[str, Any] | None:
        """What `/health` says of it, or None where nothing listens at its address.

        Raises:
            PlugwayError: something else listens there, or a gateway with another token.
        """
        from plugway.cli.running import NotRunning, ask

        try:
            document = ask(self._server, "GET", "/health")
        except NotRunning:
            return None
        if not isinstance(document, Mapping) or "status" not in document:
            raise PlugwayError(f"what answers at {self.url} is not Plugway")
        state = cast("Mapping[str, Any]", document)
        if "pid" not in state:
            raise PlugwayError(f"the gateway at {self.url} belongs to somebody else")
        return state

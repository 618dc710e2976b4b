"""The user's gateway on this machine, for commands: its address, and whether it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from plugway.config.config import (
    PartlyInvalid,
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
    """The gateway of this user, running or not, according to its configuration."""

    url: str
    """Its base URL for clients on this machine."""
    token: str = field(repr=False)
    """The token that clients must send."""
    config_path: Path
    """The path of its configuration, whether it exists or not."""
    configured: bool
    """Whether that file exists; otherwise the installed stack runs."""
    _server: ServerOptions = field(repr=False)

    @classmethod
    def find(cls, config: Path | None = None, port: int | None = None) -> LocalGateway:
        """Find it as `plugway serve` does. Raises `ConfigError` if the file is invalid."""
        from plugway.cli.running import base_url, server_settings  # imports `rich`

        path = find_config(config)
        server = server_settings(config, {} if port is None else {"port": port})
        target = path or default_config_path()
        return cls(base_url(server), gateway_token(server), target, path is not None, server)

    def plugins(self, path: Path | None = None) -> tuple[PluginEntry, ...]:
        """The entries of its configuration, or of the one at `path`, as written: `use`, `name` and
        `options` of each that is valid."""
        try:
            return load_config(path or self.config_path).plugins
        except ConfigError as error:
            return error.rest.plugins if isinstance(error, PartlyInvalid) else ()

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self._server.port

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Its JSON response. Raises `PlugwayError`, with the gateway's message if any."""
        from plugway.cli.running import ask

        return ask(self._server, method, path, body)

    def state(self) -> Mapping[str, Any] | None:
        """The response of `/health`, or None if nothing listens at its address.

        Raises:
            PlugwayError: another program listens there, or a gateway with another token.
        """
        from plugway.cli.running import NotRunning, ask

        try:
            document = ask(self._server, "GET", "/health")
        except NotRunning:
            return None
        if not isinstance(document, Mapping) or "status" not in document:
            raise PlugwayError(f"the server at {self.url} is not Plugway")
        state = cast("Mapping[str, Any]", document)
        if "pid" not in state:
            raise PlugwayError(f"another user or configuration started the gateway at {self.url}")
        return state

"""The user's gateway on this machine, for commands: its address, and whether it runs."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plugway.config.config import (
    PartlyInvalid,
    PluginEntry,
    default_config_path,
    find_config,
    load_config,
    server_options,
)
from plugway.config.listen import ca_hint, certificate_files
from plugway.config.options import OptionsT
from plugway.config.settings import ServerOptions, gateway_token, token_path
from plugway.types.errors import ConfigError
from plugway_http.certificate import CertificateFiles, trusting
from plugway_wire.errors import PlugwayError
from plugway_wire.json import as_object

_SECONDS = 10.0


class _NotRunning(PlugwayError):
    """Nothing listens at the gateway's address."""


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
    server: ServerOptions = field(repr=False)
    """Its options `server`."""
    _certificate: CertificateFiles | None = field(default=None, repr=False)

    @classmethod
    def find(
        cls, config: Path | None = None, port: int | str | None = None, host: str | None = None
    ) -> LocalGateway:
        """Find it as `plugway serve` does. Raises `ConfigError` if the file is invalid."""
        path = find_config(config)
        overrides = {k: v for k, v in (("host", host), ("port", port)) if v is not None}
        loaded = None if path is None else load_config(path, overrides)
        server = loaded.server if loaded else server_options(overrides)
        files = certificate_files(loaded) if loaded else None
        target, token = path or default_config_path(), gateway_token(server)
        return cls(server.address, token, target, path is not None, server, files)

    def plugins(self, path: Path | None = None) -> tuple[PluginEntry, ...]:
        """The entries of its configuration, or of the one at `path`, as written: `use`, `name` and
        `options` of each that is valid."""
        try:
            return load_config(path or self.config_path).plugins
        except ConfigError as error:
            return error.rest.plugins if isinstance(error, PartlyInvalid) else ()

    def options_of(self, use: str, kind: type[OptionsT]) -> OptionsT | None:
        """The options of the plugin `use` in its configuration, with their secrets; None if it is
        not listed. Raises `ConfigError`."""
        config = load_config(self.config_path)
        for entry in config.plugins:
            if entry.use == use:
                built = config.options_of(entry, kind)
                if built.options is None:
                    raise ConfigError(built.problems)
                return built.options
        return None

    @property
    def port(self) -> int:
        """The port of `url`."""
        return self.server.port

    @property
    def tls(self) -> ssl.SSLContext | None:
        """Accepts the gateway's certificate only, for an HTTP client; None if it has none.

        Raises `PlugwayError`.
        """
        if self._certificate is None:
            return None
        try:
            return trusting(self._certificate.certificate)
        except OSError as error:  # `ssl.SSLError` included
            where = self._certificate.certificate
            raise PlugwayError(f"cannot read the certificate {where}: {error.strerror}") from error

    @property
    def ca_file(self) -> str:
        """What clients need in `NODE_EXTRA_CA_CERTS`; empty if nothing, or if it is unknown."""
        hint = ca_hint(self._certificate)
        return hint if hint and Path(hint).is_file() else ""

    @property
    def token_place(self) -> str:
        """Where its token is stored, as text; never the token itself."""
        from plugway.cli.serve import token_hint  # slow to import

        if not self.configured:
            return str(token_path())
        return token_hint(load_config(self.config_path))[1]

    def ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        """Its JSON response. Raises `PlugwayError`, with the gateway's message if any."""
        headers = {"authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["content-type"] = "application/json"
        import httpx2  # takes 60 ms

        where = f"the server at {self.url}"
        try:
            tls = self.tls or False  # without TLS, loading certificates would waste 40 ms
            with httpx2.Client(timeout=_SECONDS, trust_env=False, verify=tls) as client:
                url = self.url + path
                response = client.request(method, url, content=body, headers=headers)
        except httpx2.ConnectError as error:
            if "SSL" in str(error):
                reason = "does not use the certificate in `server.tls`"
                fix = "restart the gateway if the configuration has changed"
                raise PlugwayError(f"{where} {reason}: {fix}") from error
            raise _NotRunning(f"no gateway answers at {self.url}: run `plugway serve`") from error
        except httpx2.TimeoutException as error:
            raise PlugwayError(f"{where} timed out after {_SECONDS:g} s") from error
        except httpx2.HTTPError as error:
            raise PlugwayError(f"{where} disconnected ({type(error).__name__})") from error
        try:
            document = response.json()
        except ValueError as error:
            raise PlugwayError(f"{where} is not Plugway") from error
        if response.status_code >= 400:
            said = as_object(as_object(document).get("error")).get("message")
            reason = said or f"status {response.status_code}"
            raise PlugwayError(f"the gateway at {self.url} returned an error: {reason}")
        return document

    def state(self) -> Mapping[str, Any] | None:
        """The response of `/health`, or None if nothing listens at its address.

        Raises `PlugwayError`: another program listens there, or a gateway with another token.
        """
        try:
            document = self.ask("GET", "/health")
        except _NotRunning:
            return None
        state = as_object(document)
        if "status" not in state:
            raise PlugwayError(f"the server at {self.url} is not Plugway")
        if "pid" not in state:
            raise PlugwayError(f"another user or configuration started the gateway at {self.url}")
        return state

"""The gateway's own settings: address, tokens and limits."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from plugway.kept import remove_drafts, user_id
from plugway.types.backend import RESERVED_CALLERS
from plugway.types.errors import ConfigError, Problem
from plugway.types.options import Options, Secret
from plugway_http.hosts import has_port, host_header, in_url
from plugway_log import register_secret

Seconds = Annotated[float, Field(gt=0, le=24 * 3600, allow_inf_nan=False)]


def _fits_a_header(token: Secret) -> Secret:
    text = token.get_secret_value()
    if not text or not all("!" <= character <= "~" for character in text):
        raise ValueError("should be visible ASCII characters without spaces")
    return token


Token = Annotated[Secret, AfterValidator(_fits_a_header)]


class LimitedToken(Options):
    """A token that grants access to some of the models, and to nothing else of the gateway."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """The caller's name in the log, receipts and errors; `owner` and `anonymous` are reserved."""
    token: Token
    """The token itself; use `$env` or `$keyring`."""
    models: Annotated[tuple[str, ...], Field(min_length=1)]
    """Patterns of `instance/model` that it may use, such as `local/*`. They match the target of a
    request, not the model name in it."""

    @field_validator("name")
    @classmethod
    def _name_is_free(cls, name: str) -> str:
        if name in RESERVED_CALLERS:
            raise ValueError("is reserved by the gateway: choose another name")
        return name


class TlsOptions(Options):
    """The certificate with which the gateway serves HTTPS; renewed files need no restart."""

    certificate: Path
    """The certificate, followed by its intermediate ones (PEM, such as `fullchain.pem`)."""
    key: Path
    """Its private key (PEM)."""
    password: Secret | None = None
    """The password of an encrypted key; use `$env` or `$keyring`."""


DEFAULT_STORE = "keyring"
"""The key store if the configuration names none."""


class ServerOptions(Options):
    """The gateway itself: its address, who may use it, its limits."""

    host: str = "127.0.0.1"
    """Address to listen on. Any but loopback requires `token`, and `tls` or `behind_tls`."""
    port: int = Field(default=8484, ge=0, le=65535)
    """Port to listen on; 0 picks a free one. `plugway serve --port` overrides it."""
    token: Token | None = None
    """Token that callers must send; use `$env` or `$keyring`. Unset: generated and stored."""
    tokens: tuple[LimitedToken, ...] = ()
    """More tokens, each limited to some models: `{name: phone, token: …, models: [local/*]}`."""
    plugins: Literal["listed", "signed"] = "listed"
    """`signed`: load only packages that were approved (`plugway plugins --approve`) or installed
    with a valid signature (`plugway install`), and have not changed since."""
    key_store: str = DEFAULT_STORE
    """The key store that `$keyring` reads from: the name of its entry point."""
    allowed_hosts: tuple[str, ...] = ()
    """Names by which clients reach the gateway, besides `host` and loopback: `llm.example.com`,
    `llm.example.com:443` for that port only, or `*.example.com` for any one label."""
    allowed_origins: tuple[str, ...] = ()
    """`Origin` headers of web pages that may call the gateway."""
    tls: TlsOptions | None = None
    """Serve HTTPS: `{certificate: fullchain.pem, key: privkey.pem}`, relative to this file."""
    behind_tls: bool = False
    """Confirms that a TLS proxy in front of the gateway encrypts traffic beyond this machine."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """Maximum size of a request body, in bytes."""
    max_streams: int = Field(default=512, ge=1)
    """Maximum number of concurrent exchanges; further requests get an overloaded error."""
    head_seconds: Seconds = 10.0
    """Timeout for receiving the head of a request."""
    body_seconds: Seconds = 30.0
    """Timeout for receiving the body; large bodies on a slow connection get more time."""
    ping_seconds: Seconds = 10.0
    """Interval of `ping` events while a stream is silent."""
    first_event_seconds: Seconds = 120.0
    """Timeout for the first content event of a remote backend."""
    first_event_local_seconds: Seconds = 1800.0
    """The same for a backend on this machine, which may need long to process a prompt."""
    idle_seconds: Seconds = 120.0
    """Timeout between two bytes of a backend's stream."""
    stalled_client_seconds: Seconds = 120.0
    """Timeout for a client that stops reading its stream."""
    drain_seconds: Seconds = 28.0
    """How long exchanges in flight may continue after a stop signal. A second signal stops them
    at once."""

    @property
    def address(self) -> str:
        """The base URL for clients on this machine; with `tls`, by a name in the certificate."""
        host = in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host))
        if self.tls is None:
            return f"http://{host}:{self.port}"
        names = [n for n in self.allowed_hosts if not (n.startswith("*.") or has_port(n))]
        return f"https://{names[0] if names else host}:{self.port}"

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and info.field_name not in ("behind_tls", "tls"):
            raise ValueError("expected a number, got a boolean")
        return value

    @field_validator("host")
    @classmethod
    def _host_is_an_address(cls, host: str) -> str:
        if not host.strip() or any(character in host for character in "/@ \t"):
            raise ValueError("should be an address such as 127.0.0.1, without scheme, port or path")
        return host.strip("[]")

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts_are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(host_header, hosts))

    @field_validator("tokens")
    @classmethod
    def _tokens_differ(
        cls, tokens: tuple[LimitedToken, ...], info: ValidationInfo
    ) -> tuple[LimitedToken, ...]:
        if len({one.name for one in tokens}) < len(tokens):
            raise ValueError("should have unique names")
        known = [one.token for one in tokens] + [t for t in (info.data.get("token"),) if t]
        if len({one.get_secret_value() for one in known}) < len(known):
            raise ValueError("should differ from each other and from `token`")
        return tokens


def gateway_token(server: ServerOptions, *, state_dir: Path | None = None) -> str:
    """The configured token, or the one created on first use and stored in the state folder."""
    if server.token is not None:
        return server.token.get_secret_value()
    path = token_path(state_dir)
    try:
        token = _stored_token(path) or _create_token(path)
        remove_drafts(path)
    except OSError as error:
        reason = f"cannot store the gateway's token here: {error.strerror}"
        raise ConfigError([Problem(str(path), "", reason, "set `server.token`")]) from None
    register_secret(token)
    return token


def token_path(state_dir: Path | None = None) -> Path:
    """The file of the stored token."""
    folder = state_dir or platformdirs.user_state_path("plugway", appauthor=False)
    return folder / "token"


def _stored_token(path: Path) -> str | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except FileNotFoundError:
        return None
    with open(descriptor, encoding="ascii", errors="replace") as file:
        status = os.fstat(file.fileno())
        text = file.read(4096).strip()
    mine = user_id()
    if mine is not None and (status.st_mode & 0o077 or status.st_uid != mine):
        mode = f"{stat.S_IMODE(status.st_mode):04o}, uid {status.st_uid}"
        reason = f"the gateway's token may be known to other users (mode {mode})"
        raise ConfigError([Problem(str(path), "", reason, f"run `rm {path}` to get a new one")])
    return text if len(text) >= 32 and text.isascii() and text.isprintable() else None


def _create_token(path: Path) -> str:
    """Store a new token; gateways that start at the same time get the same one."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = secrets.token_urlsafe(32)
    draft = path.with_name(f".token-{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="ascii") as file:
        file.write(token + "\n")
    try:
        with suppress(OSError):  # without hard links the last one wins
            os.link(draft, path)
            return token
        if (other := _stored_token(path)) is not None:
            return other
        os.replace(draft, path)
        return token
    finally:
        draft.unlink(missing_ok=True)

"""The options of the store, and the addresses that they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from ssl import SSLContext, create_default_context
from typing import Annotated, Final, Self
from urllib.parse import urlsplit

import platformdirs
from pydantic import Field, model_validator
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from plugway import Options, Secret

_POSTGRESQL: Final = ("postgresql", "postgres")
_REDIS: Final = ("redis", "rediss")
_PARAMETERS: Final = ("host", "sslmode", "sslrootcert")
"""Of the URL; `host` is the folder of a Unix socket."""
_SSL_MODES: Final = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")


class StoreOptions(Options):
    """Options of `store`."""

    url: str | None = None
    """The database: the path of an SQLite file, or `postgresql://USER@HOST:PORT/NAME`, with
    `?sslmode=verify-full` for TLS (and `&sslrootcert=FILE` for an own authority). Without it,
    `store.db` in the user's data folder."""
    password: Secret | None = None
    """Password for PostgreSQL."""
    redis: str | None = None
    """Where several gateways count requests together: `redis://HOST:PORT/0`, or `rediss://` for
    TLS. Without it, each gateway counts in its memory."""
    redis_password: Secret | None = None
    """Password for Redis."""
    busy_seconds: Annotated[float, Field(gt=0, le=60)] = 1.5
    """How long an operation waits for a database that is busy or unreachable before it fails. Most
    hooks of a request may take 2 s."""
    connections: Annotated[int, Field(ge=1, le=100)] = 10
    """Connections to PostgreSQL that this gateway opens at most."""

    @model_validator(mode="after")
    def _addresses(self) -> Self:
        if self.url is not None:
            _check_database(self.url)
        if self.redis:
            _check_redis(self.redis)
        return self

    @property
    def is_postgresql(self) -> bool:
        """Whether the database is PostgreSQL."""
        return self.url is not None and self.url.partition("://")[0] in _POSTGRESQL

    @property
    def path(self) -> Path:
        """The SQLite file."""
        if self.url is None:
            return platformdirs.user_data_path("plugway", appauthor=False) / "store.db"
        return Path(self.url.removeprefix("sqlite:///")).expanduser()

    @property
    def database(self) -> URL:
        """The address for SQLAlchemy, with the driver and the password."""
        if self.url is None or not self.is_postgresql:
            return URL.create("sqlite", database=str(self.path))
        url = make_url(self.url).set(drivername="postgresql+asyncpg")
        url = url.difference_update_query(["sslmode", "sslrootcert"])
        return url.set(password=self.password.get_secret_value()) if self.password else url

    def tls(self) -> SSLContext | str:
        """How asyncpg encrypts: a mode, or what the certificate is checked against. Slow."""
        query = make_url(self.url or "").query
        mode, root = str(query.get("sslmode", "prefer")), query.get("sslrootcert")
        if not mode.startswith("verify"):
            return mode
        context = create_default_context(cafile=None if root is None else str(root))
        context.check_hostname = mode == "verify-full"
        return context

    @property
    def place(self) -> str:
        """The database in messages; never with a password."""
        return str(self.url if self.is_postgresql else self.path)


def _check_database(text: str) -> None:
    if not text or "\0" in text:
        raise ValueError("`url` is empty or contains a NUL character")
    scheme, found, _ = text.partition("://")
    if not found or scheme == "sqlite":
        return _check_path(text)
    if scheme not in _POSTGRESQL:
        raise ValueError(
            f"`url`: unknown database {scheme!r}: use a path, or `postgresql://USER@HOST/NAME`"
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError("`url` is not valid: use `postgresql://USER@HOST:PORT/NAME`") from None
    if url.password is not None:
        raise ValueError("`url` contains a password: use the option `password` instead")
    if not url.database:
        raise ValueError("`url` names no database: use `postgresql://USER@HOST:PORT/NAME`")
    if unknown := url.query.keys() - _PARAMETERS:
        raise ValueError(
            f"`url`: unknown parameter {min(unknown)!r}, known: {_listed(_PARAMETERS)}"
        )
    if url.query.get("sslmode", "prefer") not in _SSL_MODES:
        raise ValueError(f"`url`: unknown `sslmode`, should be one of {_listed(_SSL_MODES)}")
    root = url.query.get("sslrootcert")
    if root is not None and not Path(str(root)).is_file():
        raise ValueError("`url`: the file of `sslrootcert` does not exist")


def _check_path(text: str) -> None:
    path = text.removeprefix("sqlite:///")
    if "://" in path:
        raise ValueError("`url`: write the path of the SQLite file, or `sqlite:///PATH`")
    if not Path(path).expanduser().is_absolute():
        raise ValueError(f"`url`: {path!r} depends on where a command is run: write the whole path")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names)


def _check_redis(text: str) -> None:
    try:
        parts = urlsplit(text)
        valid = parts.scheme in _REDIS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    else:
        if parts.password is not None:
            raise ValueError("`redis` contains a password: use the option `redis_password` instead")
    if not valid:
        raise ValueError("`redis` is not valid: use `redis://HOST:PORT/0`")

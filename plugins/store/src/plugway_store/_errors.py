"""What drivers report, as errors with the place, the reason and the fix.

A violated constraint (`sqlalchemy.exc.IntegrityError`) passes through: it is for the caller.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, Literal

from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from plugway import PlugwayError

Kind = Literal[
    "busy", "full", "read-only", "unreachable", "refused", "damaged", "schema", "encoding", "other"
]

_SQLITE: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("database is locked", "busy", "another program is writing: close it, or try again"),
    ("database table is locked", "busy", "another program is writing: close it, or try again"),
    ("database or disk is full", "full", "free space on this disk"),
    ("readonly database", "read-only", "let this user write to the file and to its folder"),
    ("unable to open database", "unreachable", "check that the folder exists and is writable"),
    ("file is not a database", "damaged", "choose another path in `url`; nothing was changed"),
    (
        "disk image is malformed",
        "damaged",
        "restore a copy of the file",
    ),
    ("disk i/o error", "damaged", "check the disk and its free space"),
)
_STATES: Final[tuple[tuple[str, Kind, str], ...]] = (
    ("28", "refused", "check the user in `url`, and `password`"),
    ("3D", "refused", "create the database, or correct its name in `url`"),
    ("42501", "refused", "let this user create and change tables in the database"),
    ("53300", "busy", "raise `max_connections` of the server, or lower `connections`"),
    ("53", "full", "free space on the server's disk or in its memory"),
    ("25006", "read-only", "connect to the primary: a standby takes no writes"),
    ("55P03", "busy", "another program holds a lock: try again"),
    ("40", "busy", "another transaction was in the way: try again"),
    ("57P03", "unreachable", "wait until the server has started"),
    ("57", "unreachable", "the server was stopped: start it again"),
    ("22P05", "encoding", "create the database with the encoding UTF8"),
    ("08", "unreachable", "check that the server runs and `url` is correct"),
)
"""Classes and codes: https://www.postgresql.org/docs/15/errcodes-appendix.html"""


class StoreError(PlugwayError):
    """The database cannot do what was asked; `kind` says why."""

    def __init__(self, place: str, reason: str, fix: str, kind: Kind = "other") -> None:
        self.kind: Kind = kind
        super().__init__(f"{place}: {reason} - {fix}")


@contextmanager
def translated(place: str) -> Generator[None]:
    """Raise errors of the database at `place` as `StoreError`, without statements and values."""
    try:
        yield
    except IntegrityError:
        raise
    except (SQLAlchemyError, OSError, TimeoutError, sqlite3.Error) as error:
        raise explained(place, error) from error


def explained(place: str, error: BaseException) -> StoreError:
    """The error of a driver, with its reason and a fix."""
    if isinstance(error, PoolTimeout):
        fix = "raise `connections`, or find what holds them"
        return StoreError(place, "all connections are in use", fix, "busy")
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    while not getattr(cause, "sqlstate", None) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, sqlite3.Error):
        return _sqlite(place, cause)
    if state := getattr(cause, "sqlstate", None):
        reason = str(cause).partition("\n")[0]
        for start, kind, fix in _STATES:
            if str(state).startswith(start):
                return StoreError(place, reason, fix, kind)
        return StoreError(place, f"{reason} ({state})", "see the log of the server")
    lost = isinstance(error, DBAPIError) and error.connection_invalidated
    if lost or isinstance(cause, OSError | TimeoutError) or _is_lost(cause):
        reason = "timed out" if isinstance(cause, TimeoutError) else _reason(cause)
        fix = "check that the server runs and `url` is correct"
        return StoreError(place, reason, fix, "unreachable")
    return StoreError(place, _reason(cause), "see the stack in the log")


def _sqlite(place: str, error: sqlite3.Error) -> StoreError:
    text = str(error)
    for part, kind, fix in _SQLITE:
        if part in text.lower():
            return StoreError(place, text, fix, kind)
    return StoreError(place, text, "see the stack in the log")


def _is_lost(error: BaseException) -> bool:
    """Whether the driver reports that the connection is gone."""
    return "connection" in type(error).__name__.lower() or "connection" in str(error).lower()


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"cannot connect: {error.strerror}"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"

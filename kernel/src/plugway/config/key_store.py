"""Reads keys for `$keyring` from the key store that the configuration names.

Packages register stores by entry points; only the named one is imported. Keys of any store are
redacted in logs and restricted to their origin.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import cast

from plugway.config.approval import approvals_for
from plugway.config.document import Document
from plugway.config.settings import DEFAULT_STORE
from plugway.upstream.origins import StoredKey, remember_key
from plugway_wire.errors import PlugwayError

GROUP = "plugway.key_stores"
"""Entry point group of key stores: each name is a `ReadKey`."""

ReadKey = Callable[[str], StoredKey | None]
"""Returns the key with a name, or None. May block; raises `PlugwayError` with a fix."""


class SecretError(PlugwayError):
    """A secret cannot be read. The message has a reason and a fix, never the value."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix


def fetch(name: str, store: str, document: Document | None = None) -> str:
    """The value of the key `name` in the store called `store`. Raises `SecretError`."""
    read = _reader(store, document)
    try:
        key = cast("object", read(name))
    except PlugwayError as error:
        raise SecretError(str(error)) from None
    except Exception as error:  # third-party code, whose message may contain the key
        kind = type(error).__name__
        raise SecretError(f"the key store `{store}` failed with {kind}") from None
    if key is None:
        fix = f"run `{store_command(name)}`" if store == DEFAULT_STORE else "store it there"
        raise SecretError(f"the {store} has no entry `{name}`", fix)
    if not isinstance(key, StoredKey):
        raise SecretError(f"the key store `{store}` did not return a `plugway.StoredKey`")
    remember_key(name, key)
    return key.value


def store_command(name: str) -> str:
    """The command that stores a key in the default store, after installing that if necessary."""
    command = f"plugway keys set {name}"
    here = bool(entry_points(group=GROUP, name=DEFAULT_STORE))
    return command if here else f"pip install ./plugins/{DEFAULT_STORE} && {command}"


def _reader(store: str, document: Document | None) -> ReadKey:
    """The store, if exactly one package provides it and it may be loaded."""
    points = list(entry_points(group=GROUP, name=store))
    if not points:
        fix = "name another in `server.key_store`, or install the package that provides it"
        raise SecretError(
            f"no installed package provides the key store `{store}`",
            f"run `pip install ./plugins/{DEFAULT_STORE}`" if store == DEFAULT_STORE else fix,
        )
    sources = [point.dist.name if point.dist else point.value for point in points]
    if len(points) > 1:
        claimed = " and ".join(f"`{source}`" for source in sources)
        raise SecretError(
            f"the key store `{store}` is claimed by {claimed}", "uninstall all but one"
        )
    try:
        return cast("ReadKey", approvals_for(document).load(points[0]))
    except PlugwayError as error:
        raise SecretError(f"the key store `{store}` of `{sources[0]}` {error}") from error

"""The key store behind `$keyring`: the one that the configuration names, asked for one key.

A package announces a store and is never asked because of that. What a store gives is kept out of
logs and held to its origin here, whoever the store is.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from plugway.config.approval import Approvals
from plugway.config.settings import USUAL_STORE
from plugway.types.errors import PlugwayError
from plugway.upstream.origins import StoredKey, remember_key

GROUP = "plugway.key_stores"
"""Entry point group of key stores: each name is a `ReadKey`."""

ReadKey = Callable[[str], StoredKey | None]
"""From the name of a key to the key, or None. May block; raises `PlugwayError` with the fix."""


class SecretError(PlugwayError):
    """A secret cannot be had: reason and fix, never the value."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix


def fetch(name: str, store: str) -> str:
    """The value of the key `name` in the store called `store`; raises `SecretError`."""
    read = _reader(store)
    try:
        key = cast("object", read(name))
    except PlugwayError as error:
        raise SecretError(str(error)) from None
    except Exception as error:  # a stranger's code, whose words may hold the key
        kind = type(error).__name__
        raise SecretError(f"the key store `{store}` failed with {kind}") from None
    if key is None:
        fix = f"run `{store_command(name)}`" if store == USUAL_STORE else "store it there"
        raise SecretError(f"the {store} holds no `{name}`", fix)
    if not isinstance(key, StoredKey):
        raise SecretError(f"the key store `{store}` gave what is no `plugway.StoredKey`")
    remember_key(name, key)
    return key.value


def store_command(name: str) -> str:
    """The command that stores a key in the usual store; installs it first where it is missing."""
    command = f"plugway keys set {name}"
    here = bool(entry_points(group=GROUP, name=USUAL_STORE))
    return command if here else f"pip install plugway-{USUAL_STORE} && {command}"


def _reader(store: str) -> ReadKey:
    point = _announced(store)
    try:
        return cast("ReadKey", point.load())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's module may do anything, `sys.exit` included
        last = traceback.format_exception_only(error)[-1].strip()
        raise SecretError(f"the key store `{store}` cannot be imported: {last}") from error


def _announced(store: str) -> EntryPoint:
    """Where the store is, if one package alone brings it and may be loaded."""
    points = list(entry_points(group=GROUP, name=store))
    if not points:
        fix = "name another in `server.key_store`, or install the package that brings it"
        raise SecretError(
            f"no installed package brings the key store `{store}`",
            f"run `pip install plugway-{USUAL_STORE}`" if store == USUAL_STORE else fix,
        )
    sources = [point.dist.name if point.dist else point.value for point in points]
    if len(points) > 1:
        claimed = " and ".join(f"`{source}`" for source in sources)
        raise SecretError(
            f"the key store `{store}` is claimed by {claimed}", "uninstall all but one"
        )
    if points[0].dist and (reason := Approvals().refusal(sources[0])):
        fix = f"look at it, then run `plugway plugins --approve {sources[0]}`"
        raise SecretError(f"the key store `{store}` of `{sources[0]}` {reason}", fix)
    return points[0]

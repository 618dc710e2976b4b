"""The keyring of the operating system or desktop: keys read and written, each within a time limit.

A key is stored together with the one origin that it may be sent to; `Upstream` holds it to that,
where credentials are put on a request, after the last hook.
"""

from __future__ import annotations

import importlib
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, cast

import orjson

from plugway import PlugwayError, StoredKey, remember_key

KEYRING_SERVICE = "plugway"
"""Service name under which keys are stored in the system's keyring."""
KEYRING_SECONDS = 3.0
"""How long the keyring may take; a locked one waits for its owner."""
KEYRINGS = (
    "keyring.backends.macOS.Keyring",
    "keyring.backends.Windows.WinVaultKeyring",
    "keyring.backends.SecretService.Keyring",
    "keyring.backends.kwallet.DBusKeyring",
    "keyring.backends.libsecret.Keyring",
)
"""The stores that are used, and the only ones: those of the operating system and the desktop.

They are opened by name, so `PYTHON_KEYRING_BACKEND`, `keyringrc.cfg` and plain-text stores that
other packages install have no say, and a chain of stores is taken member by member.
"""

_MARK = "plugway-key"
_stuck_since = float("-inf")
ResultT = TypeVar("ResultT")


class Keyring:
    """The stores of this machine that are trusted, by class; the preferred one is written to.

    Every call gives up after `KEYRING_SECONDS`. Errors are `PlugwayError`s that say what to do.
    """

    def __init__(self) -> None:
        """Raises where no store can be trusted."""
        self._stores = within_limit(system_keyrings)
        if not self._stores:
            raise _no_keyring()

    @property
    def name(self) -> str:
        """The store that new keys go to, as its own library calls it."""
        return str(getattr(self._stores[0], "name", type(self._stores[0]).__name__))

    def read(self, name: str) -> StoredKey | None:
        """The key stored under `name`, or None."""
        text = within_limit(lambda: _first_password(self._stores, name))
        return None if text is None else _remembered(name, text)

    def write(self, name: str, key: StoredKey) -> None:
        """Store a key and read it back; raises where the store does not give it back."""
        store, text = self._stores[0], _encoded(key)

        def put() -> bool:
            store.set_password(KEYRING_SERVICE, name, text)
            return store.get_password(KEYRING_SERVICE, name) == text

        if not within_limit(lambda: _named(store, put)):
            raise PlugwayError(
                f"{self.name} took the key and did not give it back: nothing can be relied on: "
                "unlock the keyring, or use `{$env: NAME}` or `{$file: PATH}`"
            )
        _remembered(name, text)

    def delete(self, name: str) -> bool:
        """Forget the key in every store; whether one had it."""

        def drop() -> bool:
            found = False
            for store in self._stores:
                if _named(store, lambda s=store: s.get_password(KEYRING_SERVICE, name)) is not None:
                    _named(store, lambda s=store: s.delete_password(KEYRING_SERVICE, name))
                    found = True
            return found

        return within_limit(drop)


def read_key(name: str) -> StoredKey | None:
    """What `$keyring` asks for; None where no store has the key."""
    text = within_limit(lambda: keyring_password(name))
    return None if text is None else _remembered(name, text)


def keyring_password(name: str) -> str | None:
    """What is stored under `name` in the first store that has it; may block on a locked store."""
    stores = system_keyrings()
    if not stores:
        raise _no_keyring()
    return _first_password(stores, name)


def system_keyrings() -> list[Any]:
    """The trusted stores that work on this machine, the preferred one first."""
    found: list[tuple[float, Any]] = []
    for name in KEYRINGS:
        module, _, attribute = name.rpartition(".")
        try:
            store = getattr(importlib.import_module(module), attribute)
            if (priority := float(store.priority)) >= 1:
                found.append((priority, store()))
        except Exception:  # not for this platform: each says so in its own way
            continue
    return [store for _, store in sorted(found, key=lambda pair: -pair[0])]


def within_limit(call: Callable[[], ResultT]) -> ResultT:
    """The result of `call`, run in a thread that is left behind when it takes too long."""
    global _stuck_since
    silent = PlugwayError(
        f"the keyring did not answer within {KEYRING_SECONDS:g} s: "
        "it is locked or asks for consent: unlock it and try again"
    )
    if time.monotonic() - _stuck_since < 2 * KEYRING_SECONDS:
        raise silent  # the next key of the same file would only wait as long again
    answers: queue.SimpleQueue[tuple[ResultT | None, PlugwayError | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((call(), None))
        except PlugwayError as error:
            answers.put((None, error))

    threading.Thread(target=run, name="plugway-keyring", daemon=True).start()
    try:
        answer, error = answers.get(timeout=KEYRING_SECONDS)
    except queue.Empty:
        _stuck_since = time.monotonic()
        raise silent from None
    if error is not None:
        raise error
    return cast("ResultT", answer)


def _first_password(stores: list[Any], name: str) -> str | None:
    errors: list[PlugwayError] = []
    for store in stores:
        try:
            value = _named(store, lambda s=store: s.get_password(KEYRING_SERVICE, name))
        except PlugwayError as error:
            errors.append(error)
            continue
        if value is not None:
            return str(value)
    if errors:
        raise errors[0]
    return None


def _named(store: Any, call: Callable[[], ResultT]) -> ResultT:
    """The result of a call to a store; what it raises is told without its words."""
    try:
        return call()
    except Exception as error:  # backends raise whatever their desktop library raises
        kind = f"{type(store).__module__}: {type(error).__name__}"
        raise PlugwayError(f"the keyring did not answer ({kind}): unlock it") from None


def _no_keyring() -> PlugwayError:
    return PlugwayError(
        "this machine has no keyring that can be trusted: use `{$env: NAME}` or `{$file: PATH}`"
    )


def _encoded(key: StoredKey) -> str:
    if not key.origin:
        return key.value
    return orjson.dumps({_MARK: key.value, "origin": key.origin}).decode()


def _remembered(name: str, text: str) -> StoredKey:
    """What the text from a store says; its value is kept out of logs, and to its origin."""
    key = StoredKey(text)
    if text.startswith(f'{{"{_MARK}":'):
        with suppress(ValueError, KeyError):
            document = orjson.loads(text)
            key = StoredKey(str(document[_MARK]), str(document["origin"]))
    remember_key(name, key)
    return key

"""Secret references in a configuration: `{$env: NAME}`, `{$file: PATH}`, `{$keyring: NAME}`.

Values are fetched here and go nowhere but into the options; no message ever contains one.
"""

from __future__ import annotations

import importlib
import os
import queue
import re
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from plugway._document import Document, Place, did_you_mean
from plugway._errors import Problem
from plugway._log import register_secret

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

_MAX_FILE = 64 * 1024
_FORBIDDEN = re.compile(r"[\r\n\0]")
_stuck_since = float("-inf")


class SecretError(Exception):
    """A reference cannot be resolved: reason and fix, never the value."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(slots=True)
class Resolution:
    """Options with their references replaced, and what went wrong on the way."""

    value: object = None
    problems: list[Problem] = field(default_factory=list[Problem])
    failed: set[Place] = field(default_factory=set[Place])
    """Places of the references that could not be resolved; they hold a placeholder."""
    secrets: list[str] = field(default_factory=list[str], repr=False)

    def __repr__(self) -> str:
        return f"<Resolution: {len(self.secrets)} secrets, {len(self.problems)} problems>"

    def redact(self, text: str) -> str:
        """`text` without any of the values that were fetched."""
        for value in self.secrets:
            text = text.replace(value, "***")
        return text


def resolve(node: object, document: Document, path: Place) -> Resolution:
    """Replace every reference in `node`, which stands at `path` of `document`."""
    resolution = Resolution()
    resolution.value = _walk(node, document, path, resolution)
    return resolution


def is_reference(node: object) -> bool:
    """Whether a value is a mapping that stands for a secret, even a misspelt one."""
    return _reference(node) is not None


def _reference(node: object) -> tuple[str, object] | None:
    if not isinstance(node, Mapping):
        return None
    mapping = cast("Mapping[str, object]", node)
    known = [key for key in mapping if key in _SOURCES]
    if known:
        return known[0], mapping[known[0]]
    if len(mapping) == 1:
        key = next(iter(mapping))
        if key.startswith("$") and did_you_mean(key, list(_SOURCES)):
            return key, mapping[key]
    return None


def _walk(node: object, document: Document, path: Place, into: Resolution) -> object:
    if (reference := _reference(node)) is not None:
        return _fetch(cast("Mapping[str, object]", node), reference, document, path, into)
    if isinstance(node, Mapping):
        mapping = cast("Mapping[str, object]", node)
        return {key: _walk(item, document, (*path, key), into) for key, item in mapping.items()}
    if isinstance(node, list):
        items = cast("list[object]", node)
        return [_walk(item, document, (*path, i), into) for i, item in enumerate(items)]
    return node


def _fetch(
    node: Mapping[str, object],
    reference: tuple[str, object],
    document: Document,
    path: Place,
    into: Resolution,
) -> str:
    source, name = reference
    try:
        value = _checked(_read(node, source, name, document))
    except SecretError as error:
        into.problems.append(document.problem(path, error.reason, error.fix))
        into.failed.add(path)
        return ""
    register_secret(value)
    into.secrets.append(value)
    return value


def _read(node: Mapping[str, object], source: str, name: object, document: Document) -> str:
    if source not in _SOURCES:
        hint = did_you_mean(source, list(_SOURCES))
        raise SecretError(f"`{source}` is no kind of secret reference", hint)
    if len(node) > 1:
        others = ", ".join(f"`{key}`" for key in node if key != source)
        raise SecretError(f"`{source}` must stand alone, not beside {others}")
    if not isinstance(name, str) or not name.strip():
        raise SecretError(f"`{source}` needs a name", f"write `{{{source}: NAME}}`")
    return _SOURCES[source](name, document)


def _checked(value: str) -> str:
    if not value:
        raise SecretError("the secret is empty")
    if _FORBIDDEN.search(value):
        raise SecretError("the secret contains a line break or a NUL", "store it without them")
    return value


def _from_env(name: str, document: Document) -> str:
    if name not in os.environ:
        raise SecretError(
            f"the environment variable `{name}` is not set",
            f"run `export {name}=...` before starting, or use `{{$keyring: NAME}}`",
        )
    if not os.environ[name]:
        raise SecretError(f"the environment variable `{name}` is empty")
    return os.environ[name]


def _from_file(name: str, document: Document) -> str:
    path = Path(name).expanduser()
    if not path.is_absolute():
        if document.folder is None:
            raise SecretError(f"`{name}` is not an absolute path", "begin it with `/` or `~/`")
        path = document.folder / path
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with open(descriptor, "rb") as file:
            _refuse_exposed(os.fstat(file.fileno()), path)
            raw = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        raise SecretError(f"there is no file `{path}`") from None
    except OSError as error:
        raise SecretError(f"cannot read `{path}`: {error.strerror}") from None
    if len(raw) > _MAX_FILE:
        raise SecretError(f"`{path}` is larger than 64 KiB, too large for a secret")
    try:
        return raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise SecretError(f"`{path}` is not UTF-8 text") from None


def _refuse_exposed(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise SecretError(f"`{path}` is not a regular file")
    if os.name == "nt":
        return
    if status.st_mode & 0o007:
        mode = stat.S_IMODE(status.st_mode)
        raise SecretError(
            f"`{path}` is open to every user (mode {mode:04o})", f"run `chmod 600 {path}`"
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise SecretError(f"`{path}` belongs to another user (uid {status.st_uid})")


def _from_keyring(name: str, document: Document) -> str:
    value = _within_limit(lambda: keyring_password(name))
    if value is None:
        raise SecretError(
            f"the keyring holds no `{name}`", f"run `keyring set {KEYRING_SERVICE} {name}`"
        )
    return value


def keyring_password(name: str) -> str | None:
    """The key stored under `name` in the first store that has it; may block on a locked store."""
    reasons: list[str] = []
    stores = system_keyrings()
    for store in stores:
        try:
            if (value := store.get_password(KEYRING_SERVICE, name)) is not None:
                return str(value)
        except Exception as error:  # backends raise whatever their desktop library raises
            reasons.append(f"{type(store).__module__}: {type(error).__name__}")
    if reasons:
        raise SecretError(f"the keyring did not answer ({'; '.join(reasons)})", "unlock it")
    if not stores:
        raise SecretError(
            "this machine has no keyring that can be trusted",
            "use `{$env: NAME}` or `{$file: PATH}`",
        )
    return None


def system_keyrings() -> list[Any]:
    """The trusted stores that work on this machine, the preferred one first."""
    try:
        importlib.import_module("keyring")
    except ImportError:
        raise SecretError(
            "`$keyring` needs the package `keyring`", "run `pip install 'plugway[keyring]'`"
        ) from None
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


def _within_limit(call: Callable[[], str | None]) -> str | None:
    """The result of `call`, run in a thread that is left behind when it takes too long."""
    global _stuck_since
    silent = SecretError(
        f"the keyring did not answer within {KEYRING_SECONDS:g} s",
        "it is locked or asks for consent: unlock it and try again",
    )
    if time.monotonic() - _stuck_since < 2 * KEYRING_SECONDS:
        raise silent  # the next key of the same file would only wait as long again
    answers: queue.SimpleQueue[str | SecretError | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put(call())
        except SecretError as error:
            answers.put(error)

    threading.Thread(target=run, name="plugway-keyring", daemon=True).start()
    try:
        answer = answers.get(timeout=KEYRING_SECONDS)
    except queue.Empty:
        _stuck_since = time.monotonic()
        raise silent from None
    if isinstance(answer, SecretError):
        raise answer
    return answer


_SOURCES: Mapping[str, Callable[[str, Document], str]] = {
    "$env": _from_env,
    "$file": _from_file,
    "$keyring": _from_keyring,
}

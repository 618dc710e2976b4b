"""The audit hook: what packages use without declaring it.

Python never removes an audit hook, so there is one for the process, which asks the watch of the
running gateway.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from inspect import currentframe
from types import FrameType
from typing import Any, Final

from plugway import Bounded
from plugway_permissions_watch._declared import Declared
from plugway_permissions_watch._events import READERS, Kind, Use, uses
from plugway_permissions_watch._loops import record_names
from plugway_permissions_watch._owners import Owners

MOST_SEEN: Final = 100
"""Reported things of one package; more of them tell no more."""
_MOST_PENDING: Final = 1000
_MOST_JUDGED: Final = 4096
_IMPORTING: Final = "<frozen importlib"
_WORDS: Final[Mapping[Kind, str]] = {
    "host": "connected to",
    "process": "started",
    "native": "loaded native code, of which nothing is seen:",
}

_current: Watch | None = None
_installed = threading.Lock()


class Watch:
    """Judges what is used, from the first plugin that is loaded until the gateway stops."""

    def __init__(self, owners: Owners, report: Callable[[], None]) -> None:
        self.owners = owners
        self._report = report
        """Is called in any thread when there is something new in `seen`."""
        self.seen: dict[str, dict[str, None]] = {}
        """For each package, what it used without declaring it, in words."""
        self._declared: Mapping[str, Declared] | None = None
        self._pending: dict[tuple[str, Use], None] = {}
        """Uses before the options of all plugins were known."""
        self._before: Watch | None = None
        """The watch of the gateway that runs until this one is declared."""
        self._judged: Bounded[tuple[str, Use], None] = Bounded(_MOST_JUDGED)
        self._names: Bounded[str, tuple[str, ...]] = Bounded(_MOST_JUDGED)

    def start(self) -> None:
        """Watch from now on, in place of an earlier watch."""
        global _current
        if _installed.acquire(blocking=False):  # it is never released
            record_names(resolved_names)
            sys.addaudithook(_hook)
        if _current is not None and _current is not self and self._declared is None:
            self._before = _current if _current._declared is not None else _current._before
        _current = self

    def stop(self) -> None:
        """Watch no more, unless another has taken over."""
        global _current
        if _current is self:
            _current = None

    def declare(self, declared: Mapping[str, Declared]) -> None:
        """From now on, judge these packages; first what they used until now."""
        self._declared, self._before = declared, None
        pending, self._pending = list(self._pending), {}
        for owner, use in pending:
            self._judge(owner, use)

    def resolved(self, name: str, addresses: list[str]) -> None:
        """A name has these addresses."""
        if self._before is not None:
            self._before.resolved(name, addresses)
        for address in addresses:
            before = self._names.get(address, ())
            if name.lower() not in before:
                self._names[address] = (name.lower(), *before[:7])

    def took_place(self, frame: FrameType | None, event: str, args: tuple[Any, ...]) -> None:
        """An audit event in the current thread."""
        if self._before is not None:
            self._before.took_place(frame, event, args)
        owner = self.owners.here(frame)
        if not owner or (self._declared is not None and owner not in self._declared):
            return
        importing = frame is not None and frame.f_code.co_filename.startswith(_IMPORTING)
        for use in uses(event, args):
            if importing and self._is_code(owner, use):
                continue  # compiled code is written beside it
            if self._declared is None:
                if len(self._pending) < _MOST_PENDING:
                    self._pending[owner, use] = None
            else:
                self._judge(owner, use)

    def _is_code(self, owner: str, use: Use) -> bool:
        if self._declared is None:
            return use.kind == "file" and use.value.endswith(".pyc")
        return use.kind == "file" and self._declared[owner].is_code(os.path.realpath(use.value))

    def _judge(self, owner: str, use: Use) -> None:
        declared = (self._declared or {}).get(owner)
        if declared is None or (owner, use) in self._judged:
            return
        self._judged[owner, use] = None
        names = self._names.get(use.value, ())
        seen = self.seen.setdefault(owner, {})
        if len(seen) < MOST_SEEN and not declared.allows(use, names):
            words = in_words(use, names)
            if words not in seen:
                seen[words] = None
                self._report()


def in_words(use: Use, names: tuple[str, ...] = ()) -> str:
    """What was used, for a person. Of a file only its folder: a model may have chosen its name."""
    if use.kind != "file":
        value = names[0] if names else os.path.basename(use.value)
        return f"{_WORDS[use.kind]} {_quoted(value)}"
    doing = "read from" if use.access == "reads" else "wrote to"
    home, folder = os.path.expanduser("~"), os.path.dirname(use.value)
    if folder == home or folder.startswith(home + os.sep):
        folder = "~" + folder.removeprefix(home)
    return f"{doing} {_quoted(folder)}"


def _quoted(text: str) -> str:
    plain = "".join(c if c.isprintable() and c != "`" else "?" for c in text[:200])
    return f"`{plain}`"


def resolved_names(name: str, addresses: Any) -> None:
    if _current is not None:
        _current.resolved(name, list(addresses))


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event not in READERS or _current is None:
        return
    with suppress(Exception):  # an exception here would stop what the event is about
        _current.took_place(_caller(), event, args)


def _caller() -> FrameType | None:
    """The frame in which the event took place. `_hook` must not have its own frame in a variable:
    such a cycle keeps the variables of every caller until the garbage collector runs."""
    here = currentframe()
    try:
        hook = here.f_back if here is not None else None
        return hook.f_back if hook is not None else None
    finally:
        del here

"""The file of learned facts: read, merged with other processes' entries, replaced atomically.

https://api.deepseek.com:
  deepseek-chat:
    learned: 2026-05-01
    max_output_tokens: 8192
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import yaml

from plugway import as_object, write_file
from plugway_capabilities._facts import Facts, checked

KEPT_DAYS: Final = 30
"""Facts expire after this time, because servers are updated."""
MAX_BYTES: Final = 4 * 2**20
MAX_MODELS: Final = 2000
HEADER: Final = """\
# Features that model servers have rejected, learned by Plugway and kept for 30 days.
# URL of the server -> model -> facts
#
# You may edit or delete this file: facts that still hold are learned again. The fields are those
# of the table `facts.yaml` of the package plugway-capabilities.
"""

Learnt = dict[tuple[str, str], dict[str, Any]]
"""(server or provider, model) -> checked fields of `Facts` and the day `learned`."""

_log = logging.getLogger("plugway.capabilities")


def read(path: Path) -> Learnt:
    """Read the file; expired and unknown entries are omitted.

    A file of another shape is renamed to `NAME.broken`, with a warning.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.warning("cannot read learned facts from %s: %s", path, error.strerror)
        return {}
    try:
        found = _parsed(raw)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        _set_aside(path, error)
        return {}
    return _entries(found)


def merge(path: Path, news: Learnt) -> None:
    """Add `news` to the file. Raises `OSError` if it cannot be written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(path.with_name(f".{path.name}.lock")):
        found = read(path)
        for key, entry in news.items():
            found[key] = merged(found.get(key, {}), entry)
        _write(path, found)


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two entries; the newer one takes precedence."""
    together = Facts().updated(old).updated(new)
    return {
        **{name: getattr(together, name) for name in {*checked(old), *checked(new)}},
        "learned": new.get("learned") or old.get("learned"),
    }


def today() -> date:
    """The current day in UTC."""
    return datetime.now(UTC).date()


def _parsed(raw: bytes) -> dict[str, Any]:
    if len(raw) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES} bytes")
    found = yaml.safe_load(raw)
    if found is not None and not isinstance(found, dict):
        raise ValueError("expected a mapping: server -> model -> facts")
    return as_object(found)


def _entries(found: Mapping[str, Any]) -> Learnt:
    oldest = today() - timedelta(days=KEPT_DAYS)
    entries: Learnt = {}
    for provider, models in found.items():
        for model, fields in as_object(models).items():
            learned = as_object(fields).get("learned")
            if isinstance(learned, date) and learned < oldest:
                continue
            entry = checked(as_object(fields))
            if entry:
                entries[str(provider), str(model)] = {**entry, "learned": learned}
    return entries


def _set_aside(path: Path, error: Exception) -> None:
    aside = path.with_name(f"{path.name}.broken")
    with suppress(OSError):
        os.replace(path, aside)
    _log.warning(
        "cannot parse %s: %s. It was renamed to %s, and learning starts over; to restore it, fix "
        "that file and rename it back",
        path,
        str(error).replace("\n", " "),
        aside,
    )


def _write(path: Path, entries: Learnt) -> None:
    """Write the file. Requires the lock, so that leftover drafts belong to dead processes."""
    tree: dict[str, dict[str, Any]] = {}
    newest = sorted(entries.items(), key=lambda item: str(item[1].get("learned") or "9"))
    for (provider, model), entry in newest[-MAX_MODELS:]:
        plain = {name: _plain(value) for name, value in entry.items() if value is not None}
        tree.setdefault(provider, {})[model] = plain
    text = HEADER + yaml.safe_dump(tree, allow_unicode=True, default_flow_style=None)
    for left in path.parent.glob(f".{path.name}-*"):  # of a process that was killed
        left.unlink(missing_ok=True)
    write_file(path, text.encode())


def _plain(value: Any) -> Any:
    if isinstance(value, frozenset):
        return sorted(str(item) for item in value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    if isinstance(value, Mapping):
        members = cast("Mapping[str, Any]", value).items()
        return {key: list(item) if isinstance(item, tuple) else item for key, item in members}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return value


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Lock the file against other processes. The lock is released when its process ends."""
    with path.open("a+b") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield

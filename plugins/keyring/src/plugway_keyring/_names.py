"""The names of stored keys, because a keyring cannot list its keys."""

from __future__ import annotations

import re
from pathlib import Path

import platformdirs

from plugway import LocalGateway, PlugwayError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_REFERENCE = re.compile(r"\$keyring[\"']?\s*:\s*[\"']?([A-Za-z0-9._-]+)")


def is_name(name: str) -> bool:
    """Whether `name` is a valid key name."""
    return bool(_NAME.fullmatch(name))


def note(name: str) -> None:
    """Record that a key of this name exists; its value is only in the keyring."""
    folder = _folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / name).touch(mode=0o600)


def forget(name: str) -> None:
    """Remove the record of a key."""
    (_folder() / name).unlink(missing_ok=True)


def noted() -> list[str]:
    """Names of the keys that were stored with `plugway keys set`."""
    folder = _folder()
    found = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(name for name in found if is_name(name))


def referenced(config: Path | None = None) -> list[str]:
    """Names that the configuration refers to: the given one, or the default one.

    Raises:
        PlugwayError: the given one cannot be read.
    """
    try:
        text = LocalGateway.find(config).config_path.read_text("utf-8")
    except (PlugwayError, OSError, UnicodeDecodeError):
        if config is not None:
            raise
        return []
    lines = (line.partition("#")[0] for line in text.splitlines())
    return sorted({name for line in lines for name in _REFERENCE.findall(line)})


def _folder() -> Path:
    return platformdirs.user_state_path("plugway", appauthor=False) / "keys"

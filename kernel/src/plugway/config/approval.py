"""Approval of plugins: which files the user approved, and whether they have changed.

Disabled until the first `plugway plugins --approve`. From then on plugins that are not approved, or
have changed since, are not loaded.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import platformdirs

from plugway.kept import remove_drafts, write_file
from plugway.types.errors import ConfigError, Problem
from plugway_wire.json import as_object, loaded

_HASH = "sha256"


def approvals_path() -> Path:
    """The file of approvals."""
    return platformdirs.user_config_path("plugway", appauthor=False) / "approved-plugins.json"


def approve(names: Iterable[str], path: Path | None = None) -> dict[str, str]:
    """Approve the current files of these distributions; returns all approvals.

    Raises `ConfigError` if the file of approvals is invalid.
    """
    path = path or approvals_path()
    approved = {**(_approved(path) or {}), **{name: fingerprint(name) for name in names}}
    write_file(path, f"{json.dumps(approved, indent=1, sort_keys=True)}\n".encode())
    remove_drafts(path)
    return approved


class Approvals:
    """The approvals, read once on first use; create a new object for each load.

    Raises `ConfigError` if the file is invalid.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path or approvals_path()

    @cached_property
    def _approved(self) -> Mapping[str, str] | None:
        return _approved(self._path)

    def refusal(self, name: str) -> str:
        """Why a distribution must not be loaded; empty if it may be."""
        if self._approved is None:
            return ""
        if name not in self._approved:
            return "is not approved"
        same = self._approved[name] == fingerprint(name)
        return "" if same else "has changed since it was approved"


def fingerprint(name: str) -> str:
    """Hash of a distribution's `RECORD` and every existing file in it; for an editable one also of
    the Python files in its folder.

    `RECORD` lists a wheel's files with their hashes (packaging.python.org, "Recording installed
    projects"). Files that pip generates, such as `.pyc` files, have no hash and are omitted.
    `direct_url.json` has the folder of an editable one (the same, "Direct URL Data Structure").
    """
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return ""
    found = hashlib.sha256((dist.read_text("RECORD") or "").encode())
    for path in (*_recorded(dist), *_sources(dist)):
        found.update(f"{path}={_digest(path)}\n".encode())
    return found.hexdigest()


def _recorded(dist: Distribution) -> Iterable[Path]:
    for file in dist.files or ():
        if file.hash is not None and file.hash.mode == _HASH:
            yield Path(str(file.locate()))


def _sources(dist: Distribution) -> Iterable[Path]:
    url = urlsplit(editable_source(dist))
    if url.scheme == "file":
        yield from sorted(Path(unquote(url.path)).rglob("src/**/*.py"))


def editable_source(dist: Distribution) -> str:
    """The URL of the folder that an editable distribution runs from; empty for others."""
    origin = loaded((dist.read_text("direct_url.json") or "{}").encode())
    return str(origin.get("url")) if as_object(origin.get("dir_info")).get("editable") else ""


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()


def _approved(path: Path) -> Mapping[str, str] | None:
    """The approvals; None if there have never been any."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        found: Any = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        fix = "run `plugway plugins --approve` after removing it"
        raise ConfigError([Problem(str(path), "", "the file of approved plugins is invalid", fix)])
    return {str(k): str(v) for k, v in cast("dict[Any, Any]", found).items()}

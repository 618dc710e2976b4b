"""Approval of plugins: which files the user approved, and whether they have changed.

Disabled until the first `plugway plugins --approve`, unless the configuration has
`server.plugins: signed`. From then on what is not approved, or has changed since, is not loaded.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import platformdirs

from plugway.config.document import Document
from plugway.kept import remove_drafts, write_file
from plugway.types.errors import ConfigError, Problem
from plugway_packages import fingerprint
from plugway_wire.errors import PlugwayError
from plugway_wire.json import as_object


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

    They are required if the `document` of the configuration says so, even if it is invalid
    otherwise. Raises `ConfigError` if the file is invalid.
    """

    def __init__(self, path: Path | None = None, *, document: Document | None = None) -> None:
        self._path = path or approvals_path()
        server = as_object(as_object(document.value if document else None).get("server"))
        self._required = server.get("plugins", "listed") != "listed"

    @cached_property
    def _approved(self) -> Mapping[str, str] | None:
        found = _approved(self._path)
        return {} if found is None and self._required else found

    def refusal(self, name: str) -> str:
        """Why a distribution must not be loaded; empty if it may be."""
        if self._approved is None:
            return ""
        if name not in self._approved:
            return "is not approved"
        same = self._approved[name] == fingerprint(name)
        return "" if same else "has changed since it was approved"

    def load(self, point: EntryPoint) -> object:
        """Import an entry point if its distribution may be loaded.

        Raises `PlugwayError`, whose text continues a sentence about the entry point.
        """
        source = point.dist.name if point.dist else ""
        if source and (reason := self.refusal(source)):
            fix = f"review it, then run `plugway plugins --approve {source}`"
            raise PlugwayError(f"{reason}: {fix}")
        try:
            return cast("object", point.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # importing may raise anything, including `SystemExit`
            last = traceback.format_exception_only(error)[-1].strip()
            raise PlugwayError(f"cannot be imported: {last}") from error


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

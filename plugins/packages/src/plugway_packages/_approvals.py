"""Which packages the user approved, and whether their files have changed since."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import cast

import platformdirs

from plugway_packages._files import fingerprint, foreign_module
from plugway_wire.errors import PlugwayError


class ApprovalsError(PlugwayError):
    """The file of approvals is invalid."""

    def __init__(self, path: Path) -> None:
        fix = "run `plugway plugins --approve` after removing it"
        super().__init__(f"{path}: the file of approved plugins is invalid - {fix}")


def approvals_path() -> Path:
    """The file of approvals."""
    return platformdirs.user_config_path("plugway", appauthor=False) / "approved-plugins.json"


def approved(path: Path) -> Mapping[str, str] | None:
    """The fingerprints by package; None if there have never been any. Raises `ApprovalsError`."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApprovalsError(path)
    return {str(key): str(value) for key, value in cast("dict[object, object]", found).items()}


class Approvals:
    """The approvals, read once on first use; create a new object for each load.

    They are in use once the file exists, or if they are `required`. Whoever imports an entry point
    of another package does it with `load`. Raises `ApprovalsError`.
    """

    def __init__(self, path: Path | None = None, *, required: bool = False) -> None:
        self._path = path or approvals_path()
        self._required = required

    @cached_property
    def _approved(self) -> Mapping[str, str] | None:
        found = approved(self._path)
        return {} if found is None and self._required else found

    def refusal(self, name: str, dist: Distribution | None = None) -> str:
        """Why a distribution must not be loaded; empty if it may be."""
        if self._approved is None:
            return ""
        if name not in self._approved:
            return "is not approved"
        same = self._approved[name] == fingerprint(name, dist)
        return "" if same else "has changed since it was approved"

    def load(self, point: EntryPoint) -> object:
        """Import an entry point if its distribution may be loaded.

        Raises `PlugwayError`, whose text continues a sentence about the entry point.
        """
        if self._approved is not None:
            self._check(point)
        try:
            return cast("object", point.load())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # importing may raise anything, including `SystemExit`
            last = traceback.format_exception_only(error)[-1].strip()
            raise PlugwayError(f"cannot be imported: {last}") from error

    def _check(self, point: EntryPoint) -> None:
        if point.dist is None:
            raise PlugwayError("belongs to no installed package")
        name = point.dist.name
        if reason := self.refusal(name, point.dist):
            fix = f"review it, then run `plugway plugins --approve {name}`"
            raise PlugwayError(f"{reason}: {fix}")
        if place := foreign_module(point):
            raise PlugwayError(f"would be imported from {place}, which is not a file of `{name}`")
        if sys.pycache_prefix is None:  # beside the modules, anybody's compiled code could lie
            cache = platformdirs.user_cache_path("plugway", appauthor=False) / "bytecode"
            sys.pycache_prefix = str(cache)

"""The files of an installed distribution, as one hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import (
    Distribution,
    EntryPoint,
    PackageNotFoundError,
    distribution,
    distributions,
)
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from plugway_wire.json import as_object, loaded

_HASH = "sha256"
_CACHE = "__pycache__"
_IMPORTED = (".py", ".pyc", ".so", ".pyd", ".toml")
"""What counts in a source folder: what Python imports, and the permissions."""


def fingerprint(name: str, dist: Distribution | None = None) -> str:
    """Hash of a distribution's `RECORD` and every existing file in it; for an editable one also of
    what can be imported from its folder. Empty if it is not installed. Give `dist` if it is known:
    several can claim a name.

    `RECORD` lists a wheel's files with their hashes (packaging.python.org, "Recording installed
    projects"). Files that pip generates, such as `.pyc` files, have no hash and are omitted. Other
    files in the folders of its modules count too: Python prefers `code.abi3.so` to `code.py`.
    `direct_url.json` has the folder of an editable one (the same, "Direct URL Data Structure").
    """
    try:
        dist = dist or distribution(name)
    except PackageNotFoundError:
        return ""
    found = hashlib.sha256((dist.read_text("RECORD") or "").encode())
    recorded = list(_recorded(dist))
    for path in (*recorded, *_sources(dist), *_added(dist, recorded)):
        found.update(f"{path}={_digest(path)}\n".encode(errors="surrogateescape"))
    return found.hexdigest()


def packages_of_plugins() -> Sequence[str]:
    """The names of the distributions with entry points in a group of Plugway: `plugway`,
    `plugway.commands` and so on."""
    names = {
        dist.name
        for dist in distributions()
        for point in dist.entry_points
        if point.group.partition(".")[0] == "plugway"
    }
    return sorted(names - {None})


def foreign_module(point: EntryPoint) -> str:
    """The file that Python would import for an entry point, if it is not one of its distribution;
    empty otherwise. Nothing is imported.

    A package that comes earlier on the path, or a folder beside a module, can take its name.
    """
    if point.dist is None:
        return ""
    own = {os.path.realpath(path) for path in (*_recorded(point.dist), *_sources(point.dist))}
    for spec in _specs(point.module):
        if spec.has_location and spec.origin and os.path.realpath(spec.origin) not in own:
            return spec.origin
    return ""


def editable_source(distribution: Distribution) -> str:
    """The URL of the folder that an editable distribution runs from; empty for others."""
    origin = loaded((distribution.read_text("direct_url.json") or "{}").encode())
    return str(origin.get("url")) if as_object(origin.get("dir_info")).get("editable") else ""


def _specs(module: str) -> Iterator[ModuleSpec]:
    """Where Python finds a module and its parents."""
    place: list[str] | None = None
    for part in module.split("."):
        try:  # without the parent in the name, which need not be imported then
            spec = find_spec(part) if place is None else PathFinder.find_spec(part, place)
        except (ImportError, ValueError):
            return
        if spec is None:
            return
        yield spec
        place = list(spec.submodule_search_locations or ())


def _recorded(dist: Distribution) -> Iterable[Path]:
    for file in dist.files or ():
        if file.hash is not None and file.hash.mode == _HASH:
            yield Path(str(file.locate()))


def _sources(dist: Distribution) -> Iterable[Path]:
    url = urlsplit(editable_source(dist))
    if url.scheme == "file":
        folder = Path(unquote(url.path))
        yield from _importable(folder / "src" if (folder / "src").is_dir() else folder)


def _importable(folder: Path) -> Iterator[Path]:
    """The files in a source folder that Python could import; links are followed, as it does."""
    seen: set[str] = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        if os.path.realpath(place) in seen or "pyvenv.cfg" in files:
            folders.clear()
            continue
        seen.add(os.path.realpath(place))
        folders[:] = sorted(n for n in folders if n != _CACHE and not n.startswith("."))
        yield from (Path(place, name) for name in sorted(files) if name.endswith(_IMPORTED))


def _added(dist: Distribution, recorded: Iterable[Path]) -> Iterable[Path]:
    """Files beside its modules that `RECORD` does not list, apart from Python's caches."""
    root = Path(str(dist.locate_file("")))
    known = set(recorded)
    modules = (path for path in known if path.suffix == ".py")
    folders = {path.parent for path in modules if path.parent != root}
    for folder in sorted(folders):
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            if path not in known and path.is_file():
                yield path
            elif path.is_dir() and path.name != _CACHE and path not in folders:
                yield from (p for p in _importable(path) if p not in known)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()

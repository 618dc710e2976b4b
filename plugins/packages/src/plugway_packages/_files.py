"""The files of an installed distribution, as one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from plugway_wire.json import as_object, loaded

_HASH = "sha256"
_CACHE = "__pycache__"


def fingerprint(name: str) -> str:
    """Hash of a distribution's `RECORD` and every existing file in it; for an editable one also of
    the Python files in its folder. Empty if it is not installed.

    `RECORD` lists a wheel's files with their hashes (packaging.python.org, "Recording installed
    projects"). Files that pip generates, such as `.pyc` files, have no hash and are omitted. Other
    files in the folders of its modules count too: Python prefers `code.abi3.so` to `code.py`.
    `direct_url.json` has the folder of an editable one (the same, "Direct URL Data Structure").
    """
    try:
        dist = distribution(name)
    except PackageNotFoundError:
        return ""
    found = hashlib.sha256((dist.read_text("RECORD") or "").encode())
    recorded = list(_recorded(dist))
    for path in (*recorded, *_sources(dist), *_added(dist, recorded)):
        found.update(f"{path}={_digest(path)}\n".encode())
    return found.hexdigest()


def editable_source(dist: Distribution) -> str:
    """The URL of the folder that an editable distribution runs from; empty for others."""
    origin = loaded((dist.read_text("direct_url.json") or "{}").encode())
    return str(origin.get("url")) if as_object(origin.get("dir_info")).get("editable") else ""


def _recorded(dist: Distribution) -> Iterable[Path]:
    for file in dist.files or ():
        if file.hash is not None and file.hash.mode == _HASH:
            yield Path(str(file.locate()))


def _sources(dist: Distribution) -> Iterable[Path]:
    url = urlsplit(editable_source(dist))
    if url.scheme == "file":
        yield from sorted(Path(unquote(url.path)).rglob("src/**/*.py"))


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
                yield from (p for p in sorted(path.rglob("*.*")) if p not in known and p.is_file())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes() if path.is_file() else b"").hexdigest()

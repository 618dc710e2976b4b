"""Finds files that run whenever Python starts, in which a package can hide code.

The caller decides whether to start.
"""

from __future__ import annotations

import os
import re
import site
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, distributions, entry_points
from pathlib import Path

from plugway_packages._files import editable_source

OVERRIDE = "PLUGWAY_ALLOW_PTH"
"""Environment variable that allows such files if set to 1."""

_HARMLESS = re.compile(
    r"_*editable_.*|_virtualenv|distutils-precedence|a1_coverage|coverage.*|.*-nspkg|matplotlib.*"
    r"|pywin32|zz_.*coverage.*",
    re.IGNORECASE,
)
"""Names of files that common tools install; they cause no warning."""


@dataclass(frozen=True, slots=True)
class RefusedFile:
    """A file because of which the gateway must not start."""

    path: Path
    reason: str
    fix: str


@dataclass(frozen=True, slots=True)
class StartupFiles:
    """The files found: reasons not to start, and warnings."""

    refused: tuple[RefusedFile, ...] = ()
    warnings: tuple[str, ...] = ()


def startup_files(
    folders: Iterable[Path] | None = None, environ: Mapping[str, str] = os.environ
) -> StartupFiles:
    """Find installed `.pth` files with an `import` line, and `sitecustomize` modules.

    Those of a plugin are refused, even if it is not listed, because its code would run anyway;
    plugins installed in editable mode are exempt.
    """
    suspects = list(_suspects(list(_site_folders() if folders is None else folders)))
    if not suspects:
        return StartupFiles()
    plugins = {
        point.dist.name
        for group in ("plugway", "plugway.stack")
        for point in entry_points(group=group)
        if point.dist
    }
    refused: list[RefusedFile] = []
    warnings: list[str] = []
    for path in suspects:
        owner = _owner(path)
        if owner is not None and owner.name in plugins and not editable_source(owner):
            fix = f"run `pip uninstall {owner.name}`, or set {OVERRIDE}=1 if you trust it"
            reason = f"`{owner.name}` runs this file whenever Python starts"
            refused.append(RefusedFile(path, reason, fix))
        elif not _HARMLESS.fullmatch(path.stem):
            source = f"`{owner.name}`" if owner is not None else "no known package"
            warnings.append(f"{path} runs whenever Python starts; it belongs to {source}")
    if environ.get(OVERRIDE) == "1":
        allowed = (f"{file.path}: {file.reason}" for file in refused)
        return StartupFiles((), (*allowed, *warnings))
    return StartupFiles(tuple(refused), tuple(warnings))


def _site_folders() -> set[Path]:
    paths = sysconfig.get_paths()
    folders = {paths["purelib"], paths["platlib"], *site.getsitepackages()}
    if site.ENABLE_USER_SITE:
        folders.add(site.getusersitepackages())
    return {Path(folder) for folder in folders}


def _suspects(folders: list[Path]) -> Iterable[Path]:
    for folder in sorted(set(folders)):
        for path in sorted(folder.glob("*.pth")):
            try:
                lines = path.read_text("utf-8", errors="replace").splitlines()
            except OSError:
                continue
            if any(line.startswith(("import ", "import\t")) for line in lines):
                yield path
    for module in ("sitecustomize", "usercustomize"):
        spec = PathFinder.find_spec(module, [str(folder) for folder in folders])
        if spec is not None and spec.origin:
            yield Path(spec.origin)


def _owner(path: Path) -> Distribution | None:
    """The distribution that installed `path`."""
    for distribution in distributions(path=[str(path.parent)]):
        record = distribution.read_text("RECORD") or ""
        if any(line.split(",")[0].strip('"') == path.name for line in record.splitlines()):
            return distribution
    return None

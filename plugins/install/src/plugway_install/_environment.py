"""What is installed in the gateway's environment, and what would collide with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from functools import cached_property
from importlib.metadata import Distribution, distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from plugway import PlugwayError
from plugway_install._wheel import Wheel, is_ours
from plugway_packages import PermissionsError, editable_source, permissions

NOTHING: Final = ("declares nothing: it can do all that the gateway can",)
"""In place of permissions."""


class Environment:
    """The installed distributions by canonical name, read once."""

    @cached_property
    def installed(self) -> Mapping[str, Distribution]:
        """The distributions; the first on the path wins, as for imports."""
        found: dict[str, Distribution] = {}
        for dist in distributions():
            if dist.metadata["Name"]:
                found.setdefault(canonicalize_name(dist.metadata["Name"]), dist)
        return found

    @property
    def with_plugins(self) -> Mapping[str, Distribution]:
        """The distributions that register something with Plugway."""
        return {
            name: dist
            for name, dist in self.installed.items()
            if any(is_ours(point.group) for point in dist.entry_points)
        }

    def declared(self, name: str) -> Sequence[str] | None:
        """The permissions in words that an installed package of plugins declares; None if it is
        not installed. Nothing is imported."""
        dist = self.with_plugins.get(name)
        if dist is None:
            return None
        point = next(point for point in dist.entry_points if is_ours(point.group))
        try:
            found = permissions(point)
        except PermissionsError as error:
            return [str(error)]
        return found.words() if found else NOTHING

    def files(self, names: Iterable[str]) -> Iterator[Path]:
        """The existing files of these distributions."""
        for name in names:
            dist = self.installed.get(name)
            for file in (dist.files or ()) if dist else ():
                path = _normal(Path(str(file.locate())))
                if path.is_file():
                    yield path

    def refuse_editable(self, names: Iterable[str]) -> None:
        """Raise `PlugwayError` if one of these runs from a source folder."""
        for name in names:
            dist = self.installed.get(name)
            if dist and (source := editable_source(dist)):
                reason = f"`{name}` runs from the folder {source}"
                raise PlugwayError(f"{reason}: update it there, or run `pip uninstall {name}`")

    def refuse_collisions(self, wheels: Sequence[Wheel]) -> None:
        """Raise `PlugwayError` if a wheel would replace what belongs to another package."""
        replaced = {wheel.pin.name for wheel in wheels}
        points = self._points(name for name in self.installed if name not in replaced)
        new: dict[Path, str] = {}
        for wheel in wheels:
            self._refuse_points(wheel, points)
            for path in wheel.hashes:
                self._refuse_path(wheel, path, new, replaced)
            for module in sorted(filter(_exists, wheel.modules)):
                known = self._modules.get(module, set())
                if wheel.pin.name not in known and (place := _regular(module)):
                    whose = f"`{min(known)}`" if known else str(place)
                    raise _refused(wheel, f"the module `{module}` belongs to {whose}")
                if known - replaced and wheel.begins(module):
                    reason = f"the module `{module}` is shared with `{min(known - replaced)}`"
                    raise _refused(wheel, f"{reason}, which its `__init__` would hide")

    def _refuse_path(
        self, wheel: Wheel, path: Path, new: dict[Path, str], replaced: Set[str]
    ) -> None:
        there = os.path.lexists(path) and not path.is_dir()
        former = self._owners.get(_normal(path)) if there else None
        owner = former if former and former not in replaced else new.get(_normal(path))
        new[_normal(path)] = wheel.pin.name
        if owner is not None:
            raise _refused(wheel, f"it would replace {path}, which belongs to `{owner}`")
        if there and former is None:
            raise _refused(wheel, f"it would replace {path}, which belongs to no package")

    @cached_property
    def _owners(self) -> Mapping[Path, str]:
        return {path: name for name in self.installed for path in self.files([name])}

    @cached_property
    def _modules(self) -> Mapping[str, Set[str]]:
        return {
            module: {canonicalize_name(name) for name in names}
            for module, names in packages_distributions().items()
        }

    def _points(self, names: Iterable[str]) -> dict[tuple[str, str], str]:
        return {
            (point.group, point.name): name
            for name in names
            for point in self.installed[name].entry_points
            if is_ours(point.group)
        }

    def _refuse_points(self, wheel: Wheel, points: dict[tuple[str, str], str]) -> None:
        for group in filter(is_ours, wheel.points):
            for name in wheel.points[group]:
                owner = points.setdefault((group, name), wheel.pin.name)
                if owner != wheel.pin.name:
                    raise _refused(wheel, f"the name `{name}` belongs to `{owner}`")

    def needed_by(self, names: Iterable[str]) -> Mapping[str, Sequence[str]]:
        """For each of these, the other installed distributions that require it."""
        going = set(names)
        found: dict[str, list[str]] = {}
        for other, dist in self.installed.items():
            for text in (dist.requires or ()) if other not in going else ():
                try:
                    requirement = Requirement(text)
                except InvalidRequirement:
                    continue
                name = canonicalize_name(requirement.name)
                marker = requirement.marker
                if name in going and (marker is None or marker.evaluate({"extra": ""})):
                    found.setdefault(name, []).append(other)
        return found


def _refused(wheel: Wheel, reason: str) -> PlugwayError:
    return PlugwayError(f"`{wheel.path.name}` is refused: {reason}")


def _exists(module: str) -> bool:
    try:
        return module in sys.builtin_module_names or find_spec(module) is not None
    except (ImportError, ValueError):
        return True


def _regular(module: str) -> Path | None:
    """Where a top-level module is imported from now; None for none, and for a namespace."""
    if module in sys.builtin_module_names:
        return Path(module)
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin else None


def _normal(path: Path) -> Path:
    return Path(os.path.normpath(path))

"""Inspects a wheel before it is installed; nothing in it runs.

The format is that of packaging.python.org, "Binary distribution format".
"""

from __future__ import annotations

import base64
import configparser
import csv
import hashlib
import io
import os
import re
import stat
import sysconfig
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from pathlib import Path, PurePosixPath

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from plugway import PlugwayError
from plugway_install._change import change_folder
from plugway_install._pip import Pin, wheel_name
from plugway_packages import FILE, Permissions, PermissionsError, parse_permissions

SCRIPTS = ("console_scripts", "gui_scripts")
_STARTUP = {"sitecustomize", "usercustomize"}
_SIGNATURES = ("RECORD.jws", "RECORD.p7s")
_SCHEMES = {
    "purelib": "purelib",
    "platlib": "platlib",
    "scripts": "scripts",
    "data": "data",
    "headers": "include",
}
_MOST_BYTES = 8 << 30
_MOST_OF_METADATA = 16 << 20
_POINT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names that look like no other name: they are shown, and written into configurations."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """What a wheel contains."""

    path: Path
    pin: Pin
    hashes: Mapping[Path, str] = field(repr=False)
    """Every file where it will be installed, with its hash as in `RECORD`; scripts have none."""
    points: Mapping[str, Mapping[str, str]]
    """The entry points by group."""
    permissions: Permissions | None

    @property
    def plugins(self) -> tuple[str, ...]:
        """The names of its plugins, commands, key stores and so on."""
        ours = [names for group, names in self.points.items() if is_ours(group)]
        return tuple(sorted({name for names in ours for name in names}))

    def begins(self, module: str) -> bool:
        """Whether it has code that runs before any other of this package of modules."""
        starts = [path for path in self.hashes if path.parent.name == module]
        return any(path.name.partition(".")[0] == "__init__" for path in starts)

    @property
    def programs(self) -> tuple[str, ...]:
        """The names of the programs that it puts beside `plugway`."""
        folder = Path(sysconfig.get_path("scripts"))
        return tuple(sorted(path.name for path in self.hashes if path.parent == folder))

    @property
    def other_groups(self) -> tuple[str, ...]:
        """The groups in which it registers something for other libraries."""
        groups = (g for g in self.points if not is_ours(g) and g not in SCRIPTS)
        return tuple(sorted(groups))

    @property
    def modules(self) -> set[str]:
        """The top-level modules and packages that it installs."""
        roots = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
        found: set[str] = set()
        for path in self.hashes:
            for root in roots:
                if path.is_relative_to(root):
                    top = path.relative_to(root).parts[0]
                    found |= {top.partition(".")[0]} if top.count(".dist-info") == 0 else set()
        return found


def is_ours(group: str) -> bool:
    """Whether an entry-point group is one of Plugway: packages in it are approved, and a name in it
    belongs to one package."""
    return group.partition(".")[0] == "plugway"


def inspect(path: Path, pin: Pin) -> Wheel:
    """The contents of a wheel that must be `pin`. Raises `PlugwayError` if it must not be
    installed."""

    def refuse(reason: str) -> PlugwayError:
        return PlugwayError(f"`{path.name}` is refused: {reason}")

    if sha256_of(path) != pin.sha256:
        raise refuse(f"its hash is not {pin.sha256[:16]}…, as it was locked")
    try:
        with zipfile.ZipFile(path) as archive:
            return _inspected(path, pin, archive)
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError) as error:
        raise refuse(f"not a valid archive ({error})") from None
    except (ValueError, KeyError, configparser.Error, PermissionsError) as error:
        raise refuse(str(error.args[0] if error.args else error)) from None


def _inspected(path: Path, pin: Pin, archive: zipfile.ZipFile) -> Wheel:
    names = _names(archive)
    info = _info_folder(names, path)
    _check_identity(_read(archive, f"{info}/METADATA"), pin)
    hashes = _check_record(archive, names, info)
    points = _entry_points(archive, names, info)
    targets = _targets(hashes, pin, info)
    scripts = Path(sysconfig.get_path("scripts"))
    for group in SCRIPTS:
        targets |= {scripts / name: "" for name in points.get(group, {})}
    return Wheel(path, pin, targets, points, _permissions(archive, names, points))


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > _MOST_OF_METADATA:
        raise ValueError(f"{name!r} is larger than 16 MiB")
    return archive.read(name)


def _names(archive: zipfile.ZipFile) -> list[str]:
    """The names of the files. Raises `ValueError` for one that could lead elsewhere."""
    seen: set[str] = set()
    found: list[str] = []
    if sum(item.file_size for item in archive.infolist()) > _MOST_BYTES:
        raise ValueError("it would unpack to more than 8 GiB")
    for item in archive.infolist():
        name = item.filename
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or any(c in name for c in "\\:\0"):
            raise ValueError(f"it contains the path {name!r}, which leads out of its folder")
        if not name.isprintable():
            raise ValueError(f"it contains {name!r}, which a terminal would not show as it is")
        if stat.S_ISLNK(item.external_attr >> 16):
            raise ValueError(f"it contains the link {name!r}")
        if item.is_dir():
            continue
        if name.lower() in seen:
            raise ValueError(f"it contains {name!r} twice")
        seen.add(name.lower())
        stems = {part.partition(".")[0].lower() for part in parts}
        if name.lower().endswith(".pth") or stems & _STARTUP:
            raise ValueError(f"{name!r} would run whenever Python starts")
        found.append(name)
    return found


def _info_folder(names: list[str], path: Path) -> str:
    folders = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    folders = {folder for folder in folders if folder.endswith(".dist-info")}
    if len(folders) != 1:
        raise ValueError(f"it contains {len(folders)} `.dist-info` folders instead of one")
    (folder,) = folders
    name, _, version = folder.removesuffix(".dist-info").partition("-")
    if (canonicalize_name(name), _version(version)) != wheel_name(path):
        raise ValueError(f"the folder `{folder}` does not match the file name")
    return folder


def _check_identity(metadata: bytes, pin: Pin) -> None:
    said = BytesParser().parsebytes(metadata, headersonly=True)
    name, version = canonicalize_name(str(said["Name"])), _version(str(said["Version"]))
    if (name, version) != (pin.name, _version(pin.version)):
        raise ValueError(f"its metadata names `{name}` {version}, not `{pin.name}` {pin.version}")


def _version(text: str) -> str:
    try:
        return str(Version(text))
    except InvalidVersion:
        raise ValueError(f"{text!r} is not a version") from None


def _check_record(archive: zipfile.ZipFile, names: list[str], info: str) -> dict[str, str]:
    """The hash of every file, which must be the one in `RECORD`."""
    text = _read(archive, f"{info}/RECORD").decode("utf-8")
    recorded = {row[0]: row[1] for row in csv.reader(io.StringIO(text)) if len(row) >= 2}
    own = {f"{info}/{name}" for name in ("RECORD", *_SIGNATURES)}
    if unlisted := sorted(set(names) - set(recorded) - own):
        raise ValueError(f"its RECORD does not list {unlisted[0]!r}")
    if missing := sorted(set(recorded) - set(names)):
        raise ValueError(f"its RECORD lists {missing[0]!r}, which it does not contain")
    for name in sorted(set(names) - own):
        mode, _, wanted = recorded[name].partition("=")
        if mode not in ("sha256", "sha384", "sha512"):
            raise ValueError(f"its RECORD has no hash of {name!r}")
        with archive.open(name) as file:
            found = hashlib.new(mode)
            for chunk in iter(lambda file=file: file.read(1 << 20), b""):
                found.update(chunk)
        if _encoded(found.digest()) != wanted:
            raise ValueError(f"{name!r} is not what its RECORD says")
    return {name: recorded.get(name, "") for name in names}


def _entry_points(
    archive: zipfile.ZipFile, names: list[str], info: str
) -> dict[str, dict[str, str]]:
    if f"{info}/entry_points.txt" not in names:
        return {}
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue]
    parser.read_string(_read(archive, f"{info}/entry_points.txt").decode("utf-8"))
    found = {group: dict(parser[group]) for group in parser.sections()}
    for group, points in found.items():
        for name in (group, *points) if is_ours(group) or group in SCRIPTS else (group,):
            if not _POINT.fullmatch(name):
                raise ValueError(f"the name {name!a} has other characters than A-Z, 0-9, `._-`")
    return found


def _permissions(
    archive: zipfile.ZipFile, names: list[str], points: Mapping[str, Mapping[str, str]]
) -> Permissions | None:
    """The declared permissions: the file that the kernel will read, which depends on the module."""
    values = [v for group in points if is_ours(group) for v in points[group].values()]
    tops = {value.partition(":")[0].partition(".")[0].strip() for value in values}
    for top in sorted(tops):
        if not any(re.search(rf"(^|/purelib/|/platlib/){re.escape(top)}[./]", n) for n in names):
            raise ValueError(f"its plugin is in the module `{top}`, which it does not contain")
    files = [f"{top}/{FILE}" for top in sorted(tops) if f"{top}/{FILE}" in names]
    if files and len(tops) > 1:
        raise ValueError(f"its plugins are in several packages, so `{FILE}` is ambiguous")
    return parse_permissions(_read(archive, files[0])) if files else None


def _targets(hashes: Mapping[str, str], pin: Pin, info: str) -> dict[Path, str]:
    """Where each file is installed, with its hash. Raises `ValueError` for a place that is not for
    it."""
    found: dict[Path, str] = {}
    sites = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}
    for name, value in hashes.items():
        path = _target(name, pin)
        if path in found:
            raise ValueError(f"it contains {name!r} twice, in different folders")
        top = next((path.relative_to(s).parts[0] for s in sites if path.is_relative_to(s)), "")
        if top.endswith((".dist-info", ".egg-info", ".egg")) and top != info:
            raise ValueError(f"it contains {name!r}, the metadata of another package")
        if path.is_relative_to(change_folder()):
            raise ValueError(f"it contains {name!r}, in the folder of an installation in progress")
        found[path] = value
    return found


def _target(name: str, pin: Pin) -> Path:
    """Where a file of a wheel is installed."""
    parts = PurePosixPath(name).parts
    if not parts[0].endswith(".data"):
        return _below(Path(sysconfig.get_path("purelib")), parts, name)
    if len(parts) < 3 or parts[1] not in _SCHEMES:
        raise ValueError(f"it contains {name!r} in an unknown scheme")
    folder = Path(sysconfig.get_path(_SCHEMES[parts[1]]))
    own = (pin.name,) if parts[1] == "headers" else ()
    return _below(folder, (*own, *parts[2:]), name)


def _below(folder: Path, parts: tuple[str, ...], name: str) -> Path:
    """A place below a folder. Raises `ValueError` if a link on the way leads elsewhere, such as
    `lib64` of an environment, so that one file had two names."""
    path = folder.joinpath(*parts)
    if os.path.realpath(path.parent) != str(Path(os.path.realpath(folder), *parts[:-1])):
        raise ValueError(f"it contains {name!r}, which a link in {folder} leads elsewhere")
    return path


def installed_as(wheel: Wheel) -> str:
    """Why the installed files are not those of the wheel; empty if they are."""
    for path, recorded in wheel.hashes.items():
        mode, _, wanted = recorded.partition("=")
        if not wanted or path.parent == Path(sysconfig.get_path("scripts")):
            continue  # pip rewrites `RECORD`, and the first line of scripts
        if not path.is_file():
            return f"{path} is missing"
        with path.open("rb") as file:
            if _encoded(hashlib.file_digest(file, mode).digest()) != wanted:
                return f"{path} is not the file of the wheel"
    return ""


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def sha256_of(path: Path) -> str:
    """The hash of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

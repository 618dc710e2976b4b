"""Runs pip in the gateway's environment: resolve, download, install, uninstall, build."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import VERSION_PATTERN

from plugway import PlugwayError, as_list, as_object

_LAST_LINES = 12
_LOCKED = re.compile(
    rf"(?P<name>[A-Z0-9][A-Z0-9._-]*)==(?P<version>{VERSION_PATTERN})\s+"
    r"--hash=sha256:(?P<sha256>[0-9a-f]{64})",
    re.VERBOSE | re.IGNORECASE,
)
"""A line of a lock; nothing else, because pip reads it, too, and knows options there."""
_ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PIP_USER")
"""Settings that would make pip install somewhere else; files of settings are overridden by
`PIP_USER`, and what they move is noticed when the installed files are compared."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One package of a lock: exactly one file."""

    name: str
    """Canonical name."""
    version: str
    sha256: str
    url: str = ""
    """Where it comes from; empty if a lock file named it."""
    yanked: bool = False
    """Whether its author has withdrawn it."""

    @property
    def line(self) -> str:
        """The line of a lock in the format of pip's `--require-hashes`."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}"

    @property
    def path(self) -> Path | None:
        """The local file; None if it comes from an index."""
        parts = urlsplit(self.url)
        return Path(url2pathname(unquote(parts.path))) if parts.scheme == "file" else None


@dataclass(frozen=True, slots=True)
class Source:
    """Where packages come from: the index that is configured for pip, or a folder of wheels."""

    folder: Path | None = None

    @property
    def options(self) -> Sequence[str]:
        """Pip's options."""
        return ("--no-index", "--find-links", str(self.folder)) if self.folder else ()


def resolve(
    wanted: Sequence[str], source: Source, work: Path, *, upgrade: bool = False, alone: bool = False
) -> tuple[Pin, ...]:
    """What pip would install for these requirements; runs no code of any package.

    `alone` ignores dependencies. Raises `PlugwayError`.
    """
    report = work / "report.json"
    more = [*(["--upgrade"] if upgrade else []), *(["--no-deps"] if alone else [])]
    target = ["--dry-run", "--report", str(report), "--only-binary", ":all:", *more]
    pip(["install", *target, *source.options, "--", *wanted], work)
    items = as_list(json.loads(report.read_text("utf-8")).get("install"))
    return tuple(sorted((_pin(as_object(item)) for item in items), key=lambda pin: pin.name))


def _pin(item: dict[str, object]) -> Pin:
    metadata, download = as_object(item.get("metadata")), as_object(item.get("download_info"))
    hashes = as_object(as_object(download.get("archive_info")).get("hashes"))
    name, version = str(metadata.get("name")), str(metadata.get("version"))
    if not (sha256 := str(hashes.get("sha256") or "")):
        raise PlugwayError(f"pip reports no SHA-256 hash for `{name}` {version}: use another index")
    url = str(download.get("url") or "")
    return Pin(canonicalize_name(name), version, sha256, url, item.get("is_yanked") is True)


def download(pins: Sequence[Pin], source: Source, work: Path) -> Path:
    """The folder with the wheels of `pins`. Pip checks their hashes."""
    wheels = work / "wheels"
    wheels.mkdir()
    local = [pin for pin in pins if pin.path]
    for pin in local:
        path = pin.path
        assert path is not None
        (wheels / path.name).write_bytes(path.read_bytes())
    if others := [pin for pin in pins if not pin.path]:
        lock = write_lock(others, work / "download.txt")
        target = ["--only-binary", ":all:", "--no-deps", "--dest", str(wheels)]
        pip(["download", *target, *source.options, "--require-hashes", "-r", str(lock)], work)
    return wheels


def install(pins: Sequence[Pin], wheels: Path, work: Path) -> None:
    """Install exactly these wheels; pip checks their hashes again."""
    lock = write_lock(pins, work / "install.txt")
    exactly = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile"]
    pip(["install", *exactly, *Source(wheels).options, "-r", str(lock)], work)


def uninstall(names: Iterable[str], work: Path) -> None:
    """Remove packages."""
    pip(["uninstall", "--yes", "--", *names], work)


def build(folder: Path, work: Path, *, isolated: bool) -> Path:
    """Build the wheel of a source folder; this runs the code of its build."""
    built = work / "built"
    alone = [] if isolated else ["--no-build-isolation"]
    options = ["--no-deps", *alone, "--wheel-dir", str(built)]
    pip(["wheel", *options, "--", str(folder)], work, builds=True)
    return next(built.glob("*.whl"))


def write_lock(pins: Sequence[Pin], path: Path) -> Path:
    """Write a lock that `pip install --require-hashes -r` and `read_lock` read."""
    path.write_text(lock_of(pins), "utf-8")
    return path


def lock_of(pins: Sequence[Pin]) -> str:
    """The text of a lock."""
    return "".join(f"{pin.line}\n" for pin in pins)


def read_lock(text: str, where: Path) -> tuple[Pin, ...]:
    """The pins of a lock. Raises `PlugwayError`."""
    pins: list[Pin] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (found := _LOCKED.fullmatch(line.strip())):
            fix = "each line should be `NAME==VERSION --hash=sha256:HASH`"
            raise PlugwayError(f"{where}:{number}: not a line of a lock; {fix}")
        pins.append(Pin(canonicalize_name(found["name"]), found["version"], found["sha256"]))
    return tuple(pins)


def wheel_name(path: Path) -> tuple[str, str]:
    """Name and version in the file name of a wheel. Raises `PlugwayError`."""
    try:
        name, version, _, _ = parse_wheel_filename(path.name)
        path.name.encode("ascii")
    except (InvalidWheelFilename, UnicodeEncodeError):
        fix = "give a wheel (`.whl`), a source folder, or a name"
        raise PlugwayError(f"`{path.name}` is not the name of a wheel: {fix}") from None
    return name, str(version)


def pip(arguments: Sequence[str], work: Path, *, builds: bool = False) -> None:
    """Run pip, which starts other programs only if it `builds`. Raises `PlugwayError` with the end
    of its output."""
    if find_spec("pip") is None:
        fix = "run `python -m ensurepip` (or `uv pip install pip`) in it"
        raise PlugwayError(f"the environment {sys.prefix} has no pip: {fix}")
    plain = ("--disable-pip-version-check", "--no-input")
    program = ("-m", "pip") if builds else (str(Path(__file__).with_name("_wheels_only.py")),)
    process = subprocess.Popen(
        [sys.executable, "-P", *program, *arguments[:1], *plain, *arguments[1:]],
        cwd=work,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**{k: v for k, v in os.environ.items() if k not in _ELSEWHERE}, "PIP_USER": "0"},
        start_new_session=True,  # Ctrl-C reaches only this process, which then restores
    )
    try:
        said, _ = process.communicate()
    finally:
        if process.poll() is None:
            _kill(process)
    if process.returncode:
        lines = [_plain(line) for line in said.splitlines() if line.strip()][-_LAST_LINES:]
        raise PlugwayError("\n  ".join([f"`pip {arguments[0]}` failed:", *lines]))


def _plain(line: str) -> str:
    """A line of pip, which quotes metadata of packages, without characters that move the cursor."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()

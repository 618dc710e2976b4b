"""A plan: what would be installed, checked and ready to be shown; then carried out."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import platformdirs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from plugway import PlugwayError
from plugway_install import _pip
from plugway_install._change import undone_on_failure
from plugway_install._environment import NOTHING, Environment
from plugway_install._names import refuse_own, resembles_own
from plugway_install._pip import Pin, Source, wheel_name
from plugway_install._signatures import LIST, SignedList, signers_path, verified
from plugway_install._signers import Signer, known_signers, remember_signers
from plugway_install._wheel import Wheel, inspect, installed_as

_ARCHIVES = (".whl", ".gz", ".bz2", ".xz", ".zip", ".tar", ".tgz", ".egg")
"""Ends of file names, which would be valid names of packages, too."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Downloaded and inspected wheels; nothing is installed yet."""

    wheels: tuple[Wheel, ...]
    signed: SignedList
    folder: Path
    """The folder with the wheels."""
    environment: Environment = field(repr=False)

    @property
    def pins(self) -> tuple[Pin, ...]:
        """The lock."""
        return tuple(wheel.pin for wheel in self.wheels)

    def lines(self) -> Iterator[str]:
        """The plan in words."""
        for wheel in self.wheels:
            pin, before = wheel.pin, self.environment.installed.get(wheel.pin.name)
            kind = "new   " if before is None else "change"
            change = pin.version if before is None else f"{before.version} -> {pin.version}"
            if before is not None and Version(pin.version) < Version(before.version):
                change += " (older)"
            change += ", withdrawn by its author (yanked)" if pin.yanked else ""
            signer = f", signed by {self.signed.signer}" if self.signed.has(pin) else ""
            yield f"  {kind} {pin.name} {change}{signer}  sha256:{pin.sha256}"
            if similar := resembles_own(pin.name):
                yield f"         NOT a package of Plugway, though the name is like `{similar}`"
        for wheel in self.wheels:
            yield from _besides(wheel)
            if wheel.plugins:
                named = ", ".join(wheel.plugins)
                yield f"`{wheel.pin.name}` provides {named}, and declares that it"
                known = self.environment.declared(wheel.pin.name)
                for line in described(wheel):
                    new = known is not None and line not in known
                    yield f"  - {line}{', NEW in this version' if new else ''}"

    def unsigned(self) -> Sequence[Pin]:
        """The packages that are not signed."""
        return [pin for pin in self.pins if not self.signed.has(pin)]

    def signers(self) -> Mapping[str, Signer]:
        """Who signed each of the packages that are signed."""
        signer = Signer(self.signed.signer, self.signed.key)
        return {pin.name: signer for pin in self.pins if self.signed.has(pin)}

    def other_signers(self) -> Sequence[str]:
        """For each installed package that somebody else signed until now, a sentence."""
        now = self.signers()
        return [
            f"`{name}` was signed by {before}; this version is "
            + (f"signed by {now[name]}" if name in now else "not signed")
            for name, before in known_signers().items()
            if any(pin.name == name for pin in self.pins) and name in self.environment.installed
            if name not in now or now[name].name != before.name
        ]

    def carry_out(self, work: Path) -> None:
        """Install it, or restore the former state. Raises `PlugwayError`."""
        names = [pin.name for pin in self.pins]
        new = [path for wheel in self.wheels for path in wheel.hashes]
        with undone_on_failure(self.environment.files(names), new):
            _pip.install(self.pins, self.folder, work)
            for wheel in self.wheels:
                if reason := installed_as(wheel):
                    raise PlugwayError(f"`{wheel.pin.name}` was not installed as it is: {reason}")
            remember_signers(self.signers(), names)

    def approve_signed(self) -> str:
        """Approve what is signed, if approvals are in use; returns the output of the command."""
        approvals = platformdirs.user_config_path("plugway", appauthor=False)
        names = [w.pin.name for w in self.wheels if w.plugins and self.signed.has(w.pin)]
        if not names or not (approvals / "approved-plugins.json").exists():
            return ""
        importlib.invalidate_caches()
        installed = Environment().installed
        return run_plugway("plugins", "--approve", *(installed[n].metadata["Name"] for n in names))


def _besides(wheel: Wheel) -> Iterator[str]:
    """What a wheel brings besides modules and plugins."""
    own = sysconfig.get_path("scripts")
    for name in wheel.programs:
        other = shutil.which(name)
        hides = f", which hides {other}" if other and not Path(other).is_relative_to(own) else ""
        yield f"`{wheel.pin.name}` brings the program `{name}`{hides}"
    if wheel.other_groups:
        yield f"`{wheel.pin.name}` registers something for {', '.join(wheel.other_groups)}"


def described(wheel: Wheel) -> Sequence[str]:
    """The permissions of a wheel in words."""
    return NOTHING if wheel.permissions is None else wheel.permissions.words()


def requirements(
    wanted: Sequence[str], source: Source, work: Path, *, isolated: bool
) -> Sequence[str]:
    """What the user named as requirements for pip; builds source folders."""
    found: list[str] = []
    for text in wanted:
        path = Path(text).expanduser()
        if (path / "pyproject.toml").is_file():
            found.append(str(_pip.build(path.resolve(), work, isolated=isolated)))
        elif path.is_file() and path.suffix == ".whl":
            wheel_name(path)
            found.append(str(path.resolve()))
        elif path.is_dir() and any(path.glob("*.whl")):
            raise PlugwayError(f"`{text}` has wheels: name a package and `--from {text}`")
        else:
            found.append(_requirement(text, source))
    return found


def is_source(text: str) -> bool:
    """Whether a word names a source folder, whose build would run."""
    return (Path(text).expanduser() / "pyproject.toml").is_file()


def _requirement(text: str, source: Source) -> str:
    try:
        requirement = Requirement("" if text.endswith(_ARCHIVES) else text)
    except InvalidRequirement:
        reason = "is neither a package name, a wheel (`.whl`), nor a source folder"
        raise PlugwayError(f"`{text}` {reason}") from None
    if requirement.url:
        raise PlugwayError(f"`{text}`: download the wheel first, and name the file")
    if not source.folder:
        refuse_own(requirement.name)
    return str(requirement)


def make_plan(
    pins: Sequence[Pin], source: Source, work: Path, *, signed_list: Path | None, unsigned: bool
) -> Plan:
    """Download and inspect `pins`. Raises `PlugwayError` if any must not be installed."""
    environment = Environment()
    for pin in pins:
        if not (source.folder or pin.path):
            refuse_own(pin.name)
    environment.refuse_editable(pin.name for pin in pins)
    signed = _signed(pins, source, signed_list) if not unsigned else SignedList()
    folder = _pip.download(pins, source, work)
    files = {wheel_name(path): path for path in folder.glob("*.whl")}
    wheels: list[Wheel] = []
    for pin in pins:
        path = files.get((pin.name, str(Version(pin.version))))
        if path is None:
            raise PlugwayError(f"there is no wheel of `{pin.name}` {pin.version}")
        wheels.append(inspect(path, pin))
    environment.refuse_collisions(wheels)
    plan = Plan(tuple(wheels), signed, folder, environment)
    if not unsigned and signers_path().is_file() and (missing := plan.unsigned()):
        names = ", ".join(f"`{pin.name}` {pin.version}" for pin in missing)
        raise PlugwayError(
            f"not signed by anyone in {signers_path()}: {names}. Get a signed list (`--signed "
            "FILE`), or install without it by `--unsigned`"
        )
    return plan


def _signed(pins: Sequence[Pin], source: Source, given: Path | None) -> SignedList:
    """The signed list: the given one, or the one beside the wheels, if signers are configured."""
    if given is not None:
        return verified(given)
    if not signers_path().is_file():
        return SignedList()
    folders = [source.folder, *(pin.path.parent for pin in pins if pin.path)]
    for folder in folders:
        if folder and (folder / LIST).is_file():
            return verified(folder / LIST)
    return SignedList()


def run_plugway(*words: str) -> str:
    """Run a command of Plugway in a new process; returns what it prints. Raises `PlugwayError`."""
    program = shutil.which("plugway", path=sysconfig.get_path("scripts"))
    if program is None:
        raise PlugwayError(f"there is no `plugway` in {sysconfig.get_path('scripts')}")
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PlugwayError(done.stderr.strip().removeprefix("plugway: "))
    return done.stdout or done.stderr.strip()

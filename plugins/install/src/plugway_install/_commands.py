"""`plugway install`, `plugway remove`, `plugway sign` and `plugway permissions`."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from packaging.utils import canonicalize_name

from plugway import PlugwayError, write_file
from plugway_install import _pip
from plugway_install._change import recover, undone_on_failure
from plugway_install._environment import Environment
from plugway_install._names import own_folder
from plugway_install._pip import Pin, Source, lock_of, read_lock, wheel_name
from plugway_install._plan import (
    Plan,
    is_source,
    make_plan,
    requirements,
    run_plugway,
)
from plugway_install._signatures import LIST, sign, signers_path
from plugway_install._signers import known_signers, remember_signers
from plugway_install._wheel import inspect, sha256_of
from plugway_packages import editable_source, observed

install_app = typer.Typer()
remove_app = typer.Typer()
sign_app = typer.Typer()
permissions_app = typer.Typer()

ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration file.", metavar="FILE")
]
WriteLock = Annotated[
    Path | None, typer.Option("--write-lock", help="Write the lock.", metavar="FILE")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Unsigned = Annotated[bool, typer.Option("--unsigned", help="Install without a signature.")]
NewSigner = Annotated[
    bool, typer.Option("--new-signer", help="Accept that somebody else signed an update.")
]


@install_app.command(epilog="Example: plugway install some-plugin --from ./wheels")
def install(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            help="Package names, wheels, or source folders.", metavar="NAME|FILE|FOLDER"
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Use only the wheels in this folder.", metavar="FOLDER"),
    ] = None,
    lock: Annotated[
        Path | None, typer.Option(help="Install exactly what this lock has.", metavar="FILE")
    ] = None,
    write_to: WriteLock = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the lock.")] = False,
    signed: Annotated[
        Path | None, typer.Option(help="Signed list of names and hashes.", metavar="FILE")
    ] = None,
    unsigned: Unsigned = False,
    new_signer: NewSigner = False,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Install newer versions.")] = False,
    outdated: Annotated[
        bool, typer.Option("--outdated", help="Only list plugins with a newer version.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    isolated: Annotated[
        bool, typer.Option("--build-isolation/--no-build-isolation", help="As for pip.")
    ] = True,
    yes: Yes = False,
) -> None:
    """Install plugins after showing what changes and what they may do."""
    where = Source(_folder(source))
    if write_to is not None:
        _check_new(write_to, force)
    with _work() as work:
        if outdated:
            _print_outdated(where, work)
            return
        if bool(wanted) == bool(lock):
            raise typer.BadParameter("give names, wheels or folders, or a `--lock`")
        if lock is not None:
            pins = read_lock(_text(lock), lock)
        else:
            _confirm_builds(wanted or (), yes, unsigned=unsigned)
            named = requirements(wanted or (), where, work, isolated=isolated)
            pins = _pip.resolve(named, where, work, upgrade=upgrade)
        if not pins:
            _say("already installed; `--upgrade` looks for newer versions")
            return
        plan = make_plan(pins, where, work, signed_list=signed, unsigned=unsigned)
        _say("Plan:", *plan.lines())
        if write_to is not None:
            _write_lock(plan.pins, write_to)
        if dry_run:
            return
        _confirm_signers(plan, new_signer)
        _confirm("Install?", yes)
        plan.carry_out(work)
        _report(plan)


@remove_app.command(epilog="Example: plugway remove some-plugin")
def remove(
    names: Annotated[list[str], typer.Argument(help="Packages to remove.")],
    config: ConfigPath = None,
    yes: Yes = False,
) -> None:
    """Remove packages that the configuration does not use and nothing else needs."""
    going = list(dict.fromkeys(map(canonicalize_name, names)))
    with _work() as work:
        environment = Environment()
        for name in going:
            if name not in environment.installed:
                raise PlugwayError(f"`{name}` is not installed")
        for row in _listed(config):
            if row["instances"] and canonicalize_name(str(row["distribution"])) in going:
                reason = f"the configuration lists `{row['name']}` of `{row['distribution']}`"
                raise PlugwayError(f"{reason}: remove its entry first")
        for name, others in environment.needed_by(going).items():
            needed = ", ".join(f"`{other}`" for other in sorted(others))
            raise PlugwayError(f"`{name}` is needed by {needed}: remove them together, or keep it")
        _say(*(f"  remove {name} {environment.installed[name].version}" for name in going))
        _confirm("Remove?", yes)
        with undone_on_failure(environment.files(going), ()):
            _pip.uninstall(going, work)
            remember_signers({}, going)
        _say(f"removed: {', '.join(going)}")


@sign_app.command("sign", epilog="Example: plugway sign ./wheels --key ~/.ssh/id_ed25519")
def sign_wheels(
    folder: Annotated[Path, typer.Argument(help="Folder of wheels.")],
    key: Annotated[Path, typer.Option(help="Private Ed25519 key of `ssh-keygen`.")],
) -> None:
    """Write and sign the list of the wheels in a folder, for those who install them. An earlier
    list there is replaced."""
    pins: list[Pin] = []
    for path in sorted(folder.glob("*.whl")):
        name, version = wheel_name(path)
        pin = Pin(name, version, sha256_of(path))
        inspect(path, pin)
        pins.append(pin)
    if not pins:
        raise PlugwayError(f"there are no wheels in {folder}")
    sign(pins, folder / LIST, key.expanduser())
    _say(f"signed {len(pins)} wheels: {folder / LIST} and {LIST}.sig")


@permissions_app.command("permissions", epilog="Example: plugway permissions some-plugin")
def show_permissions(
    names: Annotated[list[str] | None, typer.Argument(help="Packages; all by default.")] = None,
) -> None:
    """Show what the installed plugins declare to use; nothing is imported."""
    environment = Environment()
    found = environment.with_plugins
    signers = known_signers()
    seen = observed({dist.name: dist.version for dist in found.values()})
    for name in map(canonicalize_name, names or sorted(found)):
        if name not in found:
            raise PlugwayError(f"no installed package of plugins is called `{name}`")
        signer = f", signed by {signers[name]}" if name in signers else ""
        print(f"{name} {found[name].version}{signer}")
        for line in environment.declared(name) or ():
            print(f"  - {line}")
        for line in seen.get(found[name].name, ()):
            print(f"  - NOT DECLARED, but seen: {line}")


@contextmanager
def _work() -> Generator[Path]:
    """A temporary folder, after the change of an earlier command that crashed is undone."""
    if recover():
        _say("restored the environment, because an earlier installation was interrupted")
    work = Path(tempfile.mkdtemp(prefix="plugway-install-"))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _report(plan: Plan) -> None:
    _say(f"installed: {', '.join(f'{pin.name} {pin.version}' for pin in plan.pins)}")
    if approved := plan.approve_signed():
        _say(approved)
    if plugins := [name for wheel in plan.wheels for name in wheel.points.get("plugway", {})]:
        _say(f"Add to `plugins:` of the configuration: {', '.join(f'- use: {n}' for n in plugins)}")
    if any(wheel.pin.name in plan.environment.installed for wheel in plan.wheels):
        _say("Restart the gateway to use the new versions.")


def _print_outdated(source: Source, work: Path) -> None:
    count = 0
    for name, dist in sorted(Environment().with_plugins.items()):
        if editable_source(dist) or (own_folder(name) and not source.folder):
            continue
        try:
            newer = _pip.resolve([name], source, work, upgrade=True, alone=True)
        except PlugwayError:
            _say(f"{name} {dist.version}: not found there")
            continue
        for pin in newer:
            count += 1
            print(f"{pin.name} {dist.version} -> {pin.version}")
    if not count:
        _say("no newer versions")


def _listed(config: Path | None) -> Sequence[dict[str, object]]:
    """The installed plugins, with their instances in the configuration."""
    return json.loads(
        run_plugway("plugins", "--json", *(["--config", str(config)] if config else []))
    )


def _folder(path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise PlugwayError(f"there is no folder `{path}`")
    return path.resolve() if path else None


def _check_new(path: Path, force: bool) -> None:
    """Refuse, before any work, to write where something else is."""
    try:
        there, is_file = path.exists() or path.is_symlink(), path.is_file()
        has_folder = path.parent.is_dir()
    except OSError as error:  # such as a name that is too long
        raise PlugwayError(f"cannot write `{path}`: {error.strerror}") from None
    if not has_folder:
        raise PlugwayError(f"cannot write `{path}`: there is no folder `{path.parent}`")
    if path.exists() and not is_file:
        raise PlugwayError(f"cannot write `{path}`: it is not a file")
    if there and not force:
        hint = "name another file, or add `--force` to overwrite it"
        raise PlugwayError(f"`{path}` exists already: {hint}")


def _write_lock(pins: Sequence[Pin], path: Path) -> None:
    try:
        write_file(path, lock_of(pins).encode(), mode=0o644)
    except OSError as error:
        raise PlugwayError(f"cannot write `{path}`: {error.strerror}") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlugwayError(f"cannot read `{path}`: {error}") from None


def _confirm_signers(plan: Plan, yes: bool) -> None:
    for change in plan.other_signers():
        _say(change)
        _confirm("Accept the other signer?", yes, by="--new-signer")


def _confirm_builds(wanted: Sequence[str], yes: bool, *, unsigned: bool) -> None:
    for folder in filter(is_source, wanted):
        if not unsigned and signers_path().is_file():
            reason = f"`{folder}` is a source folder, which nobody can sign"
            raise PlugwayError(f"{reason}: build its wheel and sign that, or use `--unsigned`")
        _confirm(f"Build `{folder}`? This runs the code of its build.", yes)


def _confirm(question: str, yes: bool, *, by: str = "--yes") -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlugwayError(f"nothing was changed: confirm with `{by}`")
    if not typer.confirm(question, err=True):
        raise PlugwayError("nothing was changed")


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)

"""`plugway service`: install, status, logs, uninstall."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plugway import PlugwayError
from plugway_service._model import DEFAULT_NAME, Manager, Service, service_in, unit_name

service_app = typer.Typer(
    name="service",
    help="Run the gateway as a service of this user.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_STOPPED = 3
_NOT_INSTALLED = 4

Name = Annotated[str, typer.Option("--name", help="Name of the service, if you have several.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@service_app.command(
    epilog="Examples: plugway service install; plugway service install --name work --config "
    "work.yaml --port 8485. Exit codes: 0 installed and running, 1 not, 2 configuration or usage, "
    "130 interrupted.",
)
def install(
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65535, help="Port; overrides the configuration."),
    ] = None,
    name: Name = DEFAULT_NAME,
    write: Annotated[
        list[Path] | None,
        typer.Option(
            "--write", help="A folder that it may write to; repeatable.", metavar="FOLDER"
        ),
    ] = None,
    isolate: Annotated[
        bool,
        typer.Option(help="Whether it can only write to its own folders, where the system can."),
    ] = True,
    as_root: Annotated[
        bool, typer.Option("--as-root", help="Install it for root, with all rights.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Install and start the gateway as a service that starts when you log in.

    Shows every file and command first. Run it again after a change of the configuration's port.
    """
    from plugway_service._install import Wanted, make_plan, warnings
    from plugway_service._install import install as carry_out
    from plugway_service.find import manager  # slow to import: `serve` must start fast

    plan = make_plan(manager(), Wanted(name, config, port, tuple(write or ()), isolate, as_root))
    _say(*plan.lines())
    if dry_run:
        if as_json:
            _print_json(plan.as_json())
        return
    _confirm("Install?", yes=yes)
    seconds = carry_out(plan)
    notes = warnings(plan)
    if as_json:
        _print_json({**plan.as_json(), "seconds": round(seconds, 3), "notes": notes})
        return
    _say(f"the gateway answers at {plan.gateway.url}, {seconds:.2f} s after it was started")
    _say(*(f"  {note}" for note in notes))


@service_app.command(
    epilog="Exit codes: 0 all run, 3 one does not, 4 none is installed. Also: plugway status.",
)
def status(
    name: Annotated[
        str | None, typer.Option("--name", help="Only this service; default: all.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show which services are installed, whether they run, and why not."""
    from plugway_service._status import status_of
    from plugway_service.find import installed, manager

    system = manager()
    if name is not None:
        unit_name(name)
    services = [s for s in installed(system) if name in (None, s.name)]
    found = [status_of(system, service) for service in services]
    if as_json:
        _print_json({"services": [each.as_json() for each in found]})
    else:
        for each in found:
            print("\n".join(each.lines()))
        if not found:
            which = f" `{name}`" if name else ""
            _say(f"no service{which} is installed: run `plugway service install`")
    code = 0 if all(each.state.running for each in found) else _STOPPED
    raise typer.Exit(code if found else _NOT_INSTALLED)


@service_app.command(epilog="Examples: plugway service logs -f; plugway service logs -n 200.")
def logs(
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, max=100_000, help="How many of the last lines.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines until Ctrl-C.")
    ] = False,
    name: Name = DEFAULT_NAME,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line each.")] = False,
) -> None:
    """Print the log of a service."""
    from plugway_service._logs import log_lines
    from plugway_service.find import manager

    system = manager()
    service = _installed(system, name)
    try:
        for line in log_lines(system, service, lines, follow=follow):
            shown = json.dumps({"line": line}, ensure_ascii=False) if as_json else line
            print(shown, flush=follow)
    except KeyboardInterrupt:
        raise typer.Exit(0 if follow else 130) from None


@service_app.command(epilog="Example: plugway service uninstall --name work")
def uninstall(name: Name = DEFAULT_NAME, yes: Yes = False, as_json: AsJson = False) -> None:
    """Stop a service and remove its file; the configuration and the gateway's data stay."""
    from plugway_service.find import carry_out, manager

    system = manager()
    service = _installed(system, name)
    path, stop, after = (
        system.path(service.unit),
        system.stop_steps(service.unit),
        system.removed_steps(service.unit),
    )
    _say(*(f"run    {' '.join(step.words)}" for step in stop), f"remove {path}")
    _say(*(f"run    {' '.join(step.words)}" for step in after))
    _confirm("Uninstall?", yes=yes)
    if problem := system.problem():
        raise PlugwayError(problem)
    carry_out(stop)
    state = system.state(service.unit)
    if state.running or state.enabled:
        raise PlugwayError(f"{system.title} still has the service; nothing was removed")
    path.unlink(missing_ok=True)
    carry_out(after)
    left = _left(path, service)
    if as_json:
        _print_json({"name": name, "removed": str(path), "left": left})
        return
    _say(f"removed the service; left: {', '.join(left)}")


@service_app.command(hidden=True)
def serve(
    config: Annotated[Path | None, typer.Option("--config")] = None,
    port: Annotated[int | None, typer.Option("--port")] = None,
    environment: Annotated[Path | None, typer.Option("--environment")] = None,
    log: Annotated[Path | None, typer.Option("--log")] = None,
) -> None:
    """Run the gateway as the system starts it."""
    from plugway_service._serve import serve as run

    if log is not None:
        sys.stdout = sys.stderr = log.open("a", encoding="utf-8", buffering=1)
    run(config, port, environment)


def _installed(system: Manager, name: str) -> Service:
    """The installed service with this name. Raises `PlugwayError`."""
    from plugway_service.find import installed, text_of

    path = system.path(unit_name(name))
    if not path.exists():
        others = ", ".join(f"`{service.name}`" for service in installed(system))
        known = f"; installed: {others}" if others else ""
        raise PlugwayError(f"the service `{name}` is not installed{known}")
    service = service_in(text_of(path))
    if service is None or service.name != name:  # of somebody else, or a copy
        raise PlugwayError(f"`{path}` was not written by Plugway, so it is left alone")
    return service


def _left(path: Path, service: Service) -> list[str]:
    """What an uninstallation does not remove."""
    import platformdirs

    found = [
        service.config,
        platformdirs.user_config_path("plugway", appauthor=False) / "environment",
        platformdirs.user_state_path("plugway", appauthor=False),
        platformdirs.user_data_path("plugway", appauthor=False),
        path.with_name(f"{path.name}.d"),
    ]
    return [str(each) for each in found if each is not None and each.exists()]


def _confirm(question: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlugwayError("nothing was changed: confirm with `--yes`")
    try:
        agreed = typer.confirm(question, err=True)
    except (typer.Abort, KeyboardInterrupt):
        _say("\nnothing was changed")
        raise typer.Exit(130) from None
    if not agreed:
        raise PlugwayError("nothing was changed")


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _say(*lines: str) -> None:
    for line in lines:
        print(line, file=sys.stderr)

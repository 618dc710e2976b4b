"""`plugway doctor`: run the checks in order, and print a report or JSON."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from plugway import ConfigError, LocalGateway, PlugwayError
from plugway_doctor import _agent, _checks, _client_models, _client_settings, _stack, _trial
from plugway_doctor._checks import Check, Found
from plugway_doctor._settings_files import ClientSettings, Setting
from plugway_probe import started

doctor_app = typer.Typer(name="doctor", rich_markup_mode=None)

_MARKS = {"passed": ("ok", "green"), "warned": ("!", "yellow"), "failed": ("FAIL", "bold red")}
_EXIT_FAILED = 1
_EXIT_WARNED = 4
Report = Callable[[Check], None]


@doctor_app.command(
    epilog="Examples: plugway doctor; plugway doctor --fix --agent; plugway doctor --json | jq. "
    "Exit codes: 0 all passed, 1 a check failed, 2 usage, 4 no check failed, but there are "
    "warnings.",
)
def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Fix problems that can be fixed automatically.")
    ] = False,
    agent: Annotated[
        bool, typer.Option("--agent", help="Run a small task in Claude Code and check the result.")
    ] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="Model for `--agent`: an id or part of one.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--no-models", help="Send no requests to models; costs no tokens.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port of the gateway.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1, max=1800, help="Time limit for each request, and for the task.")
    ] = 120.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Find out why something does not work.

    Checks the configuration, the gateway, secret files and Claude Code's settings, then sends four
    short requests to each backend. If no gateway runs, starts one for the duration of the check.
    """
    console = Console(highlight=False, soft_wrap=True)

    def report(check: Check) -> None:
        if not as_json:
            _show(check, console)

    run = _Run(report, fix)
    checks = run.run(config, port, seconds, offline=offline, agent=agent, model=model)
    failed = [check for check in checks if check.is_failed]
    warned = [check for check in checks if check.outcome == "warned"]
    if as_json:
        document = {"ok": not failed, "checks": [check.as_json() for check in checks]}
        print(json.dumps(document, indent=2))
    else:
        counts = f"{len(failed)} failed, {len(warned)} warnings"
        console.print(f"\n{len(checks)} checks: {counts}")
    raise typer.Exit(_EXIT_FAILED if failed else _EXIT_WARNED if warned else 0)


class _Run:
    """Runs the checks, reports each as it finishes, and fixes problems on request."""

    def __init__(self, report: Report, fix: bool) -> None:
        self._report = report
        self._fix = fix
        self._settings = ClientSettings({}, {})
        self._here: Setting | None = None
        self.checks: list[Check] = []

    def run(
        self,
        config: Path | None,
        port: int | None,
        seconds: float,
        *,
        offline: bool,
        agent: bool,
        model: str | None,
    ) -> list[Check]:
        """Run all checks; later ones build on the results of earlier ones."""
        if self._failed(_checks.state_folder()) or self._fixed(_checks.token_file).is_failed:
            return self.checks
        if self._failed(*_checks.configuration(config)):
            return self.checks
        try:
            gateway = LocalGateway.find(config, port)
        except ConfigError as error:
            self._add(Check("gateway", "failed", str(error), "fix the problem named above"))
            return self.checks
        found = self._client(gateway)
        if offline or not found.usable:
            self._failed(*_stack.stack(gateway, found.state))
            return self.checks
        try:
            own = contextlib.nullcontext(gateway) if found.state else started(config)
            with own as tried:
                self._failed(*_stack.stack(gateway, tried.state()))
                self._try(tried, seconds, agent=agent, model=model)
        except PlugwayError as error:
            self._add(Check("models", "failed", str(error), "see the checks above"))
        return self.checks

    def _client(self, gateway: LocalGateway) -> Found:
        """Check the gateway's address, Claude Code, and its settings for reaching the gateway."""
        settings = self._settings = ClientSettings.read(Path.cwd())
        here = self._here = _client_settings.points_here(gateway, settings)
        starts = settings.starts_gateway()
        found = _checks.running(gateway, here.place if here else "", starts=starts)
        self._add(found.check)
        self._add(_checks.client_version())
        self._failed(*_client_settings.readable(settings))
        self._fixed(lambda: _client_settings.base_url(gateway, ClientSettings.read(Path.cwd())))
        self._add(_client_settings.provider(settings, here))
        self._add(_client_settings.proxy(gateway, settings, here))
        runs = found.state is not None
        self._add(_client_settings.credential(gateway, settings, here, runs=runs))
        self._failed(*_client_settings.auto_mode(settings))
        if here:
            self._add(_client_models.discovery(settings))
        return found

    def _try(
        self, gateway: LocalGateway, seconds: float, *, agent: bool, model: str | None
    ) -> None:
        known = _trial.backends_of(gateway)
        for check in _trial.network_paths(known):
            self._add(check)
        models = _trial.listed(gateway)
        for check in _trial.unlisted(gateway, known, models, seconds):
            self._add(check)
        if not models:
            fix = "add a backend to the configuration, or start its server"
            self._add(Check("models", "failed", "no backend lists any models", fix))
            return
        for check in _checks.windows(models):
            self._add(check)
        if self._here:
            for check in _client_models.all_of(gateway, self._settings, models, seconds):
                self._add(check)
        self.checks += _trial.backends(gateway, models, seconds, self._report)
        if agent:
            _agent.agent(gateway, model, seconds, self.checks, self._add)

    def _fixed(self, look: Callable[[], Check]) -> Check:
        """Run a check; with `--fix`, apply its fix and run it again."""
        check = look()
        if self._fix and check.apply_fix is not None:
            check.apply_fix()
            after = look()
            if after.outcome == "passed":
                after = Check(check.name, "passed", f"fixed: {check.reason}")
            return self._add(after)
        return self._add(check)

    def _failed(self, *checks: Check) -> bool:
        """Add checks; whether one of them failed."""
        added = [self._add(check) for check in checks]
        return any(check.is_failed for check in added)

    def _add(self, check: Check) -> Check:
        self.checks.append(check)
        self._report(check)
        return check


def _show(check: Check, console: Console) -> None:
    mark, style = _MARKS.get(check.outcome, ("-", "dim"))
    line = Text.assemble((f"{mark:>4}  ", style), (check.name, "bold"), f": {check.reason}")
    console.print(line)
    if check.fix and check.outcome in {"warned", "failed"}:
        console.print(Text(f"      -> {check.fix}"))

"""`plugway setup claude-code`: writes the settings, shows the changes, or undoes them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

import anyio
import typer
from rich.console import Console

from plugway import LocalGateway, PlugwayError
from plugway_claude_client import plugway_command
from plugway_claude_code import _daemon
from plugway_claude_code._command import ConfigPath, Port, has_mcp, scales_usage
from plugway_claude_code._first_run import first_plan
from plugway_claude_code._models import choices, listed
from plugway_claude_code._receipt import Planned, Receipt
from plugway_claude_code._settings import gateway_words
from plugway_claude_code._setup import Facts, SetUp, plan, receipt_name
from plugway_probe import probe

setup_app = typer.Typer(
    name="setup",
    help="Configure clients to use the gateway.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_console = Console(stderr=True, soft_wrap=True, highlight=False)


@setup_app.callback()
def setup() -> None:
    """Configure clients to use the gateway."""


@setup_app.command(
    "claude-code",
    epilog="Examples: plugway setup claude-code --dry-run; plugway setup claude-code --undo. "
    "Exit codes: 0 done, 1 not done, 2 usage. `plugway claude` needs no setup.",
)
def claude_code(
    scope: Annotated[
        Literal["user", "project", "managed"],
        typer.Option("--scope", help="Which settings: yours, this folder's, or the machine's."),
    ] = "user",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the changes as a diff without writing them.")
    ] = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="Undo Plugway's changes, byte for byte.")
    ] = False,
    model: Annotated[str | None, typer.Option("--model", help="Model for all requests.")] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept the plan without asking, keys included.")
    ] = False,
    config: ConfigPath = None,
    port: Port = None,
) -> None:
    """Write Claude Code's settings: address, models, window, status line, MCP, VS Code.

    Starts the gateway if none runs; a hook starts it before each session.
    """
    receipt = Receipt.load(receipt_name(scope))
    if undo:
        raise typer.Exit(_undo(receipt, dry_run=dry_run))
    gateway = LocalGateway.find(config, port)
    with _daemon.holding(gateway):
        if not gateway.configured and gateway.state() is None and not dry_run:
            gateway = first_plan(gateway, _console, yes=yes, keep=False)
        facts = _facts(gateway, model, gateway_words(config, port))
        made = plan(scope, facts, receipt)
        if dry_run:
            _print_diff(made, gateway.token)
            return
        _write(made, receipt, gateway.token, private=scope != "managed")
        _verify(gateway, facts)


def _facts(gateway: LocalGateway, model: str | None, where: Sequence[str]) -> Facts:
    started = _daemon.ensure_running(gateway)
    models = listed(gateway)
    return Facts(
        gateway,
        choices(gateway, models, model),
        models,
        plugway_command(),
        where=where,
        scaled=scales_usage(gateway, started.state),
        tool_search="field-policy" in started.state.get("plugins", ()),
        mcp=has_mcp(gateway),
    )


def _write(made: SetUp, receipt: Receipt, token: str, *, private: bool) -> None:
    for planned in made.files:
        opened = private and planned.open_to_others
        receipt.write(planned, private=private)
        _print(f"{'wrote' if planned.changed else 'unchanged'} {planned.file.path}")
        if opened:
            _print(
                "  others could read it; now only you can, because it contains the gateway's token"
            )
    _print_notes(made, token)


def _print_notes(made: SetUp, token: str) -> None:
    """Print what must be done by hand; the token itself is hidden."""
    for note in made.notes:
        _print(note.replace(token, "TOKEN"))
    if made.notes:
        _print("TOKEN is the gateway's token: `plugway serve` says where it is kept")


def _undo(receipt: Receipt, *, dry_run: bool) -> int:
    if not receipt.entries:
        _print("nothing to undo")
        return 0
    failed = False
    for path in list(receipt.entries):
        if dry_run:
            _print(f"would undo Plugway's changes in {path}")
            continue
        try:
            kept = receipt.undo(path)
        except PlugwayError as error:
            failed = True
            _print(f"not undone: {error}")
            continue
        _print(f"restored {path}")
        for key in kept:
            _print(f"  left `{key}`: it was changed since")
    return 1 if failed else 0


def _print_diff(made: SetUp, token: str) -> None:
    for planned in made.files:
        print("".join(_diff(planned)).replace(token, "***"), end="")
    _print_notes(made, token)


def _diff(planned: Planned) -> list[str]:
    path = str(planned.file.path)
    before = (planned.file.raw or b"").decode("utf-8-sig").splitlines(keepends=True)
    after = planned.after.decode("utf-8-sig").splitlines(keepends=True)
    lines = difflib.unified_diff(before, after, path, path)
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


def _verify(gateway: LocalGateway, facts: Facts) -> None:
    """Check what a session needs: the gateway answers, lists models, and the main model replies."""
    main = facts.chosen["sonnet"]
    count = len(facts.models)
    models = f"{count} model{'s'[: count != 1]}"
    _print(f"ok    the gateway answers at {gateway.url} and lists {models}")
    ask = partial(probe, gateway.url, gateway.token, main.id, tls=gateway.tls, probes=("stream",))
    (finding,) = anyio.run(ask)
    if finding.outcome == "passed":
        _print(f"ok    {main.name} {finding.reason}")
        _print("run `claude`; `plugway setup claude-code --undo` undoes all of it")
        return
    _print(f"wrong {main.name}: {finding.reason}: {finding.fix}")
    raise typer.Exit(1)


def _print(text: str) -> None:
    print(text, file=sys.stderr)

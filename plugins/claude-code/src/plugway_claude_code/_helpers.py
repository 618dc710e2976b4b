"""Commands that Claude Code runs: `plugway up` before a session, `plugway statusline` in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from plugway import LocalGateway, PlugwayError, as_object
from plugway_claude_code import _daemon
from plugway_claude_code._waiting import waiting

up_app = typer.Typer(name="up", rich_markup_mode=None)
statusline_app = typer.Typer(name="statusline", rich_markup_mode=None)
_LONGEST = 1 << 20


@up_app.command(
    epilog="Example: plugway up && plugway status. Exit codes: 0 running, 1 not running."
)
def up(
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the gateway.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing on success.")] = False,
    stop: Annotated[
        bool, typer.Option("--stop", help="Stop a gateway that was started this way.")
    ] = False,
) -> None:
    """Start the gateway in the background if none runs; it runs until it is stopped."""
    gateway = LocalGateway.find(config, port)
    if stop:
        _daemon.stop(gateway)
        return
    started = _daemon.ensure_running(gateway, keep=True)
    if not quiet:
        verb = "started, its log is " + str(_daemon.log_path(gateway)) if started.fresh else "runs"
        if started.service:
            verb = f"started as the service `{started.service}`"
        print(f"{gateway.url} {verb}", file=sys.stderr)


@statusline_app.command(epilog="Example: plugway statusline < status.json. Exit code: 0 always.")
def statusline(
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port of the gateway.")] = None,
) -> None:
    """One line for Claude Code's status bar, from the JSON it writes to standard input."""
    try:
        status = as_object(json.loads(sys.stdin.read(_LONGEST)))
    except ValueError:
        status = {}
    session = status.get("session_id")
    print(line(status, _gateway_words(config, port, session if isinstance(session, str) else "")))


def line(status: dict[str, Any], gateway: str) -> str:
    """Model, use of its context window, and state of the gateway."""
    model = as_object(status.get("model"))
    shown = str(model.get("display_name") or model.get("id") or "")
    parts = [shown.removeprefix("anthropic/"), _window_words(status), gateway]
    return " · ".join(part for part in parts if part)


def _window_words(status: dict[str, Any]) -> str:
    window = as_object(status.get("context_window"))
    size, used = window.get("context_window_size"), window.get("total_input_tokens")
    if not (isinstance(size, int) and size > 0 and isinstance(used, int)):
        return ""
    return f"{_thousands(used)} of {_thousands(size)}"


def _thousands(tokens: int) -> str:
    return f"{tokens / 1000:.1f}K" if tokens < 10_000 else f"{tokens // 1000}K"


def _gateway_words(config: Path | None, port: int | None, session: str) -> str:
    """Whether the gateway runs, and what this session waits for."""
    try:
        gateway = LocalGateway.find(config, port)
        state = gateway.state()
    except PlugwayError:
        return "plugway: see `plugway status`"
    if state is None:
        return "plugway is not running"
    waits = waiting(gateway, session) if session else None
    return f"plugway: {waits.words}" if waits else "plugway"

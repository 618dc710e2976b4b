"""`plugway claude`: runs Claude Code on the gateway without changing its settings."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import httpx2
import typer
from rich.console import Console

from plugway import LocalGateway, as_object
from plugway_claude_client import Client, claude_folder, find_client, plugway_command
from plugway_claude_code import _daemon
from plugway_claude_code._daemon import Started
from plugway_claude_code._first_run import first_plan
from plugway_claude_code._launch import run_client
from plugway_claude_code._models import Choice, choices, listed
from plugway_claude_code._picker import picker
from plugway_claude_code._settings import (
    gateway_words,
    launch_settings,
    mcp_entry,
    status_line_entry,
    trust,
)
from plugway_local_models.sizing import too_small_for_claude_code

claude_app = typer.Typer(name="claude", rich_markup_mode=None)
_OURS = ("--settings", "--bare")
_console = Console(stderr=True, soft_wrap=True, highlight=False)

ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
]
Port = Annotated[int | None, typer.Option("--port", help="Port of the gateway.")]


@claude_app.command(
    epilog="Examples: plugway claude; plugway claude --model qwen3-coder -- -p 'explain main.py'. "
    "Exit codes: those of Claude Code, 1 if it could not be started, 2 configuration or usage.",
)
def claude(
    arguments: Annotated[
        list[str] | None, typer.Argument(help="After `--`: arguments for Claude Code.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Model for all requests: an id or a part of one.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the gateway running if it was started here.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Accept the plan without asking, keys included.")
    ] = False,
    config: ConfigPath = None,
    port: Port = None,
    client: Annotated[
        str | None, typer.Option("--claude", help="The `claude` to run.", metavar="PATH")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the settings as JSON, and start nothing new.")
    ] = False,
) -> None:
    """Run Claude Code on the gateway; starts the gateway if none runs, changes none of your files.

    Without a configuration it looks for models on this machine, proposes one, and tests it first.
    """
    words = list(arguments or ())
    _refuse_ours(words)
    gateway, where = LocalGateway.find(config, port), gateway_words(config, port)
    if dry_run:
        _print_settings(gateway, model, where)
        return
    found = find_client(client)
    code = _run(gateway, found, words, model, where, keep=keep, yes=yes)
    if code == 0 and sys.stdin.isatty() and not words:
        _console.print("to continue where you were: plugway claude -- --continue")
    raise typer.Exit(code)


def _run(
    gateway: LocalGateway,
    client: Client,
    words: Sequence[str],
    model: str | None,
    where: Sequence[str],
    *,
    keep: bool,
    yes: bool,
) -> int:
    with _daemon.holding(gateway):
        if not gateway.configured and gateway.state() is None:
            gateway = first_plan(gateway, _console, yes=yes, keep=keep)
        started = _daemon.ensure_running(gateway, keep=keep)
        settings, main = settings_for(gateway, started, model, where)
        mcp = mcp_entry(gateway.url, gateway.token) if has_mcp(gateway) else None
        _announce(gateway, started, main)
        return run_client(client.path, words, settings, mcp)


def settings_for(
    gateway: LocalGateway, started: Started, model: str | None, where: Sequence[str]
) -> tuple[dict[str, Any], Choice]:
    """The settings of a launch, and the main model in them."""
    models = listed(gateway)
    chosen = choices(gateway, models, model)
    plugins = started.state.get("plugins", ())
    status_line = None if _has_status_line() else status_line_entry([plugway_command()], where)
    settings = launch_settings(
        gateway.url,
        gateway.token,
        chosen["sonnet"],
        picker(chosen, models),
        scaled=scales_usage(gateway, started.state),
        tool_search="field-policy" in plugins,
        status_line=status_line,
    )
    settings["env"] |= trust(gateway)
    return settings, chosen["sonnet"]


def scales_usage(gateway: LocalGateway, state: Any) -> bool:
    """Whether the running gateway's configuration has `scale_usage` on; then the client must not
    learn the real windows."""
    path = as_object(state).get("config")
    listed = gateway.plugins(Path(path)) if isinstance(path, str) else ()
    return any(entry.options.get("scale_usage") is True for entry in listed)


def has_mcp(gateway: LocalGateway) -> bool:
    """Whether the gateway serves tools at `/mcp`."""
    headers = {"authorization": f"Bearer {gateway.token}", "accept": "text/event-stream"}
    try:
        with (
            httpx2.Client(
                base_url=gateway.url,
                timeout=3,
                trust_env=False,
                verify=gateway.tls or False,
            ) as client,
            client.stream("GET", "/mcp", headers=headers) as answer,
        ):
            return answer.status_code != 404
    except httpx2.HTTPError:
        return False


def _announce(gateway: LocalGateway, started: Started, main: Choice) -> None:
    verb = "started" if started.fresh else "uses"
    if started.service:
        _console.print(f"started the service `{started.service}`, which was not running")
        verb = "uses"
    size = f", window {main.window:,} tokens" if main.window else ""
    _console.print(f"plugway {verb} the gateway at {gateway.url}: {main.name}{size}")
    for line in (main.notice, too_small_for_claude_code(main.name, main.window)):
        if line:
            _console.print(line)


def _has_status_line() -> bool:
    """Whether the user has configured a status line, which is kept."""
    try:
        document = json.loads((claude_folder() / "settings.json").read_text("utf-8-sig"))
    except (OSError, ValueError):
        return False
    return "statusLine" in as_object(document)


def _refuse_ours(words: Sequence[str]) -> None:
    for word in words:
        if word.partition("=")[0] in _OURS:
            _fail(f"`{word}` overrides what `plugway claude` sets: remove it", 2)


def _print_settings(gateway: LocalGateway, model: str | None, where: Sequence[str]) -> None:
    state = gateway.state()
    if state is None:
        _fail(f"no gateway answers at {gateway.url}: run `plugway up`, then try again")
    settings, _ = settings_for(gateway, Started(state, fresh=False), model, where)
    settings["env"]["ANTHROPIC_AUTH_TOKEN"] = "***"
    print(json.dumps(settings, indent=2, ensure_ascii=False))


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"plugway claude: {message}", file=sys.stderr)
    raise typer.Exit(code)

"""The command `plugway`: its subcommands, options and exit codes."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import plugway_log as _log
from plugway.cli import config as configs
from plugway.cli import serve as serving
from plugway.cli.plugins import (
    add_command,
    installed_command,
    installed_command_names,
    packages_of,
    plugin_rows,
)
from plugway.cli.serve import print_error as _print_error
from plugway.config.approval import approve
from plugway.config.config import Config, ExposedError, default_config_path, find_config
from plugway.config.document import did_you_mean
from plugway.config.listen import certificate_files
from plugway.types.errors import ConfigError, PluginError
from plugway_packages import approvals_path, packages_of_plugins, startup_files
from plugway_wire.errors import PlugwayError

EXIT_FAILED = 1
EXIT_CONFIG = 2
EXIT_EXPOSED = 3
_MORE = (
    "Most commands come with the package `plugway-starter`; `plugway --help` lists those installed"
)

app = typer.Typer(
    name="plugway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="The configuration: example, path, schema.", no_args_is_help=True)
app.add_typer(config_app, name="config")

ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration file.", metavar="FILE")
]
ConfigFile = Annotated[
    Path | None, typer.Argument(help="Configuration file, as with --config.", metavar="FILE")
]
Host = Annotated[str | None, typer.Option("--host", help="Address; overrides the file.")]
Port = Annotated[str | None, typer.Option("--port", help="Port; overrides the file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 configuration or usage, 3 unprotected."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _add_plugin_commands(words)
        app(words, prog_name="plugway")
    except ExposedError as error:
        for problem in error.problems:
            _print_error(f"plugway: {problem}")
        sys.exit(EXIT_EXPOSED)
    except ConfigError as error:
        _print_error(f"plugway: {configs.all_problems(error)}")
        sys.exit(EXIT_CONFIG)
    except PlugwayError as error:
        _print_error(f"plugway: {error}")
        sys.exit(EXIT_CONFIG if isinstance(error, PluginError) else EXIT_FAILED)
    except OSError as error:  # such as a full disk
        place = f" ({error.filename})" if error.filename else ""
        _print_error(f"plugway: {(error.strerror or str(error)).lower()}{place}")
        sys.exit(EXIT_FAILED)
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        serving.forget_unwritten()
    sys.exit(0)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(version("plugway"))
        raise typer.Exit


@app.callback()
def options(
    shown: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """One local address between an agent client and every model."""


@app.command(epilog="Example: plugway serve ~/.config/plugway/config.yaml --port 9000")
def serve(
    file: ConfigFile = None,
    config: ConfigPath = None,
    port: Port = None,
    host: Host = None,
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")
    ] = "info",
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Write the log as JSON lines, without the banner.")
    ] = False,
) -> None:
    """Run the gateway, from a configuration or the installed stack."""
    path, overrides = _one_file(file, config), _overrides(host, port)
    try:
        writer = _log.configure(log_level, log_json)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--log-level") from None
    _log.log_uncaught()
    try:
        for warning in startup_files().warnings:
            _print_error(f"plugway: warning: {warning}")
        raise typer.Exit(_serve(lambda: configs.chosen_config(path, overrides), log_json))
    finally:
        writer.close()


def _serve(read: Callable[[], Config], log_json: bool) -> int:
    config = read()
    from plugway.http.app import App  # imports for half a second, so errors are reported first
    from plugway.http.server import run
    from plugway_http.wire import WireLimits

    gateway, server = App(config), config.server

    async def announce(port: int) -> None:
        address = server.model_copy(update={"port": port}).address
        if log_json:
            logging.getLogger("plugway").info("listening", extra={"address": address})
        else:
            _print_error(serving.banner(config, version("plugway"), address))
            running = gateway.snapshot.gateway
            model = await serving.default_model(running)
            _print_error(serving.connection(config, address, model, running.backends))

    def draining() -> None:
        gateway.drain()
        if gateway.active and not log_json:
            several = "1 exchange" if gateway.active == 1 else f"{gateway.active} exchanges"
            wait = f"waiting up to {server.drain_seconds:g} s for {several} to finish"
            _print_error(f"plugway: {wait}; press Ctrl-C again to abort")

    return run(
        gateway,
        host=server.host,
        port=server.port,
        notice_seconds=server.notice_seconds,
        drain_seconds=server.drain_seconds,
        limits=WireLimits(
            head_seconds=server.head_seconds, stall_seconds=server.stalled_client_seconds
        ),
        on_reload=serving.Reloader(gateway, config, read),
        on_draining=draining,
        watch=config.path,
        certificate=certificate_files(config),
        announce=announce,
    )


@app.command(epilog="Example: plugway check config.yaml && plugway serve config.yaml")
def check(file: ConfigFile = None, config: ConfigPath = None, as_json: AsJson = False) -> None:
    """Validate the configuration and its plugins; opens no socket."""
    from plugway.cli.check import checked  # slow to import

    report = checked(_one_file(file, config))
    if as_json:
        _print_json(report.as_json())
        raise typer.Exit(EXIT_CONFIG if report.error else 0)
    for warning in report.warnings:
        _print_error(f"plugway: warning: {warning}")
    if report.error is not None:
        raise report.error
    for name, way in report.ways:
        _print_error(f"`{name}` is reached {way}")
    _print_error("the configuration is valid")


@app.command(epilog="Example: plugway plugins --approve plugway-my-filter")
def plugins(
    names: Annotated[
        list[str] | None, typer.Argument(help="Packages or plugins to approve.")
    ] = None,
    config: ConfigPath = None,
    as_json: AsJson = False,
    approved: Annotated[
        bool,
        typer.Option(
            "--approve",
            help="Approve the current files of these packages, or of all installed ones. "
            "From then on packages that are not approved, or have changed, are not loaded.",
        ),
    ] = False,
) -> None:
    """List the installed plugins, and which the configuration uses."""
    rows = plugin_rows(configs.listed_config(config))
    if approved:
        now = packages_of(names) if names else packages_of_plugins()
        count = len(approve(now))
        _print_error(f"approved: {', '.join(now)}; {approvals_path()} has {count} packages now")
        return
    if as_json:
        _print_json(rows)
        return
    if not rows:
        _print_error("no plugins are installed: install the package `plugway-starter`")
        return
    for row in rows:
        row["instances"] = ", ".join(cast("list[str]", row["instances"]))
        if rivals := cast("list[str]", row.pop("conflicts_with")):
            row["conflict"] = f"also claimed by {', '.join(rivals)}"
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, box=None, padding=(0, 2))
    for row in rows:
        table.add_row(*[Text(str(row.get(column, "-"))) for column in columns])
    Console().print(table)


@config_app.command("example", epilog="Example: plugway config example > config.yaml")
def config_example() -> None:
    """Print a configuration to start from; it runs as it is, without network."""
    print(configs.installed_stack().example, end="")


@config_app.command("path", epilog="Example: $EDITOR $(plugway config path)")
def config_path(config: ConfigPath = None) -> None:
    """Print the path of the configuration that would be used."""
    path = find_config(config) or default_config_path()
    if not path.exists():
        _print_error(f"the file does not exist yet: run `plugway config example > {path}`")
    print(path)


@config_app.command("schema", epilog="Example: plugway config schema > plugway.schema.json")
def config_schema(file: ConfigFile = None, config: ConfigPath = None) -> None:
    """Print the JSON schema of the configuration for an editor, listed plugins included."""
    _print_json(configs.config_schema(configs.chosen_config(_one_file(file, config))))


def _add_plugin_commands(words: Sequence[str]) -> None:
    """Add the requested command of an installed package, unless it is built in."""
    word = words[0] if words else "-"
    if word.startswith("-"):
        names = installed_command_names()
        app.info.epilog = f"Commands of installed plugins: {', '.join(names)}" if names else _MORE
    elif word not in _built_in():
        if (command := installed_command(word)) is None:
            hint = did_you_mean(word, [*_built_in(), *installed_command_names()])
            _print_error(f"plugway: there is no command `{word}`: {hint or _MORE}")
            sys.exit(EXIT_CONFIG)
        add_command(app, word, command)


def _built_in() -> set[str]:
    commands = app.registered_commands
    return {"config", *(c.name or getattr(c.callback, "__name__", "") for c in commands)}


def _one_file(file: Path | None, config: Path | None) -> Path | None:
    """The configuration given as argument or as option."""
    if file is not None and config is not None and file != config:
        raise typer.BadParameter(f"`{file}` is given too: name one file", param_hint="--config")
    return file or config


def _overrides(host: str | None, port: str | None) -> Mapping[str, object]:
    given = {"host": host, "port": port}
    return {key: value for key, value in given.items() if value is not None}


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))

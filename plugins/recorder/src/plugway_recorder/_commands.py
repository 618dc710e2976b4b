"""`plugway recordings`: what is recorded, with the word of the person whose conversation it is."""

from __future__ import annotations

import base64
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
import typer
from rich.console import Console
from rich.table import Table

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_recorder._routes import LIST, SWITCH, TURN, TURNS

recordings_app = typer.Typer(
    name="recordings",
    help="Recorded conversations. One is recorded only after its person asked for it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Conversation = Annotated[str, typer.Argument(help="Id of a conversation, or its beginning.")]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
]
Port = Annotated[int | None, typer.Option("--port", help="Port of the gateway.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]


@recordings_app.command(
    "list", epilog="Example: plugway recordings list. Exit codes: 0 listed, 1 no gateway answers."
)
def list_command(config: ConfigPath = None, port: Port = None, as_json: Json = False) -> None:
    """List recordings, and your last conversations that have none."""
    found = as_object(asked(LocalGateway.find(config, port), "GET", LIST))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("conversation", "caller", "turns", "KiB", "last turn", "state", box=None)
    for item in map(as_object, as_list(found.get("recordings"))):
        state = "recorded" if item["on"] else f"ended: {item['why']}"
        size = f"{item['bytes'] / 1024:,.0f}"
        row = (item["conversation"], item["caller"], str(item["turns"]), size)
        table.add_row(*row, _when(item["changed"]), state)
    console = Console(soft_wrap=True, highlight=False, markup=False)
    if table.row_count:
        console.print(table)
    for item in map(as_object, as_list(found.get("unrecorded"))):
        console.print(f"{item['conversation']}  not recorded, last served {_when(item['at'])}")
    if not table.row_count:
        _say(
            "nothing is recorded. Write `@plugway record` in a conversation, or run "
            "`plugway recordings on CONVERSATION`"
        )


@recordings_app.command(
    "show",
    epilog="Examples: plugway recordings show 5d6b; plugway recordings show 5d6b --turn 7. "
    "Exit codes: 0 shown, 1 not there, not yours, or not readable.",
)
def show_command(
    conversation: Conversation,
    turn: Annotated[
        int | None,
        typer.Option("--turn", min=1, help="Print all that was kept of a turn, as JSON."),
    ] = None,
    config: ConfigPath = None,
    port: Port = None,
    as_json: Json = False,
) -> None:
    """Show the turns of one of your recordings, without their text; with `--turn`, one with it."""
    gateway = LocalGateway.find(config, port)
    if turn is not None:
        query = urlencode({"conversation": conversation, "number": turn})
        print(json.dumps(asked(gateway, "GET", f"{TURN}?{query}"), indent=2, ensure_ascii=False))
        return
    query = urlencode({"conversation": conversation})
    found = as_object(asked(gateway, "GET", f"{TURNS}?{query}"))
    if as_json:
        print(json.dumps(found, indent=2))
        return
    table = Table("turn", "kind", "time", "target", "tokens", "seconds", "did", box=None)
    for item in map(as_object, as_list(found.get("list"))):
        usage = as_object(item["usage"])
        tokens = sum(n for name, n in usage.items() if name != "output_tokens")
        did = ", ".join(map(str, item["calls"])) or str(item["stop_reason"])
        row = (str(item["number"]), item["kind"], _when(item["at"]), str(item["target"]))
        table.add_row(*row, f"{tokens:,}", f"{item['seconds']:.1f}", did)
    Console(soft_wrap=True, highlight=False, markup=False).print(table)


@recordings_app.command(
    "on", epilog="Example: plugway recordings on 5d6b. Exit codes: 0 recorded, 1 not."
)
def on_command(conversation: Conversation, config: ConfigPath = None, port: Port = None) -> None:
    """Record one of your conversations from now on."""
    done = _switched(LocalGateway.find(config, port), conversation, True)
    name = done["conversation"]
    _say(f"{name} is recorded from now on; `plugway recordings off {name}` stops it")


@recordings_app.command(
    "off", epilog="Example: plugway recordings off 5d6b. Exit codes: 0 not recorded, 1 not found."
)
def off_command(conversation: Conversation, config: ConfigPath = None, port: Port = None) -> None:
    """Record a conversation no more; what was recorded stays."""
    name = _switched(LocalGateway.find(config, port), conversation, False)["conversation"]
    _say(f"{name} is not recorded; `plugway recordings rm {name}` removes what was")


@recordings_app.command(
    "rm", epilog="Example: plugway recordings rm 5d6b --yes. Exit codes: 0 removed, 1 not."
)
def rm_command(
    conversation: Conversation,
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
    config: ConfigPath = None,
    port: Port = None,
) -> None:
    """Remove a recording for good, and record its conversation no more."""
    gateway = LocalGateway.find(config, port)
    if not yes:
        if not sys.stdin.isatty():
            raise PlugwayError("nothing was removed: add `--yes` to remove without being asked")
        if not typer.confirm(f"Remove the recording of {conversation} for good?", err=True):
            raise typer.Exit(1)
    query = urlencode({"conversation": conversation})
    done = as_object(asked(gateway, "DELETE", f"{LIST}?{query}"))
    _say(f"removed {done['conversation']} with {done['turns']} turns")


@recordings_app.command(
    "new-key",
    epilog="Example: plugway recordings new-key | plugway keys set recordings --anywhere. "
    "Exit codes: 0 printed, 1 the output is a terminal.",
)
def new_key_command() -> None:
    """Print a new random key for the option `key`, for a key store or a file."""
    if sys.stdout.isatty():
        raise PlugwayError(
            "a key does not belong on a screen. Put it into the key store:\n"
            "  plugway recordings new-key | plugway keys set recordings --anywhere\n"
            "or into a file, for `key: {$file: ~/.config/plugway/recordings.key}`:\n"
            "  (umask 077; plugway recordings new-key > ~/.config/plugway/recordings.key)"
        )
    print(base64.urlsafe_b64encode(os.urandom(32)).decode())


def asked(
    gateway: LocalGateway, method: str, path: str, body: Mapping[str, Any] | None = None
) -> Any:
    """The gateway's answer. Raises `PlugwayError`, with the fix if it records nothing."""
    try:
        return gateway.ask(method, path, None if body is None else orjson.dumps(body))
    except PlugwayError as error:
        if "not served here" in str(error):
            file = (gateway.state() or {}).get("config") or gateway.config_path
            raise PlugwayError(
                f"this gateway records nothing: add to {file}\n"
                "  - {use: recorder, options: {key: {$keyring: recordings}}}\n"
                "after `plugway recordings new-key | plugway keys set recordings --anywhere`"
            ) from None
        raise


def _switched(gateway: LocalGateway, conversation: str, on: bool) -> Mapping[str, Any]:
    return as_object(asked(gateway, "POST", SWITCH, {"conversation": conversation, "on": on}))


def _when(at: float) -> str:
    then = time.localtime(at)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M", then)


def _say(text: str) -> None:
    print(text, file=sys.stderr)

"""`plugway keys`: store, list, test and remove keys; no command shows one."""

from __future__ import annotations

import getpass
import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import typer
from rich.console import Console
from rich.table import Table

from plugway import PlugwayError, StoredKey, origin_of, url_problem
from plugway_keyring import _names
from plugway_keyring._places import KNOWN, try_key
from plugway_keyring._store import Keyring

keys_app = typer.Typer(
    name="keys",
    help="API keys in the system's keyring. A configuration refers to one as {$keyring: NAME}. "
    "For keys of people who use this gateway, see `plugway users keys`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_LONGEST = 1024
_CHOICES = """
You can keep the key here instead:
  {{$env: {env}}}
      an environment variable of the shell that starts the gateway
  {{$file: ~/.config/plugway/{name}.key}}
      a file that only you can read:
      (umask 077; mkdir -p ~/.config/plugway; cat > ~/.config/plugway/{name}.key)
Trusted stores: the macOS Keychain, the Windows Credential Manager, KWallet, and any Secret Service
such as GNOME Keyring. Without a desktop: run in `dbus-run-session` with `gnome-keyring-daemon`.
A plain-text store is never used."""

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits, `.`, `_`, `-`.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration whose keys count as used.", metavar="FILE"),
]


@keys_app.command(
    "set",
    epilog="Examples: plugway keys set anthropic; "
    "pass show work | plugway keys set work --for https://gateway.example.com. "
    "Exit codes: 0 stored, 1 not stored, 2 usage.",
    context_settings={"allow_extra_args": True},
)
def set_command(
    context: typer.Context,
    name: Name,
    place: Annotated[
        str, typer.Option("--for", help="Address that the key may be sent to.", metavar="URL")
    ] = "",
    anywhere: Annotated[
        bool, typer.Option("--anywhere", help="Allow any address; for the gateway's own token.")
    ] = False,
) -> None:
    """Store a key, typed without echo or read from standard input, and bind it to one address."""
    if context.args:
        _fail(
            "a key on the command line is visible in the shell's history and to every "
            f"process: run `plugway keys set {name}` and type it, or pipe it in. "
            "Replace the key that was just given at its provider",
            2,
        )
    _check_name(name)
    origin = "" if anywhere else _origin(name, place)
    ring = _open(name)
    value = _read_value(name)
    ring.write(name, StoredKey(value, origin))
    _names.note(name)
    _print_error(
        f"stored `{name}` in {ring.name}, for {origin or 'any address'}\n"
        f"  use {{$keyring: {name}}} in the configuration"
        + (f" and test it with `plugway keys test {name}`" if origin else "")
    )


@keys_app.command(
    "list", epilog="Example: plugway keys list --json. Exit codes: 0 listed, 1 no keyring."
)
def list_command(as_json: Json = False, config: ConfigPath = None) -> None:
    """List names, addresses and last characters of the keys; never a key."""
    ring = _open("NAME")
    noted, used = _names.noted(), _names.referenced(config)
    rows = [_row(ring, name, name in used) for name in sorted({*noted, *used})]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    if not rows:
        _print_error("no keys are stored. Example: plugway keys set anthropic")
        return
    table = Table("name", "for", "ends in", "used", "state", box=None, padding=(0, 2))
    for row in rows:
        used_text = "yes" if row["used"] else "no"
        table.add_row(row["name"], row["origin"] or "-", row["ends_in"], used_text, row["state"])
    Console(soft_wrap=True).print(table)


@keys_app.command(
    "test",
    epilog="Example: plugway keys test anthropic. Exit codes: 0 accepted, 1 not accepted, 2 usage.",
)
def try_command(
    name: Name,
    place: Annotated[
        str, typer.Option("--for", help="Address to use for a key that has none.", metavar="URL")
    ] = "",
    as_json: Json = False,
) -> None:
    """Request the list of models from the key's own address, once."""
    _check_name(name)
    key = _open(name).read(name)
    if key is None:
        _fail(f"there is no key `{name}` in the keyring: run `plugway keys set {name}`")
    if key.origin and place and origin_of(place) != key.origin:
        _fail(f"`{name}` may only be sent to {key.origin}", 2)
    origin = key.origin or _checked_origin(place)
    if not origin:
        _fail(f"`{name}` is bound to no address: run `plugway keys test {name} --for URL`", 2)
    verdict = anyio.run(partial(try_key, origin, key.value))
    if as_json:
        print(json.dumps({"name": name, "origin": origin, **asdict(verdict)}, indent=2))
    else:
        count = f", {verdict.models} models" if verdict.models else ""
        print(f"{name}: {origin} {verdict.reason}{count}")
        if verdict.fix:
            _print_error(verdict.fix)
    raise typer.Exit(0 if verdict.ok else 1)


@keys_app.command("rm", epilog="Example: plugway keys rm work --yes. Exit codes: 0 gone, 1 not.")
def rm_command(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False,
) -> None:
    """Remove a key from the keyring."""
    _check_name(name)
    ring = _open(name)
    if name in _names.referenced():
        _print_error(f"the configuration still uses {{$keyring: {name}}}")
    if not yes and not typer.confirm(f"Remove `{name}` from {ring.name}?", err=True):
        raise typer.Exit(1)
    found = ring.delete(name)
    _names.forget(name)
    if not found:
        _fail(f"there is no key `{name}` in the keyring")
    _print_error(f"removed `{name}`")


def _row(ring: Keyring, name: str, used: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "origin": "", "ends_in": "", "used": used}
    try:
        key = ring.read(name)
    except PlugwayError as error:
        return {**row, "state": str(error)}
    if key is None:
        return {**row, "state": f"missing: run `plugway keys set {name}`"}
    ends_in = key.value[-4:] if len(key.value) >= 16 else "*"
    return {**row, "origin": key.origin, "ends_in": ends_in, "state": "stored"}


def _open(name: str) -> Keyring:
    try:
        return Keyring()
    except PlugwayError as error:
        variable = name.upper().replace("-", "_").replace(".", "_") + "_API_KEY"
        _fail(f"{error}\n{_CHOICES.format(name=name, env=variable)}")


def _origin(name: str, place: str) -> str:
    if place:
        return _checked_origin(place)
    if name in KNOWN:
        return KNOWN[name].origin
    _fail(
        f"no known address for `{name}`: run `plugway keys set {name} --for https://HOST`; "
        f"known names: {', '.join(KNOWN)}",
        2,
    )


def _checked_origin(place: str) -> str:
    if place and (problem := url_problem(place, with_key=True)):
        _fail(f"`{place}`: {problem}", 2)
    return origin_of(place)


def _check_name(name: str) -> None:
    if not _names.is_name(name):
        _fail("a key's name consists of at most 64 lower-case letters, digits, `.`, `_` and `-`", 2)


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        value = getpass.getpass(f"Key `{name}` (not shown): ").strip()
    else:
        value = sys.stdin.read(_LONGEST + 2).strip()
    if not value:
        _fail("no key given; nothing was stored")
    if len(value) > _LONGEST:
        _fail(f"not a valid key: longer than {_LONGEST} characters")
    if not all("!" <= character <= "~" for character in value):
        _fail("not a valid key: a key is one word of visible ASCII characters")
    return value


def _print_error(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(message: str, code: int = 1) -> NoReturn:
    _print_error(f"plugway keys: {message}")
    raise typer.Exit(code)

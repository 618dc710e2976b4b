"""`plugway users` and `plugway groups`: people, groups and keys, in the configured database.

They work whether the gateway runs or not; it sees each change with the next request.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from plugway import PlugwayError
from plugway_accounts import _shown
from plugway_accounts._errors import no_group, no_person
from plugway_accounts._names import EVERYTHING
from plugway_accounts._people import People
from plugway_accounts._tables import SCHEMA
from plugway_store import run_with_store

T = TypeVar("T")

users_app = typer.Typer(
    name="users",
    help="People who may use this gateway, and their keys. Needs the plugin `accounts`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
keys_app = typer.Typer(
    help="Keys of people. A key is shown once, when it is made; later by its beginning.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
groups_app = typer.Typer(
    name="groups",
    help="Groups of people, for models and budgets. Needs the plugin `accounts`.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
users_app.add_typer(keys_app, name="keys")

_DAY = 86_400
_MOST_DAYS = 3650

Name = Annotated[str, typer.Argument(help="Name of the person.")]
GroupName = Annotated[str, typer.Argument(help="Name of the group.")]
KeyId = Annotated[str, typer.Argument(help="Beginning of the key, such as pw_3fTk8Qzr.")]
Models = Annotated[
    list[str] | None,
    typer.Option(
        "--models", help="INSTANCE/MODEL, * matches any text; repeatable; `none` for none."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration to use.", metavar="FILE")
]


# ── users ────────────────────────────────────────────────────────────────────────────────────────


@users_app.command("add", epilog="Example: plugway users add ann --group staff --password")
def add_user(
    name: Name,
    models: Models = None,
    group: Annotated[
        list[str] | None, typer.Option("--group", help="Group to join; repeatable.")
    ] = None,
    password: Annotated[
        bool, typer.Option("--password", help="Ask for a password, for signing in.")
    ] = False,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Add a person, who may use all models unless --models says otherwise."""
    secret = _new_password(name) if password else None

    async def work(people: People) -> None:
        await people.add(name, models=_models(models, EVERYTHING), groups=group or ())
        if secret is not None:
            try:
                await people.set_password(name, secret)
            except PlugwayError as error:
                raise PlugwayError(
                    f"`{name}` was added without a password: {error}. Run `plugway users set "
                    f"{name} --password`"
                ) from error

    _change_person(config, name, work, as_json)
    _note(f"added `{name}`; next: plugway users keys issue {name}")


@users_app.command("list", epilog="Example: plugway users list --json")
def list_users(as_json: Json = False, config: ConfigPath = None) -> None:
    """List all people."""
    found = _run(config, lambda people: people.everybody())
    _shown.table(found, as_json, "no people yet. Example: plugway users add ann")


@users_app.command("show", epilog="Example: plugway users show ann")
def show_user(name: Name, as_json: Json = False, config: ConfigPath = None) -> None:
    """Show a person with all keys."""

    async def work(people: People) -> Any:
        found = await people.person(name)
        if found is None:
            raise no_person(name)
        return found, await people.keys(name)

    person, keys = _run(config, work)
    _shown.person(person, keys, as_json)


@users_app.command("set", epilog="Example: plugway users set ann --models 'local/*' --password")
def set_user(
    name: Name,
    models: Models = None,
    password: Annotated[
        bool | None,
        typer.Option("--password/--no-password", help="Ask for a new password, or remove it."),
    ] = None,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Change a person's models or password."""
    secret = _new_password(name) if password else None

    async def work(people: People) -> None:
        if models:
            await people.set_models(name, _models(models, ()))
        if password is not None:
            await people.set_password(name, secret)

    if not models and password is None:
        _fail("nothing to change: use --models, --password or --no-password", 2)
    _change_person(config, name, work, as_json)
    _note(f"changed `{name}`")


@users_app.command("disable", epilog="Example: plugway users disable ann")
def disable_user(name: Name, as_json: Json = False, config: ConfigPath = None) -> None:
    """Lock a person out at once, with all keys; nothing is deleted."""
    _change_person(config, name, lambda people: people.disable(name), as_json)
    _note(f"disabled `{name}`; `plugway users enable {name}` undoes it")


@users_app.command("enable", epilog="Example: plugway users enable ann")
def enable_user(name: Name, as_json: Json = False, config: ConfigPath = None) -> None:
    """Let a disabled person in again."""
    _change_person(config, name, lambda people: people.enable(name), as_json)
    _note(f"enabled `{name}`")


@users_app.command("rm", epilog="Example: plugway users rm ann --yes")
def remove_user(
    name: Name, yes: Yes = False, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Remove a person with keys and password. The name cannot be used again."""
    _confirm(yes, f"Remove `{name}` with all keys? Nobody can get this name again.")
    _run(config, lambda people: people.remove(name))
    _shown.removed(name, as_json)
    _note(f"removed `{name}`")


# ── keys ─────────────────────────────────────────────────────────────────────────────────────────


@keys_app.command("issue", epilog="Example: plugway users keys issue ann --label laptop --days 90")
def issue_key(
    name: Name,
    label: Annotated[str, typer.Option("--label", help="What the key is for.")] = "",
    models: Models = None,
    days: Annotated[
        float | None,
        typer.Option("--days", help="Days until it expires.", min=0.001, max=_MOST_DAYS),
    ] = None,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    expires = None if days is None else int(time.time() + days * _DAY)

    async def work(people: People) -> Any:
        return await people.issue(
            name, label=label, models=_models(models, EVERYTHING), expires=expires
        )

    made = _run(config, work)
    _shown.new_key(made, name, expires, as_json)


@keys_app.command("list", epilog="Example: plugway users keys list ann --json")
def list_keys(
    name: Annotated[str | None, typer.Argument(help="Only those of this person.")] = None,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """List keys by their beginnings."""

    async def work(people: People) -> Any:
        if name is not None and await people.person(name) is None:
            raise no_person(name)
        return await people.keys(name)

    found = _run(config, work)
    _shown.table(found, as_json, "no keys yet. Example: plugway users keys issue ann")


@keys_app.command("rotate", epilog="Example: plugway users keys rotate pw_3fTk8Qzr --hours 24")
def rotate_key(
    key: KeyId,
    hours: Annotated[
        float, typer.Option("--hours", help="How long the old key stays valid.", min=0, max=8760)
    ] = 24,
    as_json: Json = False,
    config: ConfigPath = None,
) -> None:
    """Make a key like another one, which then expires; the new one is printed once."""

    async def work(people: People) -> Any:
        made = await people.rotate(key, overlap=int(hours * 3600))
        return made, next(one for one in await people.keys() if one.id == made.id)

    made, stored = _run(config, work)
    _shown.new_key(made, stored.person, stored.expires, as_json)
    _note(f"the old key stays valid for {hours:g} hours")


@keys_app.command("revoke", epilog="Example: plugway users keys revoke pw_3fTk8Qzr --yes")
def revoke_key(
    key: KeyId, yes: Yes = False, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Make a key invalid at once; this cannot be undone."""
    _confirm(yes, f"Revoke the key `{key[:11]}`? This cannot be undone.")
    found = _run(config, lambda people: people.revoke(key))
    _shown.one(found, as_json)
    _note(f"revoked `{found.id}` of `{found.person}`")


# ── groups ───────────────────────────────────────────────────────────────────────────────────────


@groups_app.command("add", epilog="Example: plugway groups add staff --models 'cloud/*'")
def add_group(
    name: GroupName, models: Models = None, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Add a group; --models are granted to its members besides their own."""
    _change_group(
        config, name, lambda people: people.add_group(name, models=_models(models, ())), as_json
    )
    _note(f"added the group `{name}`; next: plugway groups join {name} PERSON")


@groups_app.command("list", epilog="Example: plugway groups list --json")
def list_groups(as_json: Json = False, config: ConfigPath = None) -> None:
    """List all groups with their members."""
    found = _run(config, lambda people: people.groups())
    _shown.table(found, as_json, "no groups yet. Example: plugway groups add staff")


@groups_app.command("set", epilog="Example: plugway groups set staff --models 'cloud/*'")
def set_group(
    name: GroupName, models: Models = None, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Change what is granted to the members of a group."""
    if not models:
        _fail("nothing to change: use --models", 2)
    _change_group(
        config, name, lambda people: people.set_group_models(name, _models(models, ())), as_json
    )
    _note(f"changed the group `{name}`")


@groups_app.command("rm", epilog="Example: plugway groups rm staff --yes")
def remove_group(
    name: GroupName, yes: Yes = False, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Remove a group; its members stay, without what it granted."""
    _confirm(yes, f"Remove the group `{name}`? Its members lose what it grants.")
    _run(config, lambda people: people.remove_group(name))
    _shown.removed(name, as_json)
    _note(f"removed the group `{name}`")


@groups_app.command("join", epilog="Example: plugway groups join staff ann")
def join_group(
    name: GroupName, person: Name, as_json: Json = False, config: ConfigPath = None
) -> None:
    """Make a person a member of a group."""
    _change_group(config, name, lambda people: people.join(person, name), as_json)
    _note(f"`{person}` is a member of `{name}`")


@groups_app.command("leave", epilog="Example: plugway groups leave staff ann")
def leave_group(
    name: GroupName, person: Name, as_json: Json = False, config: ConfigPath = None
) -> None:
    """End a person's membership in a group."""
    _change_group(config, name, lambda people: people.leave(person, name), as_json)
    _note(f"`{person}` is no longer a member of `{name}`")


# ── shared ───────────────────────────────────────────────────────────────────────────────────────


def _run(config: Path | None, work: Callable[[People], Awaitable[T]]) -> T:
    """The result of work on the people of a configuration; prints a failure and exits."""
    try:
        return run_with_store(SCHEMA, lambda store: work(People(store)), config)
    except PlugwayError as error:
        _fail(str(error))


def _change_person(
    config: Path | None, name: str, work: Callable[[People], Awaitable[None]], as_json: bool
) -> None:
    """Change a person, and print them if JSON is wanted."""

    async def changed(people: People) -> Any:
        await work(people)
        return await people.person(name)

    _shown.one(_run(config, changed), as_json)


def _change_group(
    config: Path | None, name: str, work: Callable[[People], Awaitable[None]], as_json: bool
) -> None:
    """Change a group, and print it if JSON is wanted."""

    async def changed(people: People) -> Any:
        await work(people)
        for found in await people.groups():
            if found.name == name:
                return found
        raise no_group(name)

    _shown.one(_run(config, changed), as_json)


def _models(given: list[str] | None, default: tuple[str, ...]) -> tuple[str, ...]:
    if not given:
        return default
    return () if given == ["none"] else tuple(given)


def _new_password(name: str) -> str:
    """A password, asked for twice without echo, or the first line of standard input."""
    if sys.stdin.isatty():
        return typer.prompt(
            f"Password for {name} (not shown)", hide_input=True, confirmation_prompt=True, err=True
        )
    return sys.stdin.readline().rstrip("\r\n")


def _confirm(yes: bool, question: str) -> None:
    if not yes and not typer.confirm(question, err=True):
        raise typer.Exit(1)


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(message: str, code: int = 1) -> NoReturn:
    _note(f"plugway: {message}")
    raise typer.Exit(code)

"""`plugway mcp`: mounted servers in the user's configuration."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, NoReturn, cast

import typer
from rich.console import Console
from typer.core import TyperCommand

from plugway import LocalGateway, PlugwayError, as_object, write_file
from plugway_mcp import _edit, _file, _setup
from plugway_mcp._definitions import Definitions, Store, difference, lines_of
from plugway_mcp._offers import offers
from plugway_mcp._options import ServerOptions
from plugway_mcp._presets import presets
from plugway_packages import Approvals
from plugway_tools import harmless

mcp_app = typer.Typer(
    name="mcp",
    help="MCP servers that the gateway mounts: list, test, add, remove, import, accept.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_out = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
_talk = Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)
_ADDED = "plugway_mcp.command"
_PATIENCE = 300.0
"""Time for the first start, which may download the server."""

ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration to read or change.", metavar="FILE")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a script.")]
Name = Annotated[str, typer.Argument(help="Name of a server, as `plugway mcp list` shows it.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Roots = Annotated[
    list[Path] | None,
    typer.Option("--root", help="Folder that it may use; may be repeated.", metavar="FOLDER"),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", help="Effect of tools to offer: read, write, run; may be repeated."),
]


class _AddCommand(TyperCommand):
    """Keeps the words after `--` apart from the names before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            ctx.meta[_ADDED] = args[cut + 1 :]
            args = args[:cut]
        return super().parse_args(ctx, args)


@mcp_app.command("list", epilog="Example: plugway mcp list --json")
def list_command(as_json: Json = False, config: ConfigPath = None) -> None:
    """List the mounted servers and what is known of their tools; starts none."""
    rows = [_row(name, raw) for name, raw in _servers(LocalGateway.find(config)).items()]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    if not rows:
        known = ", ".join(presets())
        _say(f"No servers are mounted. Add one: plugway mcp add NAME. Well-known: {known}")
        return
    for row in rows:
        allowed = " ".join(row["allow"]) or "nothing"
        _say(f"{row['server']}: {row['offered']} of {row['tools']} tools offered ({allowed})")
        _say(f"  runs   {_one_line(row['runs'])}")
        if row["to_do"]:
            _say(f"  to do  {row['to_do']}")


def _row(name: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    store = Store()
    accepted, waiting = store.accepted(name), store.waiting(name)
    row: dict[str, Any] = {"server": name, "offered": 0, "tools": 0, "allow": [], "to_do": ""}
    runs = _setup.Plan(name, {"command": "?", **raw}).command
    row["runs"] = runs
    try:
        options = _plain_options(raw)
    except ValueError:
        return {**row, "to_do": "its options are invalid: run `plugway check`"}
    row["allow"] = list(options.allow)
    if accepted is None:
        return {**row, "to_do": f"never started: run `plugway mcp test {name}`"}
    judged = offers(name, options, accepted.values())
    row |= {"tools": len(judged), "offered": sum(not refusal for *_, refusal in judged)}
    if waiting and (found := difference(accepted, waiting)):
        row["to_do"] = f"{found.text}: run `plugway mcp accept {name}`"
    return row


@mcp_app.command("test", epilog="Example: plugway mcp test files. Exit codes: 0 works, 1 fails.")
def try_command(name: Name, as_json: Json = False, config: ConfigPath = None) -> None:
    """Start a server, and show its tools with their effects and which of them are offered."""
    options, listed = _tried(name, _raw(name, LocalGateway.find(config)), config)
    store = Store()
    accepted = store.accepted(name)
    if accepted is None:
        store.accept(name, listed)
        accepted = listed
    if as_json:
        print(json.dumps(_shown(name, options, listed), indent=1))
    else:
        _show(name, options, listed)
    if found := difference(accepted, listed):
        store.wait(name, listed)
        _talk.print(f"Not as you have seen it: {found.text}. Run `plugway mcp accept {name}`.")
        raise typer.Exit(1)


@mcp_app.command("accept", epilog="Example: plugway mcp accept files")
def accept_command(name: Name, yes: Yes = False, config: ConfigPath = None) -> None:
    """Show how the tools of a server differ from those that you have seen, and accept them."""
    options, listed = _tried(name, _raw(name, LocalGateway.find(config)), config)
    store = Store()
    accepted = store.accepted(name) or {}
    lines = lines_of(accepted, listed)
    if not lines:
        store.accept(name, listed)
        _say(f"The tools of `{name}` are as you have seen them.")
        return
    for line in lines:
        _say(harmless(line))
    _show(name, options, listed)
    if not yes and not typer.confirm(f"Accept these tools of `{name}`?", err=True):
        raise typer.Exit(1)
    store.accept(name, listed)
    _say("Accepted. A running gateway offers them from now on.")


@mcp_app.command(
    "add",
    cls=_AddCommand,
    epilog="Examples: plugway mcp add time; plugway mcp add files --root ~/notes --allow read "
    "--allow write; plugway mcp add tickets -- npx -y @example/tickets@1.2.3",
)
def add_command(
    context: typer.Context,
    names: Annotated[
        list[str],
        typer.Argument(help="Well-known servers, or the name of one whose command follows `--`."),
    ],
    root: Roots = None,
    allow: Allow = None,
    own_address: Annotated[
        list[str] | None,
        typer.Option(
            "--own-address",
            help="HOST:PORT of this machine or its network that the browser may open, too.",
        ),
    ] = None,
    yes: Yes = False,
    config: ConfigPath = None,
) -> None:
    """Add servers to the configuration: shows what each needs and runs, asks, and tests it."""
    words: list[str] = context.meta.get(_ADDED, [])
    gateway = LocalGateway.find(config)
    taken = _servers(gateway)
    effects = _effects(allow)
    if words and len(names) != 1:
        _fail("a command after `--` needs exactly one name before it", 2)
    plans: list[_setup.Plan] = []
    for name in dict.fromkeys(names):
        if name in taken:
            _fail(f"there is a server `{name}` already: run `plugway mcp rm {name}` first")
        if words:
            plans.append(_setup.of_command(name, words, effects, root or ()))
        elif name in presets():
            preset = presets()[name]
            roots = root or () if preset.folders or len(names) == 1 else ()
            own = (own_address or ()) if preset.browser or len(names) == 1 else ()
            plans.append(_setup.of_preset(preset, roots, effects, own))
        else:
            known = ", ".join(presets())
            _fail(f"`{name}` is not well-known ({known}): give its command after `--`", 2)
    failed = [plan.name for plan in plans if not _add(plan, gateway, config, yes=yes)]
    if failed:
        raise typer.Exit(1)


@mcp_app.command("import", epilog="Example: plugway mcp import .mcp.json")
def import_command(
    file: Annotated[Path, typer.Argument(help="`.mcp.json`, or `.claude.json` of Claude Code.")],
    config: ConfigPath = None,
) -> None:
    """Add servers from a file of Claude Code: shows every command first, then asks for each."""
    try:
        text = file.expanduser().read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"cannot read {file}: {getattr(error, 'strerror', 'not UTF-8 text')}")
    plans, problems = _setup.of_file(text)
    gateway = LocalGateway.find(config)
    taken = _servers(gateway)
    for plan in plans:
        _say(f"{plan.name:16} {_one_line(plan.command)}")
    for problem in problems:
        _talk.print(f"Left out: {_one_line(problem)}")
    failed = False
    for plan in plans:
        if plan.name in taken:
            _talk.print(f"Left out: there is a server `{plan.name}` already")
        else:
            failed = not _add(plan, gateway, config, yes=False) or failed
    if failed or problems:
        raise typer.Exit(1)


@mcp_app.command("rm", epilog="Example: plugway mcp rm files")
def rm_command(name: Name, yes: Yes = False, config: ConfigPath = None) -> None:
    """Remove a server from the configuration, and forget its tools; uninstalls nothing."""
    gateway = LocalGateway.find(config)
    _raw(name, gateway)
    if not yes and not typer.confirm(f"Remove `{name}` from {gateway.config_path}?", err=True):
        raise typer.Exit(1)
    try:
        with _file.locked():
            text = _edit.without_server(_file.read(gateway.config_path), name)
            _replace(gateway, text, without=name)
    except _edit.CannotEdit as error:
        _fail(f"remove `servers.{name}` from {gateway.config_path} yourself: {error}")
    Store().forget(name)
    _say(f"Removed `{name}` from {gateway.config_path}.")


# ── adding ───────────────────────────────────────────────────────────────────────────────────────


def _add(plan: _setup.Plan, gateway: LocalGateway, config: Path | None, *, yes: bool) -> bool:
    """Ask, install, test and write; whether the server was added."""
    _say(f"\n{plan.name}: {plan.about}" if plan.about else f"\n{plan.name}")
    for need in plan.needs:
        _say(f"  needs    {_one_line(need)}")
    for words in plan.install:
        _say(f"  installs {shlex.join(words)}")
    for path, text in plan.files.items():
        _say(f"  writes   {path}: {text}")
    _say(f"  runs     {_one_line(plan.command)}")
    for note in plan.notes:
        _say(f"  note     {_one_line(note)}")
    _say(f"  adds to {gateway.config_path}:")
    _say(harmless(_edit.block(plan.name, plan.options, 4).rstrip()))
    if not yes and not typer.confirm(f"Do this for `{plan.name}`?", err=True):
        _talk.print("Nothing was done.")
        return False
    for words in plan.install:
        if subprocess.run(words, stdin=subprocess.DEVNULL, check=False).returncode:
            _talk.print(f"`{shlex.join(words)}` failed: nothing was added.")
            return False
    for path, text in plan.files.items():
        write_file(Path(path), text.encode())
    try:
        options, listed = _tried(plan.name, plan.options, config)
    except typer.Exit:
        return False
    _show(plan.name, options, listed)
    Store().accept(plan.name, listed)
    _write(plan, gateway)
    return True


def _write(plan: _setup.Plan, gateway: LocalGateway) -> None:
    try:
        with _file.locked():
            text = _edit.with_server(_present(gateway), plan.name, plan.options)
            _replace(gateway, text, having=plan.name)
    except _edit.CannotEdit as error:
        _say(f"Add this to `options.servers` of `mcp` in {gateway.config_path} ({error}):")
        _say(_edit.block(plan.name, plan.options).rstrip())
        return
    _say(f"Added `{plan.name}` to {gateway.config_path}.")


def _present(gateway: LocalGateway) -> str:
    """The text of the configuration; of the example if there is none yet."""
    path = gateway.config_path
    if path.exists():
        return _file.read(path)
    from importlib import resources
    from importlib.metadata import entry_points

    for point in entry_points(group="plugway.stack"):
        _talk.print(f"There is no configuration yet: {path} is created from the example.")
        folder = resources.files(cast("ModuleType", Approvals().load(point)))
        return folder.joinpath("config.example.yaml").read_text("utf-8")
    raise _edit.CannotEdit("there is no configuration yet")


def _replace(gateway: LocalGateway, text: str, *, having: str = "", without: str = "") -> None:
    """Write the configuration if it reads as it should. Raises `CannotEdit`."""

    def check(draft: Path) -> None:
        found = _servers(gateway, draft)
        before = {**_servers(gateway), **({having: found.get(having)} if having else {})}
        before.pop(without, None)
        if found != before or (having and not found.get(having)):
            raise _edit.CannotEdit("its structure was not understood")

    _file.replace(gateway.config_path, text, check)


# ── in common ────────────────────────────────────────────────────────────────────────────────────


def _servers(gateway: LocalGateway, path: Path | None = None) -> dict[str, Mapping[str, Any]]:
    """The servers as written."""
    if path is None and not gateway.config_path.exists():
        return {}
    entries = [entry for entry in gateway.plugins(path) if entry.use == "mcp"]
    found = as_object(dict(entries[0].options).get("servers")) if entries else {}
    return {name: as_object(raw) for name, raw in found.items()}


def _raw(name: str, gateway: LocalGateway) -> Mapping[str, Any]:
    found = _servers(gateway)
    if name not in found:
        known = ", ".join(f"`{one}`" for one in found) or "none"
        _fail(f"there is no server `{name}` in {gateway.config_path}; there: {known}")
    return found[name]


def _plain_options(raw: Mapping[str, Any]) -> ServerOptions:
    """Options without their secrets. Raises `ValueError`."""
    shown = {key: value for key, value in raw.items() if key not in ("env", "headers", "bearer")}
    return ServerOptions.model_validate(shown)


def _tried(
    name: str, raw: Mapping[str, Any], config: Path | None
) -> tuple[ServerOptions, Definitions]:
    """Start a server; ends the command if that fails."""
    import anyio

    from plugway_mcp._connection import ServerFailed
    from plugway_mcp._trial import list_tools, resolved

    folder = (config or LocalGateway.find(config).config_path).expanduser().absolute().parent
    try:
        options = ServerOptions.model_validate(resolved(raw, folder))
    except PlugwayError as error:
        _fail(str(error))
    except ValueError as error:
        _fail(f"the options of `{name}` are invalid: {error}")
    _talk.print(f"Starting `{name}` ...")
    patient = options.model_copy(update={"start_seconds": max(_PATIENCE, options.start_seconds)})
    try:
        return options, anyio.run(list_tools, name, patient)
    except ServerFailed as error:
        _fail(f"`{name}` does not work: {error}")


def _shown(name: str, options: ServerOptions, listed: Definitions) -> list[dict[str, Any]]:
    return [
        {"tool": tool.name, "effect": effect, "offered": not refusal, "reason": refusal}
        for tool, effect, refusal in offers(name, options, listed.values())
    ]


def _show(name: str, options: ServerOptions, listed: Definitions) -> None:
    judged = offers(name, options, listed.values())
    width = min(40, max((len(tool.name) for tool, _, _ in judged), default=0))
    _say(f"{'tool':{width}}  effect  offered  does")
    for tool, effect, refusal in judged:
        about = harmless(" ".join(tool.description.split()))[:60] or "(nothing said)"
        offered = "no" if refusal else "yes"
        _say(f"{harmless(tool.name):{width}}  {effect:6}  {offered:7}  {about}")


def _effects(given: Sequence[str] | None) -> list[str]:
    found = [word for text in given or () for word in text.split(",") if word]
    for word in found:
        if word not in ("read", "write", "run"):
            _fail(f"unknown effect `{word}`: use read, write or run", 2)
    return found


def _one_line(text: str) -> str:
    """Text of others, which cannot look like another line of ours."""
    return harmless(text).replace("\r", "").replace("\n", "\\n")


def _say(text: str) -> None:
    _out.print(text)


def _fail(message: str, code: int = 1) -> NoReturn:
    _talk.print(f"plugway mcp: {message}")
    raise typer.Exit(code)

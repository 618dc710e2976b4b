"""`plugway models`: download, list, inspect and remove model files; load and unload them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from plugway import LocalGateway, PlugwayError
from plugway_local_models._control import ask_gateways
from plugway_local_models._folder import (
    ModelFile,
    NoSuchModel,
    UnusableModel,
    is_inside,
    models_folder,
)
from plugway_local_models._hub import Hub, pull
from plugway_local_models._kinds import ModelKind, PullFailed, find_model, model_kinds
from plugway_local_models._recommend import EPILOG, recommend_command

models_app = typer.Typer(
    name="models",
    help="Local models: their files, and which of them the gateway has loaded.",
    no_args_is_help=True,
)
models_app.command("recommend", epilog=EPILOG)(recommend_command)
# Names of models and files are text of others, not markup.
_out = Console(soft_wrap=True, markup=False, emoji=False)
_talk = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)
_LOAD_SECONDS = 600.0
_MIB = 1 << 20

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ConfigPath = Annotated[
    Path | None,
    typer.Option("--config", help="Only the gateway of this configuration.", metavar="FILE"),
]
Name = Annotated[str, typer.Argument(help="Name as `plugway models list` shows it, or a path.")]


@models_app.command("list", epilog="Example: plugway models list --json")
def list_command(as_json: Json = False) -> None:
    """List the models that can be loaded."""
    rows = [_row(kind, model) for kind in model_kinds() for model in kind.models()]
    if as_json:
        _print_json(rows)
        return
    if not rows:
        _say(_talk, f"No models in {models_folder()}. Example: plugway models pull ORG/REPO")
        return
    table = Table("model", "size", "architecture", "trained for", "about", box=None)
    for row in rows:
        size = f"{row['bytes'] / _MIB:,.0f} MiB"
        cells = (row["model"], size, row["architecture"], f"{row['context']:,}", row["about"])
        table.add_row(*(_printable(cell) for cell in cells))
    _out.print(table)


@models_app.command("pull", epilog="Example: plugway models pull unsloth/Qwen3-4B-GGUF:Q4_K_M")
def pull_command(
    name: Annotated[str, typer.Argument(help="ORG/REPO, or ORG/REPO:QUANT.")],
    endpoint: Annotated[
        str, typer.Option(help="Address of the hub; default HF_ENDPOINT, or the public one.")
    ] = "",
) -> None:
    """Download a model; resumes an interrupted download, and verifies the files."""
    hub, kinds = Hub(endpoint), model_kinds()
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    try:
        with Progress(*columns, console=_talk) as bars:
            tasks: dict[str, TaskID] = {}

            def report(file: str, done: int, total: int) -> None:
                if file not in tasks:
                    tasks[file] = bars.add_task(_printable(Path(file).name), total=total or None)
                bars.update(tasks[file], completed=done)

            paths = pull(hub, name, models_folder(), report, kinds)
    except PullFailed as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"cannot write the model to {models_folder()}: {error}")
    finally:
        hub.close()
    known = {model.path: model.name for kind in kinds for model in kind.models()}
    _say(_out, known.get(paths[0]) or known.get(paths[0].parent) or str(paths[0]))


@models_app.command("show", epilog="Example: plugway models show demo")
def show_command(name: Name, as_json: Json = False) -> None:
    """Show a model's metadata, and the memory that it needs on this machine."""
    kind, model = _find(name)
    try:
        facts = {**_row(kind, model), **kind.details(model)}
    except UnusableModel as error:
        _fail(str(error))
    if as_json:
        _print_json(facts)
        return
    for key, value in facts.items():
        _say(_out, f"{key:16} {value:,}" if type(value) is int else f"{key:16} {value}")


@models_app.command("rm", epilog="Example: plugway models rm ORG/REPO/FILE --yes")
def rm_command(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")] = False
) -> None:
    """Delete a model from the models folder, with all its parts."""
    kind, model = _find(name)
    folder = models_folder()
    if not is_inside(model.path, folder):
        _fail(f"{model.path} is not in {folder}: delete it yourself")
    if model.path.is_dir() and model.path.is_symlink():
        _fail(f"{model.path} is a link to another folder: remove the link yourself")
    files = [path for path in kind.files(model) if is_inside(path, folder)]
    if not files:
        _fail(f"{model.path} is not a file: nothing was deleted")
    if not yes and not typer.confirm(
        _printable(f"Delete {', '.join(p.name for p in files)}?"), err=True
    ):
        raise typer.Exit(1)
    for path in files:
        try:
            path.unlink()
        except OSError as error:
            _fail(f"{path} cannot be deleted ({error.strerror})")
    with suppress(OSError):  # of others, files stay, and with them their folder
        if model.path.is_dir():
            model.path.rmdir()
    _say(_talk, f"deleted {model.name}")


@models_app.command("ps", epilog="Example: plugway models ps --json")
def ps_command(as_json: Json = False, config: ConfigPath = None) -> None:
    """List the models that running gateways have loaded."""
    answers = _answers({"do": "ps"}, config)
    rows = [row for answer in answers for row in answer.get("models", ())]
    if as_json:
        _print_json(rows)
        return
    table = Table("instance", "model", "state", "pid", "requests", "needs", "idle", box=None)
    for row in rows:
        needs, idle = _size(row["needs_bytes"]), row["idle_seconds"]
        idle = "?" if idle is None else f"{idle:.0f} s"
        pid = row["pid"] or "-"  # a model of another program
        cells = (row["instance"], row["model"], row["state"], pid, row["requests"])
        table.add_row(*(_printable(cell) for cell in cells), needs, idle)
        if row["reason"]:
            _say(_talk, f"{row['instance']}: {row['reason']}")
    _out.print(table)
    for answer in answers:
        if memory := answer.get("memory"):
            _say_memory(memory)


@models_app.command("memory", epilog="Example: plugway models memory --json")
def memory_command(as_json: Json = False, config: ConfigPath = None) -> None:
    """Show the memory for models, and what the plugin `memory` did last."""
    answers = [a for a in _answers({"do": "ps"}, config) if a.get("memory")]
    if not answers:
        _fail("the running gateway does not list the plugin `memory`")
    if as_json:
        _print_json([{**answer["memory"], "models": answer["models"]} for answer in answers])
        return
    for answer in answers:
        _say_memory(answer["memory"])


@models_app.command("load", epilog="Example: plugway models load demo")
def load_command(name: Name, config: ConfigPath = None) -> None:
    """Load a model into the running gateway; also enables it again after crashes."""
    answers = _answers({"do": "load", "model": name}, config, _LOAD_SECONDS)
    for row in answers[0].get("models", ()):
        _say(_talk, f"{row['instance']}: {row['model']} is {row['state']}")


@models_app.command("unload", epilog="Example: plugway models unload demo")
def unload_command(name: Name, config: ConfigPath = None) -> None:
    """Unload a model from the running gateway's memory."""
    answers = _answers({"do": "unload", "model": name}, config)
    if not any(answer.get("unloaded") for answer in answers):
        _fail(f"`{name}` is not loaded; `plugway models ps` lists the loaded models")
    _say(_talk, f"unloaded {name}")


def _answers(
    command: dict[str, Any], config: Path | None, timeout: float = 10.0
) -> list[dict[str, Any]]:
    answers = ask_gateways(command, timeout, pid=_gateway_of(config) if config else None)
    good = [answer for answer in answers if "error" not in answer]
    if not answers:
        _fail("no gateway with local models is running: run `plugway serve`")
    if not good:
        _fail("; ".join(str(answer["error"]) for answer in answers))
    if command["do"] == "ps":  # other commands are for one of the gateways
        for answer in answers:
            if "error" in answer:
                _say(_talk, str(answer["error"]))
    return good


def _gateway_of(config: Path) -> int:
    """The process id of the gateway at the address of a configuration."""
    try:
        gateway = LocalGateway.find(config)
        state = gateway.state()
    except PlugwayError as error:
        _fail(str(error))
    if state is None:
        _fail(f"no gateway responds at {gateway.url}: run `plugway serve --config {config}`")
    return int(state["pid"])


def _row(kind: ModelKind, model: ModelFile) -> dict[str, Any]:
    facts = kind.facts(model)
    return {
        "model": model.name,
        "path": str(model.path),
        "architecture": facts.architecture,
        "bytes": facts.bytes,
        "context": facts.context,
        "about": facts.about,
    }


def _find(name: str) -> tuple[ModelKind, ModelFile]:
    try:
        return find_model(name, model_kinds())
    except NoSuchModel as error:
        _fail(str(error))


def _say_memory(memory: dict[str, Any]) -> None:
    sizes = (f"{_size(memory[name])} {name}" for name in ("total", "available", "reserve"))
    _say(_out, f"memory: {', '.join(sizes)}")
    for decision in memory["decisions"]:
        _say(_out, f"  {decision['age_seconds']:.0f} s ago: {decision['what']}")


def _size(size: int) -> str:
    return f"{size / _MIB:,.0f} MiB" if size else "?"


def _print_json(value: object) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    typer.echo(text.encode("utf-8", "replace").decode())


def _fail(message: str) -> NoReturn:
    _say(_talk, message)
    raise typer.Exit(1)


def _say(console: Console, line: str) -> None:
    console.print(_printable(line))


def _printable(text: object) -> str:
    """Without characters that move the cursor, or that no terminal can show."""
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(text)
    )

"""`plugway bench`: announce, ask, measure, print, and write the report."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from plugway import LocalGateway, PlugwayError, write_file
from plugway_bench._bodies import TITLES, WORKLOADS, Workload
from plugway_bench._choose import agreed, announcement, endpoints, without_models
from plugway_bench._compare import changes
from plugway_bench._gateway import measured_gateway
from plugway_bench._picture import picture
from plugway_bench._report import markdown
from plugway_bench._result import Result, read_result
from plugway_bench._run import Plan, Run, Step
from plugway_bench._samples import SILENT, Endpoint
from plugway_local_models.measured import results_folder
from plugway_probe import list_models

bench_app = typer.Typer(name="bench", rich_markup_mode=None)
_INTERRUPTED: Final = 130


@bench_app.command(
    epilog="Examples: plugway bench; plugway bench --endpoint 'local/*' --rounds 5; plugway bench "
    "--compare OLD.json NEW.json. Exit codes: 0 done, 1 nothing was measured or written, 2 usage, "
    "130 interrupted (what was measured is written).",
)
def bench(
    endpoint: Annotated[
        list[str] | None,
        typer.Option(help="INSTANCE/MODEL or a pattern; default: one model of each backend."),
    ] = None,
    workload: Annotated[
        list[str] | None,
        typer.Option(help=f"Only this one of {', '.join(WORKLOADS)}; can be repeated."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Rounds after the warm-up.")] = 3,
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, help="Time limit of each reply.")
    ] = 300.0,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; default: the user's state folder.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Also use endpoints that cost money or are elsewhere.")
    ] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Compare two results and measure nothing.", metavar="OLD NEW"),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the texts; default: a new one, which no cache has.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", min=0, max=65535, help="Port of the gateway.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a script.")] = False,
) -> None:
    """Measure every configured endpoint with the work of a coding agent.

    Sends generated text through the gateway: one turn of 2K, turns of 20K with tools, and 50K with
    many tools. Says first what it sends, to whom, and what it may cost. Starts a gateway if none
    runs.
    """
    if compare is not None:
        for line in changes(*map(read_result, compare)):
            _print(line)
        return
    folder = _writable(out or results_folder())
    workloads = _workloads(workload or WORKLOADS)
    plan = Plan(workloads, rounds, random.randrange(2**32) if seed is None else seed)
    with measured_gateway(config, port) as (gateway, own):
        models = anyio.run(partial(list_models, gateway.url, gateway.token, tls=gateway.tls))
        chosen = _chosen(plan, endpoints(gateway, models, endpoint or ()), yes=yes)
        _talk("Through a gateway started for this run." if own else f"Through {gateway.url}.")
        run = Run(plan, chosen, _silent(without_models(gateway, models, endpoint or ())))
        interrupted = _measure(run, gateway, seconds)
    result = run.result()
    print(_json(result) if as_json else markdown(result), flush=True)
    _write(folder, result)
    if interrupted:
        raise typer.Exit(_INTERRUPTED)
    if not any(row.figures for row in result.endpoints):
        raise typer.Exit(1)


def _workloads(names: Sequence[str]) -> tuple[Workload, ...]:
    if unknown := [name for name in names if name not in WORKLOADS]:
        known = ", ".join(WORKLOADS)
        raise typer.BadParameter(
            f"unknown workload {unknown[0]!r}; workloads are {known}", param_hint="--workload"
        )
    return tuple(name for name in WORKLOADS if name in names)


def _chosen(plan: Plan, found: Sequence[Endpoint], *, yes: bool) -> list[Endpoint]:
    for line in announcement(plan, found):
        _talk(line)
    chosen = agreed(
        found,
        yes=yes,
        interactive=sys.stdin.isatty(),
        ask=partial(typer.confirm, err=True),
        say=_talk,
    )
    if not chosen:
        raise PlugwayError("nothing was sent")
    return chosen


def _silent(found: Sequence[Endpoint]) -> Sequence[Endpoint]:
    for endpoint in found:
        _talk(f"{endpoint.target}: {SILENT}")
    return found


def _measure(run: Run, gateway: LocalGateway, seconds: float) -> bool:
    """Run it with progress bars; whether it was interrupted."""
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[now]}", markup=False),
    )
    try:
        with Progress(*columns, console=Console(stderr=True)) as bars:
            total = len(run.plan.steps)
            tasks = {
                sample.endpoint: bars.add_task(_plain(sample.endpoint.target), total=total, now="")
                for sample in run.samples
            }

            def done(endpoint: Endpoint, step: Step) -> None:
                now = f"{TITLES[step.question.workload]}, {step.question.label}"
                bars.update(tasks[endpoint], advance=1, now=now)

            anyio.run(run.run, gateway.url, gateway.token, seconds, done, gateway.tls)
    except KeyboardInterrupt:
        _talk("interrupted: these are the figures up to now")
        return True
    return False


def _writable(folder: Path) -> Path:
    """The folder, once a file can be written there: found out before anything is sent."""
    trial = folder / ".plugway-bench"
    try:
        write_file(trial, b"")
        trial.unlink()
    except OSError as error:
        raise PlugwayError(
            f"cannot write to `{folder}`: {error.strerror}. Name another folder with `--out`"
        ) from None
    return folder


def _write(folder: Path, result: Result) -> None:
    """Write the three files; their names sort by time."""
    stem = f"bench-{result.started[:19].replace('-', '').replace(':', '').replace('T', '-')}"
    files = {".json": _json(result), ".md": markdown(result), ".svg": picture(result)}
    try:
        for ending, text in files.items():
            path = folder / f"{stem}{ending}"
            write_file(path, text.encode())
            _talk(f"wrote {path}")
    except OSError as error:
        raise PlugwayError(f"cannot write the report to `{folder}`: {error.strerror}") from None


def _json(result: Result) -> str:
    return result.model_dump_json(indent=2)


def _print(text: str) -> None:
    Console(soft_wrap=True).print(Text(_plain(text)))


def _talk(text: str) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(_plain(text)))


def _plain(text: str) -> str:
    """Without characters that move the cursor."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)

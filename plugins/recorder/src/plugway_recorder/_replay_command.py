"""`plugway replay`: would another model do the same? Asks before anything is sent."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, Any

import anyio
import orjson
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from plugway import LocalGateway, PlugwayError, as_object, new_id
from plugway_prices import dollars
from plugway_recorder._commands import ConfigPath, Port, asked
from plugway_recorder._replay import Hopeless, Replayed, Sender, client_of
from plugway_recorder._report import Report, TargetReport
from plugway_recorder._routes import COSTS, PLAN

replay_app = typer.Typer(name="replay", rich_markup_mode=None)
_EXIT_DECLINED = 1
_EXIT_INTERRUPTED = 130
_MOST_UNMEASURED = 3


@replay_app.command(
    epilog="Examples: plugway replay 5d6b --on local/qwen3; "
    "plugway replay 5d6b --on local/qwen3 --on cloud/claude-haiku-4-5 --turns 1-20. "
    "Exit codes: 0 replayed, 1 nothing was sent or measured, or no gateway answers, 2 "
    "configuration or usage, 130 interrupted; the report has what there is.",
)
def replay(
    conversation: Annotated[
        str, typer.Argument(help="Id of a recording, or its beginning: `plugway recordings list`.")
    ],
    on: Annotated[
        list[str], typer.Option("--on", help="Target to replay on; repeatable.", metavar="TARGET")
    ],
    turns: Annotated[
        str, typer.Option("--turns", help="Only these turns, such as `7` or `1-20`.")
    ] = "",
    side: Annotated[
        bool, typer.Option("--side", help="Also the client's own requests, such as titles.")
    ] = False,
    out: Annotated[
        Path, typer.Option("--out", help="Folder of the report.", metavar="FOLDER")
    ] = Path(),
    yes: Annotated[
        bool, typer.Option("--yes", help="Send without asking, also to a new zone.")
    ] = False,
    config: ConfigPath = None,
    port: Port = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Send the recorded requests of a conversation to another model, and compare what it does."""
    with _written_to(out), TemporaryFile(dir=out):
        pass  # found out before anything is sent
    gateway = LocalGateway.find(config, port)
    wanted: dict[str, Any] = {
        "conversation": conversation,
        "on": list(dict.fromkeys(on)),
        "kinds": ["turn", "agent", *(["side"] if side else [])],
        "numbers": numbers_of(turns),
    }
    plan = as_object(asked(gateway, "POST", PLAN, wanted))
    if not plan.get("numbers"):
        raise PlugwayError(
            f"`{conversation}` has no such turns: `plugway recordings show` lists them"
        )
    say_plan(plan)
    _ask(plan, yes)
    report, interrupted = _replayed(gateway, plan)
    if as_json:
        print(json.dumps(report.as_json(), indent=2))
    else:
        for one in report.targets:
            print(one.sentence())
    with _written_to(out):
        page, data = report.write(out)
    _say(f"report: {page}\n        {data}")
    if interrupted:
        raise typer.Exit(_EXIT_INTERRUPTED)
    if not any(one.judged for one in report.targets):
        raise typer.Exit(1)


@contextmanager
def _written_to(folder: Path) -> Generator[None]:
    """Raises `PlugwayError` for a folder in which no file can be written."""
    try:
        yield
    except OSError as error:
        reason = f"cannot write the report to `{folder}`: {error.strerror}"
        raise PlugwayError(f"{reason}; name another folder with `--out`") from None


def numbers_of(text: str) -> list[int]:
    """`1-20` or `3,7` as numbers; empty for all. Raises `typer.BadParameter`."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, dash, last = part.strip().partition("-")
        ends = [first, last if dash else first]
        if not all(end.isascii() and end.isdigit() and len(end) < 6 for end in ends):
            raise typer.BadParameter(f"`{part}` is not a turn or a range such as `1-20`")
        found += range(int(ends[0]), int(ends[1]) + 1)
    if text and not found:
        raise typer.BadParameter(f"`{text}` names no turn")
    return found


def say_plan(plan: Mapping[str, Any]) -> None:
    """Say what would be sent where, and what it costs."""
    count, others = len(plan["numbers"]), plan["others"]
    more = f" ({others} others are left out)" if others else ""
    _say(f"{count} turn{'s' * (count != 1)} of {plan['conversation']}{more}, no tool is run:")
    for one in plan["targets"]:
        tokens = f"{one['prompt_tokens']:,} tokens in, about {one['output_tokens']:,} out"
        if one["dollars"] is None:
            cost = "the cost is unknown"
        elif not one["most_dollars"]:
            cost = "free"
        else:
            about, most = dollars(one["dollars"]), dollars(one["most_dollars"])
            cost = f"about {about} without a cache, at most {most} if every reply is long"
        _say(f"  {one['target']} (zone {one['zone']}): {tokens}; {cost}")
        if one["missing_price"]:
            _say(f"    {one['missing_price']}")
        if one["first_too_long"]:
            window = f"{one['window']:,} tokens"
            _say(f"    from turn {one['first_too_long']} on it may not fit its window of {window}")
        if one["new_zone"]:
            had = ", ".join(plan["zones"]) or "none"
            _say(f"    this conversation has not been in the zone {one['zone']} (only: {had})")


def _ask(plan: Mapping[str, Any], yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise PlugwayError("nothing was sent: add `--yes` to replay without being asked")
    for zone in dict.fromkeys(t["zone"] for t in plan["targets"] if t["new_zone"]):
        if not typer.confirm(f"Send this conversation to the zone {zone}?", err=True):
            raise typer.Exit(_EXIT_DECLINED)
    if not typer.confirm("Send these requests?", err=True):
        raise typer.Exit(_EXIT_DECLINED)


def _replayed(gateway: LocalGateway, plan: Mapping[str, Any]) -> tuple[Report, bool]:
    """The report, and whether the person interrupted the replay."""
    count = len(plan["numbers"])
    reports = [TargetReport(t["target"], t["zone"], count) for t in plan["targets"]]
    served: dict[str, None] = {}
    interrupted = False
    try:
        anyio.run(_replay_all, gateway, plan, reports, served)
    except KeyboardInterrupt:
        interrupted = True
    for one in reports:
        if interrupted and len(one.results) < one.planned and not one.stopped:
            one.stopped = "interrupted"
        one.costs = _costs(gateway, plan["conversation"], one)
    name, others, now = plan["conversation"], plan["others"], time.time()
    return Report(name, reports, list(served), others, version("plugway"), now), interrupted


async def _replay_all(
    gateway: LocalGateway,
    plan: Mapping[str, Any],
    reports: Sequence[TargetReport],
    served: dict[str, None],
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    async with client_of(gateway) as client:
        with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
            for report in reports:
                task = progress.add_task(report.target, total=report.planned)
                sender = Sender(client, report.target, plan["session"], new_id("replay"))
                try:
                    for number in plan["numbers"]:
                        turn = await sender.turn(number)
                        served.setdefault(str(turn.get("target")))
                        report.results.append(await sender.send(number, turn))
                        progress.update(task, advance=1)
                        if why := given_up(report.results):
                            raise Hopeless(why)
                except Hopeless as error:
                    report.stopped = str(error) if len(report.results) < report.planned else ""


def given_up(results: Sequence[Replayed]) -> str:
    """Why no further turn is sent: the last ones could not be measured."""
    last = results[-_MOST_UNMEASURED:]
    if len(last) < _MOST_UNMEASURED or any(one.result != "unmeasured" for one in last):
        return ""
    return f"{_MOST_UNMEASURED} in a row could not be measured"


def _costs(gateway: LocalGateway, conversation: str, one: TargetReport) -> Mapping[str, Any]:
    """What the turns have cost; unknown if the gateway cannot say."""
    usages = {str(r.number): r.usage for r in one.results if any(r.usage.values())}
    if not usages:
        return {}
    question = {"conversation": conversation, "target": one.target, "usages": usages}
    try:
        return as_object(gateway.ask("POST", COSTS, orjson.dumps(question)))
    except PlugwayError as error:
        _say(f"the cost is unknown: {error}")
        return dict.fromkeys(usages)


def _say(text: str) -> None:
    print(text, file=sys.stderr)

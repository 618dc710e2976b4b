"""`plugway logs` and `plugway ui`: show the exchanges in a terminal, or open the page."""

from __future__ import annotations

import json
import sys
import time
import webbrowser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer
from rich.console import Console
from rich.text import Text

from plugway import LocalGateway, PlugwayError, as_list, as_object
from plugway_dashboard._follow import RunningLines, plain
from plugway_dashboard._plugin import HISTORY, MOST_FOUND, PATH
from plugway_dashboard._words import sentence
from plugway_prices import DOLLAR, dollars

logs_app = typer.Typer(name="logs", rich_markup_mode=None)
ui_app = typer.Typer(name="ui", rich_markup_mode=None)

_EVERY_SECONDS = 0.5
_PROMPT = ("input", "cache_read", "cache_creation")
"""Kinds of tokens that make up a prompt."""
_Found = Sequence[Mapping[str, Any]]
ConfigPath = Annotated[
    Path | None, typer.Option("--config", help="Configuration of the gateway.", metavar="FILE")
]
Port = Annotated[int | None, typer.Option("--port", help="Port of the gateway.")]


@logs_app.command(
    epilog="Examples: plugway logs; plugway logs --follow --failed; plugway logs --json | jq. "
    "Exit codes: 0 done, 1 no gateway answers, 2 configuration or usage.",
)
def logs(
    follow: Annotated[
        bool,
        typer.Option(
            "--follow", "-f", help="Keep printing exchanges as they finish, and what runs."
        ),
    ] = False,
    failed: Annotated[
        bool, typer.Option("--failed", help="Show only exchanges that did not complete.")
    ] = False,
    receipts: Annotated[
        bool, typer.Option("--receipts", help="Show the changes to each exchange.")
    ] = False,
    cache: Annotated[
        bool,
        typer.Option("--cache", help="Show what was read from the prompt cache, and why not more."),
    ] = False,
    find: Annotated[
        str,
        typer.Option(
            "--find",
            metavar="WORDS",
            help="Search the history, such as `yesterday status:529`; needs `history: true`.",
        ),
    ] = "",
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="Number of exchanges.")] = 20,
    config: ConfigPath = None,
    port: Port = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line.")
    ] = False,
) -> None:
    """Show the last exchanges of the running gateway, without their content."""
    console = Console(highlight=False, soft_wrap=True)
    shown: list[Mapping[str, Any]] = []
    lines = None if as_json or failed or find or not follow else RunningLines(console)
    gateway = LocalGateway.find(config, port)
    try:
        for exchange in _exchanges(gateway, find, last, failed, follow, lines):
            if lines is not None:
                lines.clear()
            if as_json:
                print(json.dumps(exchange), flush=True)
            else:
                _show(exchange, console, receipts, cache, gateway=bool(find))
                shown.append(as_object(exchange.get("cache")) if cache and not follow else {})
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    finally:
        if lines is not None:
            lines.clear()
    if any(shown):
        console.print(_cache_total(list(filter(None, shown))))


def _cache_total(shown: Sequence[Mapping[str, Any]]) -> str:
    """A line about the prompt caches of several exchanges."""
    total, read = (sum(item.get(name, 0) for item in shown) for name in ("total", "read"))
    line = f"{read:,} of {total:,} prompt tokens were read from caches ({read / (total or 1):.0%})"
    missed = [item for item in shown if item.get("miss")]
    if not missed:
        return f"{line}; no misses"
    tokens = sum(item.get("missed", 0) for item in missed)
    prices = [item.get("dollars") for item in missed]
    known = sum(price for price in prices if price is not None)
    price = f", ${known:.2f}" + (" where the price is known" if None in prices else "")
    causes = Counter(str(item.get("cause")) for item in missed).most_common()
    named = ", ".join(f"{count} {cause}" for cause, count in causes)
    misses = f"{len(missed)} miss{'es' * (len(missed) > 1)}"
    return f"{line}; {misses} with {tokens:,} tokens{price}: {named}"


@ui_app.command(epilog="Examples: plugway ui; plugway ui --no-browser.")
def ui(
    browser: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    config: ConfigPath = None,
    port: Port = None,
) -> None:
    """Open the page of the running gateway and print where to find its token."""
    gateway = LocalGateway.find(config, port)
    state = gateway.state()
    if state is None:
        raise PlugwayError(f"no gateway answers at {gateway.url}: run `plugway serve`")
    _asked(gateway, 0)
    print(f"{gateway.url}/", flush=True)
    print(
        "The page asks once for the gateway's token; `plugway status` prints where it is.",
        file=sys.stderr,
    )
    if browser and not webbrowser.open(f"{gateway.url}/"):
        print("could not open a browser; open the address above", file=sys.stderr)


def _exchanges(
    gateway: LocalGateway,
    words: str,
    last: int,
    failed: bool,
    follow: bool,
    lines: RunningLines | None,
) -> Iterator[Mapping[str, Any]]:
    """Exchanges that have ended, the oldest first; never returns with `follow`. Those that run are
    shown by `lines`. With `words`, what of the history fits them."""
    if words:
        found = _found(gateway, words, last, failed)
        if not found:
            print("nothing in the history fits", file=sys.stderr)
        yield from found
        return
    after, found, _, book = _asked(gateway, 0)
    wanted = [item for item in found if not failed or item.get("outcome") != "completed"]
    yield from wanted[-last:]
    problem = ""
    while follow:
        time.sleep(_EVERY_SECONDS)  # noqa: TID251 - a command without a loop
        try:
            newest, found, running, now = _asked(gateway, after)
            if newest < after or now != book:  # it was restarted, so its numbers start again
                newest, found, running, book = _asked(gateway, 0)
        except PlugwayError as error:
            if lines is not None:
                lines.clear()
            if not problem:
                print(f"{error}; waiting for it", file=sys.stderr)
            problem = str(error)
            continue
        after, problem = newest, ""
        yield from (item for item in found if not failed or item.get("outcome") != "completed")
        if lines is not None:
            lines.show(running)


def _found(gateway: LocalGateway, words: str, last: int, failed: bool) -> _Found:
    """What of the history fits the words, the oldest first."""
    query = urlencode({"q": words, "failed": int(failed)})
    found, more, before = list[Mapping[str, Any]](), True, ""
    while more and len(found) < last:
        limit = min(last - len(found), MOST_FOUND)
        page = _get(gateway, f"{HISTORY}?{query}&limit={limit}{before}")
        if page.get("problem"):
            raise PlugwayError(str(page["problem"]))
        found += map(as_object, as_list(page.get("exchanges")))
        more = bool(page.get("more")) and bool(found)
        before = f"&before={found[-1]['row']}" if found else ""
    return found[::-1]


def _asked(gateway: LocalGateway, after: int) -> tuple[int, _Found, _Found, object]:
    """The number of the last exchange, those that ended after `after`, those that run, and what is
    another one after a restart, unless numbers go on with a history."""
    document = _get(gateway, f"{PATH}?after={after}")
    lists = (as_list(document.get(name)) for name in ("exchanges", "running"))
    ended, running = ([as_object(item) for item in found] for found in lists)
    book = document.get("book") if document.get("history_days") is None else "history"
    return document.get("last", 0), ended, running, book


def _get(gateway: LocalGateway, path: str) -> Mapping[str, Any]:
    try:
        return as_object(gateway.ask("GET", path))
    except PlugwayError as error:
        if "not served here" in str(error):
            file = gateway.config_path
            used = (gateway.state() or {}).get("config")  # it may run with another file
            fix = f"add `- use: dashboard` to {used or file}"
            if not used and not gateway.configured:
                fix = f"run `plugway config example > {file}` and list `dashboard` in that file"
            raise PlugwayError(f"this gateway does not keep exchanges: {fix}") from None
        raise


def _when(ended: float) -> str:
    """The time of day; with its date unless that is today."""
    then = time.localtime(ended)
    today = then[:3] == time.localtime()[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)


def _cost(amount: float | None) -> str:
    return "cost unknown" if amount is None else dollars(round(amount * DOLLAR))


def _show(
    exchange: Mapping[str, Any],
    console: Console,
    receipts: bool,
    cache: bool,
    *,
    gateway: bool = False,
) -> None:
    usage = as_object(exchange.get("usage"))
    good = exchange.get("outcome") == "completed"
    fallback = "Plugway itself" if good else "no backend"  # answered without a backend
    agent = exchange.get("agent_id")
    line = Text.assemble(
        (_when(exchange.get("ended", 0)), "dim"),
        "  ",
        (f"{exchange.get('status')} {exchange.get('outcome')}", "green" if good else "bold red"),
        plain(f"  {exchange.get('model_asked')} -> {exchange.get('served_by') or fallback}"),
        f"  {exchange.get('seconds', 0):.2f} s",
        f"  {sum(usage.get(kind, 0) for kind in _PROMPT):,} in",
        f" ({usage.get('cache_read', 0):,} cached), {usage.get('output', 0):,} out",
        f"  {_cost(exchange.get('dollars'))}",
        plain(f"  caller {exchange.get('caller')}"),
        plain(f"  agent {str(agent)[:8]}") if agent else "",
        plain(f"  gateway {exchange['gateway']}") if gateway and exchange.get("gateway") else "",
    )
    console.print(line)
    if exchange.get("error"):
        console.print(Text(f"          {plain(exchange['error'])}"))
    if cache:
        explained = as_object(exchange.get("cache"))
        style = "yellow" if explained.get("miss") else ""
        line = explained.get("line") or "unknown; `cache-watch` explains what it has seen"
        console.print(Text(f"          cache: {plain(line)}", style))
    for entry in as_list(exchange.get("receipt")) if receipts else ():
        console.print(Text(f"          {plain(sentence(as_object(entry)))}"))

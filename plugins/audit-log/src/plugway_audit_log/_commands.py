"""`plugway audit`: verify, show and prune the log."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from plugway import LocalGateway, PlugwayError, as_object
from plugway_audit_log._appender import last_line, now
from plugway_audit_log._chain import Line, Signer, decode, timestamp
from plugway_audit_log._folder import (
    KEY_FILE,
    ChainFolder,
    chains_in,
    folder_of,
    stored_seed,
)
from plugway_audit_log._verify import Report, missing_chains, verify_files, verify_folder

audit_app = typer.Typer(
    name="audit",
    help="The audit log: who used which model. It is read from its files, on this machine.",
    no_args_is_help=True,
)
# Names in records are text of others, not markup.
_out = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
_AGO = re.compile(r"(\d{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_PLUGIN = "audit-log"

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="The folder of the log; default: that of your configuration."),
]
Key = Annotated[
    str,
    typer.Option("--key", help="Public key that checkpoints must be signed with.", metavar="HEX"),
]


@audit_app.command("verify", epilog="Example: plugway audit verify")
def verify_command(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Files of one chain alone, oldest first.")
    ] = None,
    folder: Folder = None,
    key: Key = "",
    heads: Annotated[
        Path | None,
        typer.Option("--heads", help="Signed heads that `plugway audit heads` printed."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Verify the hashes and signatures; exit code 1 names the first record that does not fit."""
    if files:
        reports = [verify_files(files, _public(key, _folder(folder), files[0].parent))]
    else:
        place = _folder(folder)
        chains = chains_in(place)
        if not chains and heads is None:
            _fail(f"{place} has no audit log", 2)
        kept = _read_heads(heads) if heads else []
        reports = [verify_folder(c, _public(key, place, c.path), kept) for c in chains]
        reports += missing_chains(kept, [c.name for c in chains])
    if as_json:
        _print_json([_as_data(report) for report in reports])
    else:
        for report in reports:
            _print_report(report)
    if any(report.broken for report in reports):
        raise typer.Exit(1)


@audit_app.command("show", epilog="Example: plugway audit show --person anna --since 7d")
def show_command(
    person: Annotated[str, typer.Option(help="Only this caller.")] = "",
    since: Annotated[str, typer.Option(help="Date, time, or 30m, 12h, 7d ago.")] = "",
    model: Annotated[str, typer.Option(help="Only with this text in the model or target.")] = "",
    folder: Folder = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print whole records, one JSON object per line.")
    ] = False,
) -> None:
    """Show records. They are not verified: `plugway audit verify` does that."""
    start = _time(since) if since else ""
    found = (
        line.data
        for line in _records(_folder(folder))
        if str(line.data.get("time", "")) >= start and _matches(line.data, person, model)
    )
    if as_json:
        for data in found:
            print(json.dumps(data, ensure_ascii=False, sort_keys=True))
        return
    table = Table("time", "caller", "model", "target", "tokens", "cost", "outcome", box=None)
    for data in found:
        if data.get("kind") == "exchange":
            table.add_row(*map(_printable, _row(data)))
        elif not (person or model) and data.get("kind") != "checkpoint":
            table.add_row(str(data.get("time"))[:19], f"({_printable(str(data.get('kind')))})")
    _out.print(table)


@audit_app.command("prune", epilog="Example: plugway audit prune --before 2026-01-01")
def prune_command(
    before: Annotated[str, typer.Option(help="Date (UTC).", metavar="DATE")],
    folder: Folder = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete files whose records are all older than a date; the rest can still be verified."""
    limit, place = _time(before), _folder(folder)
    signer = _signer(place)
    for chain in chains_in(place):
        report = verify_folder(chain, signer.public)
        if report.broken:
            _print_report(report)
            _fail(f"chain {chain.name} is not intact, so nothing of it was deleted")
        old = _older(chain, limit)
        if not old:
            continue
        _out.print(f"{chain.name}: {', '.join(path.name for path in old)}")
        if not yes and not typer.confirm(f"Delete {len(old)} file(s) of {chain.name}?"):
            continue
        _prune(chain, old, signer)


@audit_app.command("key", epilog="Example: plugway audit key")
def key_command(folder: Folder = None) -> None:
    """Print the public key. Keep a copy elsewhere: `verify --key` then trusts no file here."""
    _out.print(_signer(_folder(folder)).public)


@audit_app.command("heads", epilog="Example: plugway audit heads >> /mnt/elsewhere/heads")
def heads_command(folder: Folder = None) -> None:
    """Print the signed head of each chain. `verify --heads` detects if what they name is gone."""
    for chain in chains_in(_folder(folder)):
        if head := chain.statement("head"):
            print(json.dumps(head, sort_keys=True))


# ── verify ───────────────────────────────────────────────────────────────────────────────────


def _public(key: str, folder: Path, chain: Path) -> str:
    """The key to verify with: the given one, that of the signing key, or the stored public one."""
    if key:
        if not re.fullmatch(r"[0-9a-f]{64}", key):
            _fail("--key should be 64 hexadecimal digits, as `plugway audit key` prints them", 2)
        return key
    if (folder / KEY_FILE).exists():
        return _signer(folder).public
    stored = ChainFolder(chain).public_key()
    if stored is None:
        _fail("no public key found: pass the one that `plugway audit key` printed, with --key", 2)
    return stored


def _read_heads(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text("utf-8").splitlines()
        found = [as_object(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        _fail(f"cannot read the heads in {path}: {error}", 2)
    if not all(found):
        _fail(f"{path} has lines that `plugway audit heads` did not print", 2)
    return found


def _as_data(report: Report) -> dict[str, Any]:
    broken = report.broken
    return {
        "chain": report.chain,
        "intact": broken is None,
        "files": report.files,
        "records": report.records,
        "first": report.first,
        "last": report.last,
        "signed": report.signed,
        "broken": None
        if broken is None
        else {"why": broken.why, "where": broken.where, "what": broken.what},
        "notes": report.notes,
    }


def _print_report(report: Report) -> None:
    name = _printable(report.chain)
    if (broken := report.broken) is not None:
        what = _printable(broken.what)
        _out.print(f"{name}: NOT intact: {broken.why} at {_printable(broken.where)}: {what}")
        _out.print(f"  {report.records} records before it are intact")
    else:
        records = f"records {report.first} to {report.last}" if report.records else "no records"
        _out.print(f"{name}: intact, {records} in {report.files} file(s)")
        rest = report.last - report.signed
        if rest > 0:
            _out.print(f"  the last {rest} record(s) are not signed yet")
    for note in report.notes:
        _out.print(f"  {_printable(note)}")


# ── show ─────────────────────────────────────────────────────────────────────────────────────


def _records(folder: Path) -> Iterator[Line]:
    """The records of all chains, each chain in its order."""
    for chain in chains_in(folder):
        for path in chain.files():
            with path.open("rb") as file:
                for raw in file:
                    if (line := decode(raw.rstrip(b"\n"))) is not None:
                        yield line


def _matches(data: Any, person: str, model: str) -> bool:
    if person and data.get("caller") != person:
        return False
    return not model or any(model in str(data.get(name, "")) for name in ("model", "target"))


def _row(data: Any) -> list[str]:
    usage = as_object(data.get("usage"))
    tokens = sum(value for value in usage.values() if isinstance(value, int))
    cost = data.get("cost_usd")
    outcome = f"{data.get('outcome')} {data.get('status')}"
    return [
        str(data.get("time"))[:19],
        str(data.get("caller")),
        str(data.get("model", "")),
        str(data.get("target", "-")),
        f"{tokens:,}",
        "-" if cost is None else f"${cost}",
        f"{outcome}: {data['error']}" if data.get("error") else outcome,
    ]


def _time(text: str) -> str:
    """A time as records contain it. Fails for other text."""
    if ago := _AGO.fullmatch(text):
        moment = datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            _fail(f"{text!r} is not a time: use 2026-11-30, 2026-11-30T09:00, 30m, 12h or 7d", 2)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return timestamp(moment)


# ── prune ────────────────────────────────────────────────────────────────────────────────────


def _older(chain: ChainFolder, limit: str) -> list[Path]:
    """The oldest files whose records are all before `limit`; never the last file."""
    old: list[Path] = []
    for path in chain.files()[:-1]:
        last, _ = last_line(path)
        if last is None or str(last.data.get("time", "")) >= limit:
            break
        old.append(path)
    return old


def _first(path: Path) -> Line | None:
    with path.open("rb") as file:
        return decode(file.readline().rstrip(b"\n"))


def _prune(chain: ChainFolder, old: list[Path], signer: Signer) -> None:
    """State what is deleted, signed, and then delete it: oldest first."""
    files = chain.files()
    following = _first(files[len(old)])
    assert following is not None, "the chain was verified"
    statement = {
        "kind": "pruned",
        "time": now(),
        "chain": chain.name,
        "n": following.number - 1,
        "hash": following.prev,
    }
    chain.write_statement("pruned", signer.signed(statement))
    for path in old:
        path.unlink()


# ── helpers ──────────────────────────────────────────────────────────────────────────────────


def _folder(given: Path | None) -> Path:
    """The folder of the log: the given one, that of the configuration, or the default."""
    if given is not None:
        return given
    return folder_of(_options().get("folder"))


def _options() -> dict[str, Any]:
    """The plugin's options in the configuration; empty if it is not listed."""
    try:
        entries = LocalGateway.find().plugins()
    except PlugwayError:
        return {}
    found = [as_object(entry.options) for entry in entries if entry.use == _PLUGIN]
    return found[0] if found else {}


def _signer(folder: Path) -> Signer:
    path = folder / KEY_FILE
    if not path.exists():
        _fail(
            f"no signing key in {folder}: with `signing_key` in the configuration, only the "
            "gateway has it"
        )
    try:
        return Signer(stored_seed(path))
    except PlugwayError as error:
        _fail(str(error))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _print_json(data: Any) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=2))


def _fail(message: str, code: int = 1) -> NoReturn:
    print(f"plugway audit: {message}", file=sys.stderr)
    raise typer.Exit(code)

"""Logs of real exchanges, and what the commands say about them."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
from typer.testing import CliRunner

from plugway.testing import build_plugin, gateway
from plugway_audit_log import AuditLog
from plugway_audit_log._appender import Appender
from plugway_audit_log._chain import decode
from plugway_audit_log._commands import audit_app
from plugway_audit_log._folder import open_signer
from plugway_audit_log._options import AuditLogOptions
from plugway_echo import Echo


def audit(folder, **options):
    """The plugin with its log in `folder`."""
    return build_plugin(AuditLog, "audit-log", folder=str(folder), **options)


async def log_of(folder, count, **options):
    """Write a log of that many exchanges with a gateway that is then stopped."""
    async with gateway([audit(folder, **options), build_plugin(Echo, "echo")]) as running:
        for number in range(count):
            await running.ask(f"hello {number}", model="echo/m")


def days(folder, *dates, each=3):
    """Write a log of some records on each of these days, without a gateway."""
    options = AuditLogOptions(folder=str(folder), fsync="never")
    appender = Appender(folder, open_signer(folder, None), options)
    for date in dates:
        for number in range(each):
            time = f"{date}T10:00:{number:02}.000000Z"
            appender.add({"kind": "exchange", "time": time, "caller": "anna", "model": "m"})
    appender.close(None)


def files(folder):
    return sorted(Path(folder).glob("gateway-*/*.jsonl"))


def records(folder):
    """The data of all records."""
    lines = [raw for path in files(folder) for raw in path.read_bytes().splitlines()]
    return [decode(raw).data for raw in lines]


def exchanges(folder):
    return [r for r in records(folder) if r["kind"] == "exchange"]


async def until(folder, count):
    """The records of exchanges, when there are that many."""
    with anyio.fail_after(10):
        while len(found := exchanges(folder)) < count:
            await anyio.sleep(0.005)
    return found


def run(*arguments, input=None):
    """`plugway audit …`: exit code and output."""
    done = CliRunner().invoke(audit_app, [str(a) for a in arguments], input=input)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def verified(folder, *more):
    """The reports of `plugway audit verify`."""
    code, out = run("verify", "--json", "--folder", folder, *more)
    reports = json.loads(out)
    assert code == (1 if any(r["broken"] for r in reports) else 0)
    return reports

"""The first run without a configuration: finds models, proposes a plan, and tests it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

import anyio
import anyio.to_thread
from rich.console import Console

from plugway import LocalGateway, PlugwayError, write_file
from plugway_claude_code import _daemon
from plugway_claude_code._detect import Findings, detect
from plugway_claude_code._plan import (
    DEMO,
    Candidate,
    candidates,
    config_text,
    found_table,
    plan_table,
)
from plugway_claude_code._waiting import waiting
from plugway_probe import Finding, probe

_PROOF = ("stream", "tool")
_SECONDS = 300.0
"""A local model may have to be loaded first."""
_EVERY_SECONDS = 1.0
_FIRST_SECONDS = 5.0
_AGAIN_SECONDS = 15.0
"""Times after which the terminal says what the test waits for."""


def first_plan(gateway: LocalGateway, console: Console, *, yes: bool, keep: bool) -> LocalGateway:
    """Return a gateway whose model has passed a test of a reply and a tool call.

    Asks for confirmation in a terminal. Otherwise keys from the environment are not used, because
    they would send prompts off this machine.

    Raises:
        PlugwayError: nothing works; the message has a reason and a fix for each attempt.
    """
    asks = sys.stdin.isatty() and not yes
    found = detect()
    ranked = candidates(found, allow_keys=asks or yes)
    if not ranked:
        raise PlugwayError(_nothing(found))
    console.print(found_table(found))
    console.print(plan_table(found, ranked, gateway.config_path))
    if found.keys and not (asks or yes):
        console.print("keys are used only if you agree: run it in a terminal, or with --yes")
    if asks and console.input("Enter to continue, Ctrl-C to stop: ").strip().lower() in ("n", "no"):
        raise PlugwayError(
            "nothing was changed. `plugway config example` prints a configuration to start from"
        )
    return _first_that_works(gateway, ranked, console, keep)


def _first_that_works(
    gateway: LocalGateway, ranked: Sequence[Candidate], console: Console, keep: bool
) -> LocalGateway:
    failures: list[str] = []
    for candidate in ranked:
        planned = _arranged(gateway, candidate, ranked)
        console.print(f"testing {candidate.target}: a reply and a tool call")
        try:
            _daemon.ensure_running(planned, keep=keep)
            problem = _proven(planned, candidate, console)
            if problem is None:
                return planned
        except PlugwayError as error:
            problem = str(error)
        failures.append(f"{candidate.target}: {problem}")
        console.print(f"  {problem}")
        _daemon.stop(planned)
        if candidate.model.name != DEMO:
            gateway.config_path.unlink(missing_ok=True)
    raise PlugwayError("no model works here:\n  " + "\n  ".join(failures))


def _arranged(
    gateway: LocalGateway, candidate: Candidate, ranked: Sequence[Candidate]
) -> LocalGateway:
    """The gateway with this candidate first; the demonstration model needs no configuration."""
    if candidate.model.name == DEMO:
        return gateway
    write_file(gateway.config_path, config_text(candidate, ranked).encode())
    return LocalGateway.find(gateway.config_path, gateway.port)


def _proven(gateway: LocalGateway, candidate: Candidate, console: Console) -> str | None:
    """Why the model is unsuitable for an agent, or None."""

    def report(finding: Finding) -> None:
        console.print(f"  {finding.probe}: {finding.outcome}, {finding.reason}")

    model = f"anthropic/{candidate.target}"
    ask = partial(probe, tls=gateway.tls, probes=_PROOF, seconds=_SECONDS, on_finding=report)

    async def watched() -> Sequence[Finding]:
        found: Sequence[Finding] = ()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_say_waits, gateway, console)
            found = await ask(gateway.url, gateway.token, model)
            tasks.cancel_scope.cancel()
        return found

    findings = anyio.run(watched)
    failed = next((finding for finding in findings if finding.outcome == "failed"), None)
    return None if failed is None else f"{failed.reason}: {failed.fix}"


async def _say_waits(gateway: LocalGateway, console: Console) -> None:
    """Print what the test waits for: a model may have to be loaded, and read a long prompt."""
    phase, due = "", _FIRST_SECONDS
    while True:
        await anyio.sleep(_EVERY_SECONDS)
        found = await anyio.to_thread.run_sync(waiting, gateway, abandon_on_cancel=True)
        if found is None:
            phase, due = "", _FIRST_SECONDS
        elif found.seconds >= due or (found.phase != phase and found.seconds >= _FIRST_SECONDS):
            console.print(f"  {found.words}")
            phase, due = found.phase, found.seconds + _AGAIN_SECONDS


def _nothing(found: Findings) -> str:
    unusable = ", ".join(source.title for source in found.servers)
    seen = f" (seen, but without a plugin: {unusable})" if unusable else ""
    keys = ", ".join(source.address for source in found.keys)
    more = f"; with --yes {keys} is used" if keys else ""
    return (
        f"no model was found on this machine{seen}{more}: start Ollama or LM Studio, run "
        "`plugway models pull ORG/REPO:QUANT`, or install `plugway-starter` for the "
        "demonstration model"
    )

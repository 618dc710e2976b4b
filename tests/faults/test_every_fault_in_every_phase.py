"""Sixty-four faults of an upstream, each before any content, after a silence, and after content: the
client gets an error, a broken connection or a complete reply, and gets it soon.

`PLUGWAY_SLOW=1` tries each with every backend and dialect; otherwise they take turns.
"""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from plugway.testing import ScriptedUpstream, Sleep, gateway
from tests.faults.answers import APIS, streamed
from tests.faults.clients import FAILED, PATHS, asked, is_error
from tests.faults.findings import errors_logged
from tests.faults.in_process import ask
from tests.faults.upstream_faults import END, HEAD, HEADS, chunk, faults
from tests.faults.whole_stack import BACKENDS, Hours, hourly_stack
from tests.slow import SLOW

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(600)]

PHASES = ("before", "after a silence", "after content")
LIMITS = {
    "ping_seconds": 0.05,
    "first_event_seconds": 0.4,
    "first_event_local_seconds": 0.4,
    "idle_seconds": 0.4,
}
MOST_SECONDS = 5
SILENCE = Sleep(0.12)
NAMES = [name for name, _ in faults("messages")]
FAULTS = {api: dict(faults(api)) for api in set(APIS.values())}
BEGUN = {"messages": 4, "chat": 2, "responses": 5, "gemini": 1}
"""Number of events that contain the first content of a reply."""


def script(backend, name, phase):
    """The upstream's script."""
    api = APIS[backend]
    steps = FAULTS[api][name]
    start = [] if name in HEADS and phase != "after content" else [HEAD]
    if phase == "after a silence":
        return [*start, SILENCE, *steps]
    if phase == "after content":
        begun = streamed(api, ["Hel", "lo."])[: BEGUN[api]]
        return [*start, *map(chunk, begun), Sleep(0.02), *steps]
    return [*start, *steps]


class Upstream(ScriptedUpstream):
    def __init__(self):
        super().__init__(otherwise=self._says)

    def _says(self, request):
        backend = request.path.split("/")[1]
        if found := re.search(rb"fault-(\d+)-(\d)", request.path.encode() + request.body):
            return script(backend, NAMES[int(found[1])], PHASES[int(found[2])])
        return [HEAD, *map(chunk, streamed(APIS[backend])), END]


def cases():
    """Number of the fault, number of the phase, backend and dialect."""
    every = [(backend, dialect) for dialect in PATHS for backend in BACKENDS]
    for phase in range(len(PHASES)):
        for fault in range(len(NAMES)):
            turn = every[(fault + 7 * phase) % len(every)]
            for backend, dialect in every if SLOW else [turn]:
                yield fault, phase, backend, dialect


AS_THEY_ARE = {HEADS["502 in HTML"][0].partition(b"\r\n\r\n")[2]}
"""Error responses that clients would also get from Anthropic directly."""


def ended_well(dialect, phase, client):
    """Raises if a client could not tell whether its reply is complete."""
    if client.status >= 400:
        # 504: on a busy machine the content may come too late.
        assert PHASES[phase] != "after content" or client.status == 504
        if client.body not in AS_THEY_ARE:
            is_error(dialect, json.loads(client.body))
        return
    assert client.status == 200
    if client.end == "cut":
        return
    assert client.end == "end"
    if any(mark in client.body for mark in FAILED):
        return
    last = {"messages": b"message_stop", "chat": b"[DONE]", "responses": b"response.completed"}
    assert last[dialect] in client.body, "an end that is none"


async def tried(running, fault, phase, backend, dialect):
    """What is wrong with the outcome; empty if nothing is."""
    model = f"anthropic/{backend}/fault-{fault}-{phase}"
    body = json.dumps({**asked(dialect, model, True, Never()), "stream": True}).encode()
    client = None
    try:
        async with asyncio.timeout(MOST_SECONDS):
            client = await ask(running, body, PATHS[dialect])
        ended_well(dialect, phase, client)
        assert b"a defect of" not in client.body
    except Exception as problem:
        said = client and (client.status, client.end, client.body[-400:])
        return f"{NAMES[fault]!r} {PHASES[phase]}, {backend}, {dialect}: {problem!r} {said}"
    return ""


class Never:
    """A random source for which no optional part of a request is chosen."""

    def random(self):
        return 1.0


async def test_every_fault_in_every_phase_ends_in_a_known_way():
    assert len(NAMES) >= 64
    hours, wrong, todo = Hours(), [], list(cases())
    with errors_logged() as log:
        async with (
            Upstream() as upstream,
            gateway(hourly_stack(hours, upstream.url), **LIMITS) as running,
        ):
            before = len(asyncio.all_tasks())
            for at in range(0, len(todo), len(BACKENDS)):
                hours.now += 10_000
                some = todo[at : at + len(BACKENDS)]
                wrong += filter(
                    None, await asyncio.gather(*(tried(running, *case) for case in some))
                )
            for backend in BACKENDS:
                hours.now += 10_000
                body = asked("messages", f"anthropic/{backend}/m", True, Never())
                client = await ask(running, json.dumps(body).encode())
                assert (client.status, client.end) == (200, "end"), backend
            async with asyncio.timeout(MOST_SECONDS):
                while len(asyncio.all_tasks()) > before + 2 * upstream.open:
                    await asyncio.sleep(0.01)
    assert not wrong, "\n".join([str(len(wrong)), *wrong[:20]])
    assert not log.found, log.found[:5]

"""Whatever an upstream replies, the gateway does not fail, hang or grow, and clients can read it.

Replies of each API get a few mistakes and pass through the default stack; see `findings` for how to
try more of them, or others.
"""

from __future__ import annotations

import asyncio
import json
import random
import re

import pytest

from plugway.testing import assert_valid_stream, gateway, parse_sse
from tests.faults.answers import APIS, streamed, whole
from tests.faults.clients import FAILED, PATHS, WHOLE, asked, is_error
from tests.faults.findings import Findings, errors_logged, how_many
from tests.faults.in_process import answered_by, ask
from tests.faults.mutations import JSON, Answer, mutated
from tests.faults.seeds import EVENTS
from tests.faults.whole_stack import BACKENDS, Hours, hourly_stack

COUNT = how_many(150, slow=5000)
MOST_SECONDS = 20
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120 + COUNT)]

MODEL = re.compile(rb'"model": ?"[^"]*",? ?')


class Upstream:
    """Sends the given reply first; to a retry, another faulty one, a correct one, or the same."""

    def __init__(self):
        self.answer, self.other, self.chance, self.said = None, None, random.Random(), []

    def begin(self, answer, other, chance):
        self.answer, self.other, self.chance, self.said = answer, other, chance, []

    def __call__(self, method, target, body):
        if method == "GET" or "/api/show" in target:
            return Answer(404, (), [])
        again = bool(self.said) and self.chance.random() < 0.9
        self.said.append(self.other() if again else self.answer)
        return self.said[-1]


def good(api, stream):
    if stream:
        return Answer(200, (("content-type", EVENTS),), streamed(api))
    return Answer(200, (("content-type", JSON),), [json.dumps(whole(api)).encode()])


def nameless(body):
    return MODEL.sub(b"", body)


def as_it_came(client, answers):
    """Whether these are an upstream's own bytes, except for the model's name."""
    told = nameless(client.body)
    return any(nameless(answer.body).startswith(told) for answer in answers)


def checked(api, dialect, stream, client, answers):
    """Raises if a client of `dialect` could not read the response. A server of the same API is
    relayed: only the gateway's changes are checked, not the server's content."""
    assert client.end, "no end"
    if as_it_came(client, answers):
        return
    if client.status >= 400:
        is_error("" if dialect == api else dialect, json.loads(client.body))
    elif client.headers.get("content-type", "").startswith("text/event-stream"):
        assert stream
        if dialect == api == "messages":
            relayed_well(client, answers)
        else:
            streamed_well(dialect, client)
    else:
        assert client.status == 200
        message = json.loads(client.body)
        if dialect == api == "messages":
            assert all(isinstance(block["type"], str) for block in message["content"])
        else:
            assert not stream
            WHOLE[dialect].model_validate(message)


def relayed_well(client, answers):
    """Every event is the upstream's own or the gateway's; only the former report completion."""
    said = b"".join(answer.body for answer in answers)
    for event in re.split(rb"(?<=\r\n\r\n)|(?<=\n\n)|(?<=\r\r)", client.body):
        if event not in said:
            assert len(parse_sse(event)) == 1
    if client.end == "end":
        assert re.search(b"message_stop|error", client.body), "an end that was not told"


def streamed_well(dialect, client):
    events = parse_sse(client.body)
    if dialect != "messages":
        return
    failed = bool(events) and events[-1][0] == "error"
    if failed:
        is_error("messages", events.pop()[1])
    try:
        assert_valid_stream(events, complete=client.end == "end" and not failed)
    except AssertionError as problem:
        if "tool input is not" not in str(problem):  # `unfixable: pass` of `tool-repair`
            raise


def end_of(client, said, well):
    """A category for the outcome of an exchange."""
    if client.status >= 400:
        return f"an error, {client.status}"
    if client.end == "cut":
        return "a cut"
    if any(mark in client.body for mark in FAILED):
        return "an error in a stream"
    if well in said:
        return "success after it was asked again"
    return "success as it came" if as_it_came(client, said) else "success"


class Trial:
    """One gateway, and its failures."""

    def __init__(self, running, upstream, log, findings, hours):
        self.running, self.upstream, self.log = running, upstream, log
        self.findings, self.hours = findings, hours

    async def answer(self, backend, name):
        """One reply by `backend` with the mistakes that `name` selects."""
        self.hours.now += 10_000
        chance = random.Random(name)
        dialect = chance.choice(["messages"] * 6 + ["chat", "responses"])
        stream = chance.random() < 0.6
        answer = mutated(APIS[backend], stream, chance)
        well = good(APIS[backend], stream)

        def other():
            return well if chance.random() < 0.3 else mutated(APIS[backend], stream, chance)

        self.upstream.begin(answer, other, chance)
        model = chance.choice([f"anthropic/{backend}/{name}", f"two-{backend}-{name}"])
        body = json.dumps(asked(dialect, model, stream, chance)).encode()
        client, problem, end = None, "", "none"
        try:
            async with asyncio.timeout(MOST_SECONDS):
                client = await ask(self.running, body, PATHS[dialect])
            end = end_of(client, self.upstream.said, well)
            checked(APIS[backend], dialect, stream, client, self.upstream.said)
            if client.status >= 500 and (b"a defect of the" in client.body or b"raised" in client.body):  # fmt: skip
                problem = "a defect"
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        if problem or self.log.found:
            self.findings.add(
                name=name, problem=problem, log=self.log.found, dialect=dialect, stream=stream,
                changes=[said.told for said in self.upstream.said], asked=body, upstream=[said.pieces for said in self.upstream.said],
                heads=[(said.status, said.lines, said.whole) for said in self.upstream.said],
                status=client and client.status, end=client and client.end, answered=client and client.body,
            )  # fmt: skip
            self.log.found = []
        wrong = {id(said) for said in self.upstream.said if said is not well}
        self.findings.ended(end, max(1, len(wrong)))


@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_upstream_reply_causes_an_internal_error(backend, monkeypatch):
    upstream, hours = Upstream(), Hours()
    findings = Findings(f"answers-{backend}", COUNT)
    answered_by(monkeypatch, upstream)
    with errors_logged() as log:
        async with gateway(hourly_stack(hours)) as running:
            trial = Trial(running, upstream, log, findings, hours)
            for number in range(COUNT):
                await trial.answer(backend, findings.name(number))
                if findings.done >= COUNT:
                    break
    findings.check()

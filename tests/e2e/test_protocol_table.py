"""Section 3 of the protocol notes replayed: the real Claude Code, once with an upstream that
misbehaves, once with the gateway in front of the same upstream. Through the gateway each row must
end equally well or better, with and without the client's fallback to complete responses.

E-02 is covered by its first steps (it takes three minutes), E-33 by `test_claude_code.py`. E-32 is
worse on purpose: an upstream's redirect is not followed.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

import anyio
import pytest

from plugway.testing import (
    Cut,
    ScriptedUpstream,
    Sleep,
    anthropic_error,
    anthropic_message,
    anthropic_stream,
    gateway,
    respond,
    sse,
)
from tests.e2e.claude import Claude
from tests.e2e.stack import shipped

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(180)]

WHOLE = "Whole text."
TEXT = anthropic_stream(["Par", "tial."])
"""0 message_start, 1 block start, 2 and 3 deltas, 4 block stop, 5 message_delta, 6 message_stop."""
THINKING = anthropic_stream("", thinking="Hm.")
SLACK_SECONDS = 2.0
"""Additional time through the gateway, on a machine that runs two clients at once."""
COMMENT = b": waiting\n\n"
PING = ("ping", {"type": "ping"})


def error(kind):
    return ("error", {"type": "error", "error": {"type": kind, "message": f"says {kind}"}})


def status(code, **headers):
    lines = {name.replace("_", "-"): str(value) for name, value in headers.items()}
    return anthropic_error(code, "api_error", f"says {code}", lines)


def tool(counter):
    """A call that leaves a mark each time it runs; event indexes as in `TEXT`, with three deltas."""
    call = ("Bash", {"command": f"echo once >> {counter}", "description": "count"})
    return anthropic_stream("", tool_calls=[call])


ROWS = {
    **{f"E-01 {code}": lambda _, c=code: [status(c)] for code in (408, 409, 429, 500, 502, 529)},
    "E-01 503 html": lambda _: [respond(503, b"<html>no</html>", {"content-type": "text/html"})],
    "E-01 504 text": lambda _: [respond(504, b"late", {"content-type": "text/plain"})],
    "E-02 three times": lambda _: [status(529)] * 3,
    "E-03": lambda _: [status(429, retry_after=3)],
    "E-04 429": lambda _: [status(429, retry_after=61)],
    "E-04 529": lambda _: [status(529, retry_after=120)],
    "E-05": lambda _: [status(429, retry_after=0)],
    "E-06 401": lambda _: [status(401, x_should_retry="false")] * 12,
    "E-06 500": lambda _: [status(500, x_should_retry="false")] * 12,
    **{f"E-08 {code}": lambda _, c=code: [status(c)] * 12 for code in (402, 403, 413, 499)},
    "E-09 once": lambda _: [status(404)],
    "E-09": lambda _: [status(404)] * 4,
    "E-10": lambda _: [anthropic_error(400, "invalid_request_error", "no such field")] * 8,
    "E-11": lambda _: (
        [
            anthropic_error(
                400, "invalid_request_error", "prompt is too long: 250000 tokens > 200000 maximum"
            )
        ]
        * 12
    ),
    "E-12": lambda _: [[Cut()]],
    "E-13 html": lambda _: [respond(200, b"<html></html>", {"content-type": "text/html"})],
    "E-13 json": lambda _: [respond(200, {"ok": True})],
    "E-13 empty": lambda _: [sse([])],
    "E-13 no event lines": lambda _: [sse([b'data: {"type":"message_start"}\n\n'])],
    "E-13 invalid json": lambda _: [sse([TEXT[0], b"event: content_block_start\ndata: {no\n\n"])],
    "E-13 delta alone": lambda _: [sse([TEXT[0], TEXT[2], *TEXT[4:]])],
    "E-13 lone stop": lambda _: [sse(TEXT[6:])],
    "E-14": lambda _: [[Sleep(5), *sse(anthropic_stream(WHOLE))]],
    "E-15": lambda _: [sse([*[COMMENT, PING] * 3, *anthropic_stream(WHOLE)], delay=0.5)],
    "E-16": lambda _: [sse([COMMENT, error("overloaded_error")])],
    **{
        f"E-17 {kind}": lambda _, k=kind: [sse([COMMENT, error(k)])]
        for kind in ("api_error", "rate_limit_error", "invalid_request_error")
    },
    "E-18": lambda _: [sse([COMMENT], end=Cut())],
    "E-19 error": lambda _: [sse([TEXT[0], error("overloaded_error")])],
    "E-19 cut": lambda _: [sse(TEXT[:1], end=Cut())],
    "E-19 clean": lambda _: [sse(TEXT[:1])],
    "E-20": lambda _: [sse([*TEXT[:3], error("api_error")])],
    "E-20 overloaded": lambda _: [sse([*TEXT[:3], error("overloaded_error")])],
    "E-21": lambda _: [sse(TEXT[:3], end=Cut())],
    "E-21 three times": lambda _: [sse(TEXT[:3], end=Cut())] * 3,
    "E-22": lambda _: [sse(TEXT[:3])],
    "E-23 error": lambda _: [sse([*TEXT[:5], error("api_error")])],
    "E-23 cut": lambda _: [sse(TEXT[:5], end=Cut())],
    "E-23 clean": lambda _: [sse(TEXT[:5])],
    "E-24 cut": lambda counter: [sse([*tool(counter)[:-2], Sleep(0.3)], end=Cut())],
    "E-24 error": lambda counter: [sse([*tool(counter)[:-2], error("api_error")])],
    "E-25 cut": lambda counter: [sse(tool(counter)[:4], end=Cut())],
    "E-25 error": lambda counter: [sse([*tool(counter)[:4], error("api_error")])],
    "E-26": lambda counter: [sse([*tool(counter)[:4], *tool(counter)[5:]])],
    "E-27": lambda counter: [sse(ended(tool(counter), "end_turn"))],
    "E-28 clean": lambda _: [sse(anthropic_stream(WHOLE)[:-1])],
    "E-28 cut": lambda _: [sse(anthropic_stream(WHOLE)[:-1], end=Cut())],
    "E-29 error": lambda _: [sse([*THINKING[:-2], error("api_error")])],
    "E-29 cut": lambda _: [sse(THINKING[:-2], end=Cut())],
    "E-30": lambda _: [sse(anthropic_stream(""))],
    "E-31 unknown event": lambda _: [sse([("news", {"type": "news"}), *anthropic_stream(WHOLE)])],
    "E-31 7-byte chunks": lambda _: [sse(anthropic_stream(WHOLE), chunk_sizes=[7])],
    "E-31 crlf": lambda _: [crlf(sse(anthropic_stream(WHOLE), chunked=False))],
    "E-31 1 MB": lambda _: [sse(anthropic_stream(["x" * 1_000_000, WHOLE]))],
    "E-31 odd reason": lambda _: [sse(ended(anthropic_stream(WHOLE), "tired"))],
    "E-31 double stop": lambda _: [sse([*anthropic_stream(WHOLE), TEXT[6]])],
}


def ended(events, reason):
    """The same events with another stop reason."""
    name, data = events[-2]
    return [
        *events[:-2],
        (name, {**data, "delta": {**data["delta"], "stop_reason": reason}}),
        events[-1],
    ]


def crlf(script):
    head, *pieces = script
    return [head, *(p.replace(b"\n", b"\r\n") if isinstance(p, bytes) else p for p in pieces)]


def is_question(request):
    return request.path.partition("?")[0] == "/v1/messages"


@dataclass
class Seen:
    """The outcome of one question."""

    answered: bool
    code: int
    told: str
    asked: list[bool]
    """For each request that reached the upstream: whether it asked for a stream."""
    ran: int
    """Number of times the tool ran."""
    seconds: float

    @property
    def whole(self):
        """Number of retries without a stream."""
        return self.asked.count(False)


async def question(folder, make, *, fallback, through, native=False):
    folder.mkdir()
    counter = folder / "count.txt"
    scripts = make(counter)

    def says(request):
        if not is_question(request):
            return respond(404) if "count_tokens" in request.path else respond(200, {"data": []})
        if scripts:
            return scripts.pop(0)
        stream = json.loads(request.body).get("stream")
        return sse(anthropic_stream(WHOLE)) if stream else respond(200, anthropic_message(WHOLE))

    async with ScriptedUpstream(otherwise=says) as upstream:
        if not through:
            return await _asked(folder, upstream, upstream.url, "token", counter, fallback)
        async with gateway(shipped(upstream.url, native=native)) as running:
            return await _asked(folder, upstream, running.url, running.token, counter, fallback)


async def _asked(folder, upstream, url, token, counter, fallback):
    claude = Claude(folder, url, token, "claude-sonnet-4-5")
    if not fallback:
        claude._env["CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"] = "1"
    began = time.monotonic()
    answer = await claude.run("-p", "hi", "--allowedTools", "Bash", seconds=150)
    seconds = time.monotonic() - began
    asked = [bool(r.json.get("stream")) for r in upstream.requests if is_question(r)]
    ran = counter.read_text().count("once") if counter.exists() else 0
    out = answer.out + answer.err
    return Seen(WHOLE in answer.out, answer.code, out, asked, ran, seconds)


IN_STREAM = [row for row in ROWS if "E-16" <= row < "E-30"]


async def both(folder, row, **how):
    """The outcomes directly and through the gateway."""
    seen: dict[bool, Seen] = {}

    async def ask(through):
        name = "gateway" if through else "direct"
        seen[through] = await question(folder / name, ROWS[row], through=through, **how)

    async with anyio.create_task_group() as group:
        group.start_soon(ask, True)
        group.start_soon(ask, False)
    print(f"\n{row}: direct {seen[False]}\n   gateway {seen[True]}")
    return seen[True], seen[False]


def equal_or_better(ours, direct):
    assert ours.answered >= direct.answered
    assert ours.ran <= 1, "a tool never runs twice"
    assert ours.whole <= direct.whole, "no more whole answers asked for again"
    if not ours.answered:
        assert len(ours.asked) <= len(direct.asked), "no more work for the upstream"
        assert ours.code != 0 or direct.code == 0, "a failure is no success"
    if ours.answered == direct.answered:
        assert ours.ran == direct.ran or ours.answered
        assert ours.seconds < direct.seconds + SLACK_SECONDS


@pytest.mark.parametrize("fallback", [True, False], ids=["with fallback", "without fallback"])
@pytest.mark.parametrize("row", list(ROWS))
async def test_through_the_gateway_it_ends_equal_or_better(row, fallback, tmp_path):
    equal_or_better(*await both(tmp_path, row, fallback=fallback))


@pytest.mark.parametrize("fallback", [True, False], ids=["with fallback", "without fallback"])
@pytest.mark.parametrize("row", IN_STREAM)
async def test_with_anthropic_itself_behind_it_too(row, fallback, tmp_path):
    equal_or_better(*await both(tmp_path, row, fallback=fallback, native=True))


async def test_e_07_a_refused_key_ends_at_once_and_names_its_place(tmp_path):
    """Without the gateway the client sends eleven requests in three minutes."""
    refused = lambda _: [status(401)] * 12  # noqa: E731
    seen = await question(tmp_path / "gateway", refused, fallback=True, through=True)
    assert "option `api_key` of `up0`" in seen.told
    assert (seen.answered, seen.asked) == (False, [True])
    assert seen.seconds < 15

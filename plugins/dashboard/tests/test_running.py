"""What runs is shown while it runs: what it waits for, and how much it has written."""

import io
import logging
import re
from contextlib import suppress
from types import SimpleNamespace

import anyio
import httpx2
import orjson
import pytest
from going import exchange, shown
from rich.console import Console

from plugway import Attempt, NoOptions, Plugin, Reply, Route, hookimpl
from plugway.testing import (
    Cut,
    Reset,
    ScriptedUpstream,
    WaitFor,
    anthropic_error,
    anthropic_stream,
    build_plugin,
    gateway,
    request_body,
    sse,
)
from plugway.types.exchange import AttemptRecord
from plugway_anthropic_compatible import AnthropicCompatible
from plugway_dashboard import Dashboard
from plugway_dashboard._commands import _show
from plugway_dashboard._follow import RunningLines
from plugway_dashboard._running import MOST_RUNNING, Book, Running
from plugway_dashboard._waits import log_waits
from plugway_dashboard._words import doing, running_data
from plugway_local_models import Progress

pytestmark = pytest.mark.anyio
HEADERS = {"x-claude-code-session-id": "5e55", "x-claude-code-agent-id": "a9e7"}


class Routes(Plugin[NoOptions]):
    """Tries `one`, then `two`."""

    @hookimpl
    def resolve_route(self):
        return Route((("one", "m"), ("two", "m")), "a test's route")


class Engine:
    """A backend that tells how far a request is."""

    name, zone = "local", "local"

    def __init__(self, found):
        self.found = found

    def progress_of(self, attempt):
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def at(found=None, *, short=False):
    """A running exchange at a backend that tells `found`."""
    running = Running(exchange(), short=short)
    running.begin(Attempt(Engine(found), "qwen3", exchange=running.exchange))
    return running


async def test_a_request_is_shown_waiting_then_writing_and_then_as_ended():
    first, rest = anyio.Event(), anyio.Event()
    events = anthropic_stream(["x" * 400, "done"])
    slow = sse([WaitFor(first), *events[:3], WaitFor(rest), *events[3:]])
    busy = anthropic_error(529, "overloaded_error", "Overloaded")
    async with ScriptedUpstream(otherwise=busy) as one, ScriptedUpstream(slow) as two:
        plugins = [
            build_plugin(Dashboard, "dashboard"),
            Routes(NoOptions(), name="routes"),
            build_plugin(AnthropicCompatible, "one", base_url=one.url),
            build_plugin(AnthropicCompatible, "two", base_url=two.url),
        ]
        async with gateway(plugins) as running, anyio.create_task_group() as group:
            running.client.headers.update(HEADERS)
            group.start_soon(lambda: running.stream("hello", model="asked"))
            (waits,) = await shown(running, lambda found: found and found[0]["attempts"] == 2)
            first.set()
            (writes,) = await shown(running, lambda found: found[0]["phase"] == "writing")
            rest.set()
            await shown(running, lambda found: not found)
        async with gateway(plugins) as running:
            (ended,) = (await running.client.get("/dashboard/exchanges")).json()["exchanges"]
    assert waits["state"].startswith("waiting for two/m (attempt 2: the first failed with 529 ")
    assert (waits["session_id"], waits["agent_id"], waits["caller"]) == ("5e55", "a9e7", "owner")
    assert 95 < writes["written"] < 110
    assert writes["state"] == f"writing: about {writes['written']} tokens"
    assert ended["request_id"] == waits["request_id"]
    assert ended["outcome"] == "completed"


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (None, "waiting for local/qwen3"),
        (Progress(), "waiting for local/qwen3"),
        (Progress(loading="qwen3.gguf"), "waiting for local/qwen3: loading the model qwen3.gguf"),
        (Progress(ahead=1), "queued behind 1 request at local/qwen3"),
        (Progress(ahead=3), "queued behind 3 requests at local/qwen3"),
        (Progress(read=12400, of=48000), "reading the prompt: 12,400 of 48,000 tokens"),
        (ValueError("a defect of a plugin"), "waiting for local/qwen3"),
    ],
)
def test_what_the_engine_knows_is_said_in_words(found, words):
    running = at(found)
    assert doing(running, running.since).words == words
    assert orjson.loads(orjson.dumps(running_data(running, running.since)))["state"] == words


def test_the_tokens_that_an_engine_counts_are_exact_and_have_a_rate():
    running = at(Progress(read=9, of=9, written=1230))
    running.answer(Reply(body=b"{}"), counted=True)
    assert doing(running, running.first + 30).words == "writing: 1,230 tokens, 41 tokens/s"
    running = at()
    running.answer(Reply(body=b"{}"), counted=False)
    assert doing(running, running.first + 30).words == "writing"


async def test_a_stream_is_the_same_whether_somebody_looks_or_not():
    events = anthropic_stream(["one", "two"], thinking="hm", tool_calls=[("Read", {"path": "a"})])
    async with ScriptedUpstream(otherwise=sse(events)) as upstream:
        backend = build_plugin(AnthropicCompatible, "one", base_url=upstream.url)
        dashboard = build_plugin(Dashboard, "dashboard")
        async with gateway([dashboard, backend]) as running:
            body = request_body(stream=True)
            unseen = await running.post(body)
            assert not dashboard.book.is_watched
            await shown(running, lambda found: not found)
            assert dashboard.book.is_watched
            seen = await running.post(body)
    assert seen.content == unseen.content


async def test_events_that_a_plugin_makes_are_counted_by_their_text():
    from plugway_echo import Echo

    class Slow(Plugin[NoOptions]):
        @hookimpl
        def transform_stream(self, stream):
            return held(stream)

    async def held(stream):
        async for item in stream:
            if item.type == "content_block_stop":
                await gate.wait()
            yield item

    gate = anyio.Event()
    plugins = [build_plugin(Dashboard, "dashboard"), Slow(NoOptions(), name="slow")]
    async with gateway([*plugins, build_plugin(Echo, "echo")]) as running:
        await shown(running, lambda found: not found)
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: running.stream("a" * 4000, model="echo/one"))
            (one,) = await shown(running, lambda found: found and (found[0]["written"] or 0) > 2)
            gate.set()
    assert one["zone"] == "local"


async def test_requests_that_are_only_counted_or_explained_do_not_run():
    from plugway_echo import Echo

    dashboard = build_plugin(Dashboard, "dashboard")
    async with gateway([dashboard, build_plugin(Echo, "echo")]) as running:
        for path in ("/v1/messages/count_tokens", "/v1/messages/explain"):
            await running.post(request_body(model="echo/one"), path)
        assert not dashboard.book.running
        refused = await running.post(request_body(model=""))
        assert refused.status_code >= 400
        assert not dashboard.book.running


async def test_a_limited_token_sees_what_it_runs_itself_and_nothing_else():
    gate = anyio.Event()
    slow = sse([WaitFor(gate), *anthropic_stream()])
    phone = [{"name": "phone", "token": "phone-token", "models": ["one/*"]}]
    async with ScriptedUpstream(otherwise=slow) as upstream:
        one = build_plugin(AnthropicCompatible, "one", base_url=upstream.url)
        stack = [build_plugin(Dashboard, "dashboard"), one]
        async with gateway(stack, tokens=phone) as running, anyio.create_task_group() as group:
            headers = {"authorization": "Bearer phone-token"}
            body = request_body(model="one/m", stream=True)
            post, get = running.client.post, running.client.get
            group.start_soon(lambda: running.stream("x", model="one/mine"))
            group.start_soon(lambda: post("/v1/messages", json=body, headers=headers))
            await shown(running, lambda found: len(found) == 2)
            theirs = (await get("/dashboard/exchanges", headers=headers)).json()
            gate.set()
    assert [item["model_asked"] for item in theirs["running"]] == ["one/m"]


async def test_a_reload_keeps_what_runs_and_what_ended():
    before = build_plugin(Dashboard, "dashboard", remember=3)
    going = exchange()
    before.book.begin(going, short=False)
    for _ in range(3):
        before.book.end(exchange(), {})
    *_, second, third = before.book.kept
    after = build_plugin(Dashboard, "dashboard", remember=2)
    old = SimpleNamespace(find=lambda _: [("dashboard", before)])
    async with after.lifespan(SimpleNamespace(predecessor=old, find=lambda _: [])):
        assert [*after.book.running] == [going.id]
        assert [*after.book.kept] == [second, third]
        before.book.end(going, {})  # ends at the instance at which it began
        assert not after.book.running
        assert after.book.kept[0] == third
        assert after.book.kept[1]["number"] > third["number"]
        assert not before._newest
    assert before._newest  # it goes on if the reload fails later


def test_so_many_are_shown_at_most():
    book = Book(1)
    for _ in range(MOST_RUNNING + 5):
        book.begin(exchange(), short=False)
    assert len(book.running) == MOST_RUNNING


def lines_after(running, *seconds):
    """The log's lines when it is looked at after so many seconds."""
    said = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())
    log = logging.getLogger("plugway.dashboard")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        for number in seconds:
            log_waits([running], running.exchange.started + number)
    finally:
        log.removeHandler(handler)
    return said


def test_the_log_says_what_a_request_waits_for():
    reads = Progress(read=12400, of=48000)
    said = lines_after(at(reads), 4.9, 5, 6, 29, 30, 31, 149, 150, 269, 270)
    assert said[0] == "waits 5 s for local/qwen3: reading the prompt: 12,400 of 48,000 tokens"
    assert [line.split()[1] for line in said] == ["5", "30", "150", "270"]
    assert lines_after(at(), 5) == ["waits 5 s for local/qwen3: no content yet"]
    assert lines_after(at(short=True), 5, 29, 31, 60) == [
        "waits 31 s for local/qwen3: no content yet"
    ]


def test_the_log_is_silent_about_what_has_content():
    running = at()
    running.answer(Reply(body=b"{}"), counted=False)
    assert lines_after(running, 5, 30, 150) == []


async def test_the_lines_can_be_switched_off():
    plugin = build_plugin(Dashboard, "dashboard", log_waits=False)
    before = len(asyncio_tasks())
    async with plugin.lifespan(SimpleNamespace(predecessor=None, find=lambda _: [])):
        assert len(asyncio_tasks()) == before


def asyncio_tasks():
    import asyncio

    return asyncio.all_tasks()


def one_running(**changes):
    running = at(Progress(read=1, of=2))
    return {**running_data(running, running.since), **changes}


def test_the_status_of_a_refusal_is_said_once():
    running = at()
    refused = "529 refused with status 529 (overloaded_error)"
    running.exchange.attempts.append(AttemptRecord("local/qwen3", refused, 0.1))
    words = "waiting for local/qwen3 (attempt 2: the first failed with 529 (overloaded_error))"
    assert doing(running, running.since).words == words


def test_the_tokens_of_a_line_include_those_that_were_stored_and_no_control_character():
    file = io.StringIO()
    usage = {"input": 3, "cache_read": 20, "cache_creation": 1100, "output": 5}
    one = {"outcome": "completed", "usage": usage, "cache": {"line": "from \x1b[2Jhere"}}
    receipt = [{"stage": "route", "plugin": "router", "what": "to \x1b]0;x\x07there"}]
    _show({**one, "receipt": receipt}, Console(file=file, width=200), receipts=True, cache=True)
    assert "  1,123 in (20 cached), 5 out  " in file.getvalue()
    assert not set("\x1b\x07") & set(file.getvalue())


def screen(written):
    """What a terminal shows after it got that text."""
    lines, at = [""], 0
    for part in re.split("(\r|\n|\x1b\\[2K|\x1b\\[1A)", written):
        match part:
            case "\n":
                at += 1
                lines[at:] = [""]
            case "\x1b[1A":
                at -= 1
            case "\x1b[2K":
                lines[at] = ""
            case "\r" | "":
                pass
            case _:
                assert not set("\x1b\x07") & set(part)
                lines[at] += part
    return [line for line in lines if line]


def test_a_terminal_gets_a_line_for_each_that_is_rewritten():
    file = io.StringIO()
    lines = RunningLines(Console(file=file, force_terminal=True, width=60, height=25))
    lines.show([one_running(seconds=n, model_asked=f"m{n}") for n in range(3)])
    shown = screen(file.getvalue())
    assert [line.split(":")[0] for line in shown] == [f"running   m{n}" for n in (2, 1, 0)]
    lines.show([one_running(seconds=n) for n in range(20)])
    shown = screen(file.getvalue())
    assert len(shown) == 8
    assert shown[-1].endswith("…  and 12 more")
    lines.show([one_running(model_asked="evil\x1b]0;x\x07\n" * 9)])
    (line,) = screen(file.getvalue())
    assert len(line) < 60
    lines.show([])
    assert screen(file.getvalue()) == []


def test_subagents_are_told_apart_in_a_narrow_terminal():
    file = io.StringIO()
    lines = RunningLines(Console(file=file, force_terminal=True, width=80, height=25))
    state = "waiting for anthropic/claude-opus-4-8 (attempt 2: the first failed with 529)"
    lines.show([one_running(agent_id=agent, state=state) for agent in ("alpha", "beta")])
    assert ["alpha" in line for line in screen(file.getvalue())] == [True, False]
    assert ["beta" in line for line in screen(file.getvalue())] == [False, True]


def test_a_terminal_with_three_rows_gets_one_line():
    file = io.StringIO()
    lines = RunningLines(Console(file=file, force_terminal=True, width=80, height=3))
    lines.show([one_running(seconds=n) for n in range(4)])
    (line,) = screen(file.getvalue())
    assert line.endswith("  and 3 more")


def test_a_pipe_gets_a_line_when_a_request_waits_for_long():
    file = io.StringIO()
    lines = RunningLines(Console(file=file, width=200))
    for seconds in (1.0, 4.9, 5.0, 6.0, 29.0, 31.0, 149.0, 150.0, 151.0):
        lines.show([one_running(request_id="r", seconds=seconds)])
    for seconds in (270.0, 500.0):
        lines.show([one_running(request_id="r", seconds=seconds, first_content_seconds=1)])
    said = file.getvalue().splitlines()
    assert [line.split("  ")[2] for line in said] == ["1 s", "5 s", "31 s", "150 s"]


def test_a_pipe_gets_a_line_for_each_change_of_state():
    file = io.StringIO()
    lines = RunningLines(Console(file=file, width=200))
    runs = {"phase": "tool", "state": "running the tool `read` for 0 s"}
    changes = [
        *({}, {"seconds": 3.0}, {"phase": "writing", "state": "writing"}, {}),
        {**runs, "tools": [{"name": "read", "seconds": 0.0}]},
        {**runs, "tools": [{"name": "read", "seconds": 1.0}]},
        {**runs, "state": "running the tool `find` for 0 s", "tools": [{"name": "find"}]},
    ]
    for change in changes:
        lines.show([one_running(request_id="r", **change)])
    said = file.getvalue().splitlines()
    assert [line.split("  ")[1].strip() for line in said] == [
        "test-model: reading the prompt: 1 of 2 tokens",
        "test-model: writing",
        "test-model: reading the prompt: 1 of 2 tokens",
        "test-model: running the tool `read` for 0 s",
        "test-model: running the tool `find` for 0 s",
    ]


def broken():
    """Streams that fail after their first content."""
    events = anthropic_stream(["one", "two"])
    failed = ("error", {"type": "error", "error": {"type": "overloaded_error", "message": "no"}})
    return {
        "cut": sse(events[:4], end=Cut()),
        "reset": sse(events[:4], end=Reset()),
        "an error event": sse([*events[:4], failed]),
        "no end": sse(events[:4]),
    }


@pytest.mark.parametrize("kind", broken())
async def test_a_stream_that_breaks_is_reported_the_same_whether_somebody_looks_or_not(kind):
    async with ScriptedUpstream(otherwise=broken()[kind]) as upstream:
        backend = build_plugin(AnthropicCompatible, "one", base_url=upstream.url)
        dashboard = build_plugin(Dashboard, "dashboard")
        async with gateway([dashboard, backend]) as running:
            for _ in range(2):
                with suppress(httpx2.HTTPError):
                    await running.post(request_body(stream=True))
                await shown(running, lambda found: not found)  # looks, for the second one
            answer = await running.client.get("/dashboard/exchanges")
    first, second = answer.json()["exchanges"]
    for name in ("outcome", "status", "error", "usage", "stop_reason", "receipt"):
        assert first[name] == second[name]
    assert first["error"]

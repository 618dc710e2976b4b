"""The tools about the machine, on the machine that runs the tests."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import threading

import psutil
import pytest
from pydantic import ValidationError

from plugway import Exchange, MessagesRequest
from plugway.testing import build_plugin
from plugway_system_tools import SystemTools, _machine, _processes
from plugway_tools import HoldsTools, ToolCall

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(60)]
READS = ["system_summary", "system_processes", "system_memory", "system_disks", "system_ports"]
PRIVATE = ["system_clipboard_read", "system_screenshot"]


def call_of(name, arguments=None, exchange=None, id="call_1"):
    exchange = exchange or Exchange(MessagesRequest(b"{}"))
    return ToolCall(id, name, arguments or {}, exchange)


def plugin(**options):
    return build_plugin(SystemTools, "system-tools", **options)


async def run(name, arguments=None, **options):
    return await plugin(**options).run_tool(call_of(name, arguments))


async def names(**options):
    return [spec.name for spec in await plugin(**options).tools()]


async def test_by_default_only_what_reads_and_is_not_private_is_on():
    assert isinstance(plugin(), HoldsTools)
    assert await names() == READS
    for name in (*PRIVATE, "system_notify", "system_clipboard_write", "no_such_tool", ""):
        result = await run(name)
        assert result.is_error
        assert "unknown or off" in result.text


async def test_effects_and_single_tools_are_switched_by_options():
    assert await names(allow=[]) == []
    assert await names(allow=["write"]) == ["system_clipboard_write"]
    assert await names(allow=["run"]) == ["system_notify"]
    assert await names(allow=[], tools={"system_screenshot": True}) == ["system_screenshot"]
    assert await names(tools=dict.fromkeys(READS[1:], False)) == READS[:1]
    with pytest.raises(ValidationError, match="system_disk"):
        plugin(tools={"system_disk": True})


async def test_each_tool_has_what_apis_and_retrieval_need():
    everything = dict.fromkeys([*READS, *PRIVATE, "system_notify", "system_clipboard_write"], True)
    specs = {spec.name: spec for spec in await plugin(tools=everything).tools()}
    assert specs.keys() == everything.keys()
    for spec in specs.values():
        assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", spec.name)
        assert spec.input_schema["type"] == "object"
        assert spec.input_schema["additionalProperties"] is False
        assert all("description" in field for field in spec.input_schema["properties"].values())
        assert spec.words
        assert len(spec.description) < 100
    effects = {name: spec.effect for name, spec in specs.items() if spec.effect != "read"}
    assert effects == {"system_clipboard_write": "write", "system_notify": "run"}
    assert [name for name, spec in specs.items() if spec.outside] == PRIVATE
    assert specs["system_clipboard_write"].input_schema["required"] == ["text"]


async def test_a_call_is_run_once():
    shared, exchange = plugin(), Exchange(MessagesRequest(b"{}"))
    first, again, other = [
        await shared.run_tool(call_of("system_memory", {}, exchange, id)) for id in ("a", "a", "b")
    ]
    assert not first.is_error
    assert again.is_error
    assert again.text == "this call was run already; its outcome is in the conversation"
    assert not other.is_error


async def test_command_lines_count_as_text_from_outside():
    specs = {spec.name: spec for spec in await plugin(command_lines=True).tools()}
    assert [name for name, spec in specs.items() if spec.outside] == ["system_processes"]


async def test_the_machine_is_described():
    memory, summary, disks = [
        (await run(f"system_{n}")).text for n in ("memory", "summary", "disks")
    ]
    total = _machine.size(psutil.virtual_memory().total)
    assert memory.startswith(f"Memory: {total}, ")
    assert "Swap: " in memory
    assert f"Processors: {psutil.cpu_count()}, load " in summary
    assert total in summary
    assert " free (" in disks


@pytest.mark.parametrize("sort", ["memory", "cpu", "name"])
async def test_processes_are_sorted_and_bounded(sort):
    result = await run("system_processes", {"sort": sort, "limit": 2})
    head, *lines = result.text.splitlines()
    assert re.fullmatch(r"2 of \d+ processes:", head)
    assert len(lines) == 2
    assert all("pid " in line and " user " in line for line in lines)
    assert all("of a processor" in line for line in lines) is (sort == "cpu")


@pytest.fixture
def child():
    """A process with a password in its arguments and a key in its environment."""
    arguments = [sys.executable, "-c", "input()", "--password=Hunter2", "plain"]
    variables = {**os.environ, "API_KEY": "Hunter3"}
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, env=variables) as process:
        yield process
        process.communicate(b"\n")


async def test_a_process_is_found_by_its_name_and_its_secrets_are_not_shown(child):
    asked = {"search": psutil.Process(child.pid).name().upper(), "limit": 100}
    bare = await run("system_processes", asked)
    lines = await run("system_processes", asked, command_lines=True)
    for text in (bare.text, lines.text):
        assert f"pid {child.pid}," in text
        assert "Hunter" not in text
    assert "plain" not in bare.text
    assert "input() --password=*** plain" in lines.text


async def test_a_search_without_a_match_says_so():
    text = (await run("system_processes", {"search": "no-such-process"})).text
    assert text.startswith("0 of 0 processes whose name contains 'no-such-process' (")


async def test_ports_have_their_process():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        every, one = await run("system_ports"), await run("system_ports", {"port": port})
    assert re.fullmatch(rf"{port}/tcp on 127\.0\.0\.1: .+ \(pid {os.getpid()}\)", one.text)
    assert one.text in every.text.splitlines()
    gone = await run("system_ports", {"port": port})
    assert gone.text == f"Nothing listens on port {port}"


async def test_a_system_that_hides_others_sockets_shows_the_users_own(monkeypatch):
    """As macOS does."""

    def refused(kind):
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", refused)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        text = (await run("system_ports", {"port": port})).text
    assert f"(pid {os.getpid()})" in text


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("system_processes", {"limit": 0}, "limit: Input should be greater"),
        ("system_processes", {"limit": 101}, "limit: Input should be less"),
        ("system_processes", {"sort": "size"}, "sort: Input should be 'memory', 'cpu' or 'name'"),
        ("system_processes", {"search": "x" * 101}, "search: String should have at most"),
        ("system_ports", {"port": 0}, "port: "),
        ("system_ports", {"port": "http"}, "port: "),
        ("system_memory", {"pid": 1}, "pid: Extra inputs are not permitted (known: none)"),
        ("system_clipboard_write", {}, "text: Field required (known: `text`)"),
        ("system_clipboard_write", {"text": ""}, "text: "),
        ("system_notify", {"title": "x" * 101}, "title: "),
    ],
)
async def test_wrong_arguments_are_a_result_that_names_them(name, arguments, reason):
    result = await run(name, arguments, allow=["read", "write", "run"])
    assert result.is_error
    assert reason in result.text


async def test_a_process_that_ends_while_it_is_listed_is_left_out(monkeypatch):
    def gone(self):
        raise psutil.NoSuchProcess(self.pid)

    monkeypatch.setattr(psutil.Process, "name", gone)
    assert (await run("system_processes")).text == "0 of 0 processes:"


async def test_names_cannot_forge_lines_or_escape(monkeypatch):
    monkeypatch.setattr(psutil.Process, "name", lambda _: "evil\nfake: pid 1\x1b[2J\u202e")
    lines = (await run("system_processes", {"limit": 1})).text.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("evil fake: pid 1\\x1b[2J\\u202e: pid ")


async def test_a_call_that_hangs_ends_in_its_time_and_blocks_nothing(monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr(_processes, "started", hung.wait)
    try:
        result = await run("system_processes", timeout_seconds=0.05)
    finally:
        hung.set()
    assert result.is_error
    assert result.text == "`system_processes` took longer than 0.05 s"


async def test_threads_that_hang_are_not_piled_up(monkeypatch):
    hung, started = threading.Event(), []

    def wait():
        started.append(1)
        hung.wait()

    monkeypatch.setattr(_processes, "started", wait)
    shared = plugin()
    try:
        for number in range(1, 9):
            calling = asyncio.ensure_future(shared.run_tool(call_of("system_processes")))
            while len(started) < number:
                await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        result = await shared.run_tool(call_of("system_processes"))
    finally:
        hung.set()
    assert result.is_error
    assert "earlier calls still wait" in result.text
    assert len(started) == 8


@pytest.mark.parametrize("error", [psutil.AccessDenied(1), OSError("broken"), RuntimeError("odd")])
async def test_what_the_system_refuses_is_a_result(monkeypatch, error):
    def refuse():
        raise error

    monkeypatch.setattr(psutil, "swap_memory", refuse)
    result = await run("system_memory")
    assert result.is_error
    assert result.text.startswith("`system_memory` failed: ")

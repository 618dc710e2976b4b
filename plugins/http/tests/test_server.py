import asyncio
import logging
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from contextlib import asynccontextmanager, suppress

import anyio
import pytest

from plugway_http.server import BindError, Server, StartFailed, Watchdog, bind, serving, watch_file

pytestmark = pytest.mark.anyio

ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Inside:
    """Answers `/`; streams elsewhere until it is told to end or is left."""

    def __init__(self):
        self.log = []
        self.streams = 0
        self.end = anyio.Event()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            for event in ("startup", "shutdown"):
                await receive()
                self.log.append(event)
                await send({"type": f"lifespan.{event}.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] != "/":
            await self.stream(receive, send)
        await send({"type": "http.response.body", "body": b"end"})

    async def stream(self, receive, send):
        self.streams += 1
        await receive()
        await send({"type": "http.response.body", "body": b"begin", "more_body": True})
        async with anyio.create_task_group() as tasks:

            async def watch():
                await receive()
                self.log.append("left")
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            await self.end.wait()
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def running(app, **options):
    server = Server(app, bind("127.0.0.1", 0), **options)
    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await server.started.wait()
            yield server
            server.stop()


async def until(stream, end):
    received = b""
    while end not in received:
        received += await stream.receive()
    return received


async def rest(stream):
    received = b""
    with suppress(anyio.BrokenResourceError):
        async for chunk in stream:
            received += chunk
    return received


async def open_streams(port, count):
    streams = []
    for _ in range(count):
        stream = await anyio.connect_tcp("127.0.0.1", port)
        await stream.send(ASK.replace(b"/ ", b"/stream "))
        await until(stream, b"begin")
        streams.append(stream)
    return streams


# ---- serving in a running loop


async def test_serving_answers_for_the_length_of_the_block():
    inside = Inside()
    async with (
        serving(inside) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await stream.send(ASK)
        answer = await until(stream, b"0\r\n\r\n")
        assert b"\r\ndate: " in answer
        assert b"\r\nserver: " not in answer
        assert inside.log == ["startup"]
    assert inside.log == ["startup", "shutdown"]
    with pytest.raises(OSError, match="connection"):
        await anyio.connect_tcp("127.0.0.1", port)


async def test_answers_on_a_kept_connection_do_not_wait():
    async with serving(Inside()) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        took = []
        for _ in range(8):
            began = time.perf_counter()
            await stream.send(ASK)
            await until(stream, b"0\r\n\r\n")
            took.append(time.perf_counter() - began)
    assert sorted(took)[4] < 0.02, took


async def test_a_loop_that_watches_no_socket_serves_by_its_own_server(monkeypatch):
    monkeypatch.setattr("plugway_http.server.accept._WITHOUT_READERS", asyncio.AbstractEventLoop)
    async with serving(Inside()) as port, await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(ASK)
        assert b"200 OK" in await until(stream, b"0\r\n\r\n")


async def test_an_error_in_the_block_is_not_wrapped():
    with pytest.raises(ZeroDivisionError):
        async with serving(Inside()):
            _ = 1 / 0


async def test_an_application_that_does_not_start_is_reported(caplog):
    async def broken(scope, receive, send):
        raise RuntimeError("no config")

    server = Server(broken, bind("127.0.0.1", 0))
    with pytest.raises(StartFailed):
        await server.serve()
    assert "no config" in caplog.text


async def test_a_cancelled_server_still_shuts_the_application_down():
    inside = Inside()
    server = Server(inside, bind("127.0.0.1", 0))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)
        await server.started.wait()
        tasks.cancel_scope.cancel()
    assert inside.log == ["startup", "shutdown"]
    with pytest.raises(OSError, match="connection attempts failed"):
        await anyio.connect_tcp("127.0.0.1", server.port)


# ---- draining


async def test_exchanges_in_flight_end_before_the_server_does():
    inside, drained = Inside(), []
    async with running(inside, on_draining=lambda: drained.append(True)) as server:
        streams = await open_streams(server.port, 50)
        server.stop()
        await anyio.sleep(0.05)
        assert drained == [True]
        with pytest.raises(OSError, match="connection"):
            await anyio.connect_tcp("127.0.0.1", server.port)
        inside.end.set()
        for stream in streams:
            assert (await rest(stream)).endswith(b"end\r\n0\r\n\r\n")
            await stream.aclose()
    assert inside.log == ["startup", "shutdown"]


async def test_exchanges_that_do_not_end_in_time_are_cut(caplog):
    inside = Inside()
    async with running(inside, drain_seconds=0.2) as server:
        streams = await open_streams(server.port, 50)
        start = anyio.current_time()
        server.stop()
        for stream in streams:
            assert b"0\r\n\r\n" not in await rest(stream)
            await stream.aclose()
        assert 0.1 < anyio.current_time() - start < 1.5
    assert inside.log == ["startup", *["left"] * 50, "shutdown"]
    assert "Traceback" not in caplog.text


async def test_a_second_stop_cuts_at_once():
    inside = Inside()
    async with running(inside, drain_seconds=60) as server:
        (stream,) = await open_streams(server.port, 1)
        start = anyio.current_time()
        server.stop()
        server.stop()
        await rest(stream)
        await stream.aclose()
        assert anyio.current_time() - start < 0.5
    assert inside.log == ["startup", "left", "shutdown"]


async def test_an_idle_server_stops_at_once_although_clients_keep_connections():
    start = anyio.current_time()
    async with running(Inside()) as server:
        stream = await anyio.connect_tcp("127.0.0.1", server.port)
        await stream.send(ASK)
        await until(stream, b"0\r\n\r\n")
        server.stop()
        assert await rest(stream) == b""
        await stream.aclose()
    assert anyio.current_time() - start < 5


async def test_requests_on_connections_that_wait_when_the_server_stops_are_served():
    """A proxy that has connected sends its request, and must not send it again to another server."""
    async with running(Inside()) as server:
        early = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(3)]
        await anyio.sleep(0.05)  # accepted, without a request
        waiting = [
            socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(60)
        ]
        for one in waiting:
            one.sendall(ASK)
        server.stop()  # before the loop could accept any of them
        await anyio.sleep(0.05)
        early[0].sendall(ASK)
        early[1].sendall(ASK[:10])
        await anyio.sleep(0.05)
        early[1].sendall(ASK[10:])
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=5)
        for number, one in enumerate((*early[:2], *waiting)):
            answer = await anyio.to_thread.run_sync(everything, one)
            assert number >= 2 or b"connection: close" in answer
            assert answer.startswith(b"HTTP/1.1 200")
            assert answer.endswith(b"0\r\n\r\n")
        assert await anyio.to_thread.run_sync(everything, early[2]) == b""


def everything(sock):
    """What arrives until the server closes the connection."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    sock.close()
    return b"".join(parts)


async def test_a_server_serves_new_requests_until_its_notice_is_over():
    noticed = []
    inside = Inside()
    async with running(inside, notice_seconds=60, on_draining=lambda: noticed.append(1)) as server:
        server.stop()
        await anyio.wait_all_tasks_blocked()
        assert noticed == [1]
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(ASK)
            assert (await until(stream, b"0\r\n\r\n")).startswith(b"HTTP/1.1 200")
        server.stop()  # which does not wait for the rest of the notice
    assert inside.log == ["startup", "shutdown"]


async def test_an_exchange_that_ignores_its_cut_does_not_keep_the_server():
    async def stubborn(scope, receive, send):
        if scope["type"] == "lifespan":
            return await Inside()(scope, receive, send)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begin", "more_body": True})
        await anyio.sleep_forever()

    async with running(stubborn, drain_seconds=0) as server:
        (stream,) = await open_streams(server.port, 1)
        start = anyio.current_time()
        server.stop()
        server.stop()
        await rest(stream)
        await stream.aclose()
    assert anyio.current_time() - start < 1.5


# ---- reloading


class Reloads:
    def __init__(self, failure=None):
        self.count = 0
        self.failure = failure
        self.called = anyio.Event()

    async def __call__(self):
        self.count += 1
        called, self.called = self.called, anyio.Event()
        called.set()
        if self.failure:
            raise self.failure


async def test_a_reload_that_fails_keeps_the_old_config_and_the_server(caplog):
    reloads = Reloads(ValueError("line 3 is wrong"))
    async with running(Inside(), on_reload=reloads) as server:
        for _ in range(2):
            called = reloads.called
            server.reload()
            await called.wait()
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(ASK)
            await until(stream, b"0\r\n\r\n")
    assert "kept the old config because line 3 is wrong" in caplog.text


async def test_exchanges_in_flight_outlive_reloads():
    inside, reloads = Inside(), Reloads()
    async with running(inside, on_reload=reloads) as server:
        (stream,) = await open_streams(server.port, 1)
        for _ in range(100):
            called = reloads.called
            server.reload()
            await called.wait()
        inside.end.set()
        assert (await until(stream, b"0\r\n\r\n")).startswith(b"3\r\nend")
        await stream.aclose()
    assert reloads.count == 100


@asynccontextmanager
async def watched(path):
    changes = []
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:

            async def watch():
                await watch_file(path, lambda: changes.append(1), every=0.02, settle=0.1)

            tasks.start_soon(watch)
            await anyio.sleep(0.05)
            yield changes
            tasks.cancel_scope.cancel()


async def test_a_changed_file_is_noticed_once_it_rests(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a")
    async with watched(path) as changes:
        for number in range(20):
            path.write_text("b" * number)
            await anyio.sleep(0.005)
        assert changes == []
        await anyio.sleep(0.3)
        assert changes == [1]


async def test_a_file_that_is_replaced_is_noticed(tmp_path):
    path, new = tmp_path / "config.yaml", tmp_path / "new"
    path.write_text("a")
    async with watched(path) as changes:
        path.unlink()
        await anyio.sleep(0.2)
        assert changes == []
        new.write_text("b")
        new.replace(path)
        await anyio.sleep(0.3)
        assert changes == [1]


async def test_a_file_that_is_only_touched_or_emptied_is_no_change(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("a")
    async with watched(path) as changes:
        path.touch()
        await anyio.sleep(0.2)
        path.write_text("")
        await anyio.sleep(0.2)
        path.write_text("a")
        await anyio.sleep(0.2)
    assert changes == []


# ---- binding


def test_a_host_that_is_none_is_explained():
    with pytest.raises(BindError, match="host 'no such host'"):
        bind("no such host", 0)


# ---- the blocked loop


async def test_a_blocked_loop_is_logged_with_the_stack(caplog):
    caplog.set_level(logging.WARNING, "plugway.watchdog")
    watchdog = Watchdog(asyncio.get_running_loop(), limit=0.1, pause=0.02)
    watchdog.start()
    await anyio.sleep(0.15)
    assert not caplog.records

    def blocks():
        held = threading.Event()
        held.wait(0.3)
        return weakref.ref(held)

    held = blocks()
    with anyio.move_on_after(5):  # its thread runs when there is time for it
        while held() is not None or len(caplog.records) < 2:
            await anyio.sleep(0.01)
    assert held() is None, "the watchdog keeps what the loop worked on"
    watchdog.stop()
    first, second = [record.getMessage() for record in caplog.records]
    assert "test_a_blocked_loop_is_logged_with_the_stack" in first
    assert second.startswith("the event loop was blocked for 0.")
    watchdog.join(5)


# ---- the process

PROGRAM = """
import logging, resource, sys, threading
from pathlib import Path
import anyio.to_thread
from plugway_http.server import run

logging.basicConfig(level="INFO", format="%(message)s")
print = __import__("functools").partial(print, flush=True)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return print("down")
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"begin", "more_body": True})
    if scope["path"] == "/hang":
        await anyio.to_thread.run_sync(threading.Event().wait, 60)
    while (await receive())["type"] != "http.disconnect":
        pass

async def reload():
    print("reload")

async def announce(port):
    print("port", port)
    print("core", resource.getrlimit(resource.RLIMIT_CORE))

status = run(
    app, host="127.0.0.1", port=int(sys.argv[1]), drain_seconds=float(sys.argv[2]),
    on_reload=reload, on_draining=lambda: print("draining"), announce=announce,
    watch=Path(sys.argv[3]),
)
print("exit", status)
sys.exit(status)
"""


@pytest.fixture
def start(tmp_path):
    """Starts the program; what is still running at the end is killed."""
    started = []
    config = tmp_path / "config.yaml"
    config.write_text("a")

    def begin(port=0, drain=30.0):
        arguments = [str(port), str(drain), str(config)]
        program = [sys.executable, "-c", textwrap.dedent(PROGRAM), *arguments]
        process = subprocess.Popen(program, stdout=-1, stderr=-1, text=True)
        started.append(process)
        process.config = config
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def port_of(process):
    return int(process.stdout.readline().split()[1])


def finish(process):
    """What the process still says until it ends."""
    output, errors = process.stdout.read(), process.stderr.read()
    process.wait(5)
    return output, errors


def open_stream(port, path=b"/"):
    sock = socket.create_connection(("127.0.0.1", port), timeout=5)
    sock.sendall(ASK.replace(b"/", path, 1))
    while b"begin" not in sock.recv(1000):
        pass
    return sock


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_process_exits_at_once(start, number):
    process = start()
    assert port_of(process) > 0
    began = time.monotonic()
    process.send_signal(number)
    output, errors = finish(process)
    assert time.monotonic() - began < 4
    assert process.returncode == 0
    assert output.splitlines() == ["core (0, 0)", "draining", "down", "exit 0"]
    assert "Traceback" not in errors


def test_a_process_cuts_open_streams_after_the_drain(start):
    process = start(drain=0.3)
    port = port_of(process)
    streams = [open_stream(port) for _ in range(50)]
    process.send_signal(signal.SIGTERM)
    for stream in streams:
        assert stream.recv(1000) == b""
        stream.close()
    output, errors = finish(process)
    assert (process.returncode, output.splitlines()[-1]) == (0, "exit 0")
    assert "Traceback" not in errors


def test_a_second_signal_ends_a_draining_process_at_once(start):
    process = start(drain=60)
    stream = open_stream(port_of(process))
    process.send_signal(signal.SIGTERM)
    while process.stdout.readline() != "draining\n":
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    finish(process)
    assert time.monotonic() - began < 4
    stream.close()


def test_a_thread_that_hangs_does_not_keep_the_process(start):
    process = start(drain=60)
    stream = open_stream(port_of(process), b"/hang")
    process.send_signal(signal.SIGTERM)
    while process.stdout.readline() != "draining\n":
        pass
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    finish(process)
    assert (process.returncode, time.monotonic() - began < 10) == (1, True)
    stream.close()


def test_a_hangup_and_a_changed_file_reload(start):
    process = start()
    port_of(process)
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    assert process.stdout.readline() == "reload\n"
    time.sleep(0.2)  # noqa: TID251 - until the file has been looked at once
    process.config.write_text("b")
    assert process.stdout.readline() == "reload\n"


def test_a_second_instance_exits_with_3_and_never_takes_another_port(start):
    first = start()
    port = port_of(first)
    second = start(port)
    output, errors = finish(second)
    assert (second.returncode, output) == (3, "exit 3\n")
    assert f"port {port} is in use by process {first.pid} ({sys.executable} " in errors

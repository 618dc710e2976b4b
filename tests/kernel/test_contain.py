"""Whatever a plugin raises, wherever: the gateway lives on and names the plugin and the place."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from contextlib import asynccontextmanager

import anyio
import httpx2
import orjson
import pytest
from starlette.routing import Route as HttpRoute

from plugway import (
    BackendRefused,
    Emitter,
    ModelInfo,
    NoOptions,
    Plugin,
    Reply,
    hookimpl,
)
from plugway.config.config import parse_config
from plugway.http.app import App
from plugway.http.snapshot import Snapshot
from plugway.plugins.contain import is_defect
from plugway.testing import gateway, request_body
from plugway.types.errors import PluginError

pytestmark = pytest.mark.anyio

CONFIG = parse_config("server: {token: t}\nplugins: []", "test")


class Odd(BaseException):
    """Of no family that anybody catches."""


RAISED = {
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "RecursionError": lambda: RecursionError("deep"),
    "MemoryError": MemoryError,
    "BaseExceptionGroup": lambda: BaseExceptionGroup("several", [SystemExit(1), Odd()]),
    "ExceptionGroup": lambda: ExceptionGroup("several", [ValueError("one")]),
    "StopAsyncIteration": StopAsyncIteration,
    "TimeoutError": lambda: TimeoutError("late"),
    "Odd": lambda: Odd("odd"),
    "ValueError": lambda: ValueError("plain"),
}
any_error = pytest.mark.parametrize("kind_of_error", RAISED)


@pytest.fixture
def error(kind_of_error):
    """One of them, made anew: it keeps the frames through which it went."""
    return RAISED[kind_of_error]()


def events():
    emitter = Emitter(model="test-model", message_id="msg_1")
    yield from emitter.start({"input_tokens": 5, "output_tokens": 0})
    yield from emitter.text("hello")
    yield from emitter.finish("end_turn", {"input_tokens": 5, "output_tokens": 2})


class Stream:
    """Events of a plugin, one of which is an exception."""

    def __init__(self, items, error=None, after=0, on_close=None):
        self._items = list(items)
        self._error = error
        self._after = after
        self._on_close = on_close
        self._at = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self._error is not None and self._at == self._after:
            raise self._error
        if self._at == len(self._items):
            raise StopAsyncIteration
        self._at += 1
        return self._items[self._at - 1]

    async def aclose(self):
        if self._on_close is not None:
            raise self._on_close


class Good(Plugin[NoOptions]):
    """A backend that answers."""

    zone = "local"
    fails = None

    @hookimpl
    def register_backends(self):
        return [self]

    async def send(self, request, attempt):
        if self.fails is not None:
            raise self.fails
        return Reply.streamed(Stream(events()))

    async def count(self, request, attempt):
        return 7

    async def models(self):
        return [ModelInfo("m")]


def good():
    return Good(NoOptions(), name="good")


def bad(**methods):
    """A plugin with these methods; those that are named after a hook implement it."""
    body = {name: hookimpl(function) for name, function in methods.items()}
    return type("Bad", (Plugin,), body)(NoOptions(), name="bad")


def raising(error):
    """A method that raises it, as a coroutine or at once."""

    async def method(self, *_):
        raise error

    return method


async def works(running):
    """The gateway answers afterwards as if nothing had been."""
    health = await running.client.get("/health")
    assert health.status_code == 200


REQUEST_HOOKS = {
    "transform_request": ["request", "exchange"],
    "answer": ["request", "exchange"],
    "resolve_route": ["request", "exchange"],
    "plan_attempts": ["attempts", "request", "exchange"],
    "prepare_attempt": ["request", "attempt", "exchange"],
    "around_attempt": ["send", "request", "attempt", "exchange"],
}


def implementation(hook, error, kind):
    """An implementation that raises: `async`, plain, or after it has waited."""
    arguments = ", ".join(["self", *ALL_HOOKS[hook]])
    waits = "await anyio.sleep(0)" if kind == "waiting" else "pass"
    keyword = "def" if kind == "plain" else "async def"
    space = {"anyio": anyio, "error": error}
    exec(f"{keyword} {hook}({arguments}):\n    {waits}\n    raise error", space)
    return space[hook]


ALL_HOOKS = {
    **REQUEST_HOOKS,
    "normalize_failure": ["failure", "attempt", "exchange"],
    "transform_response": ["reply", "exchange"],
    "finished": ["exchange", "outcome"],
    "list_models": ["models", "exchange"],
}


@pytest.mark.parametrize(
    ("kind_of_error", "kind"),
    [
        *((name, "waiting") for name in RAISED),
        *((name, kind) for name in list(RAISED)[:4] for kind in ("async", "plain")),
    ],
)
@pytest.mark.parametrize("hook", REQUEST_HOOKS)
async def test_what_a_request_hook_raises_is_told_by_name(hook, kind, error):
    plugin = bad(**{hook: implementation(hook, error, kind)})
    async with gateway([plugin, good()]) as running:
        answer = await running.post(request_body(stream=kind == "waiting"))
        assert answer.status_code == 500
        said = answer.json()["error"]["message"]
        assert f"plugin `bad`, hook `{hook}`: " in said
        assert type(error).__name__ in said or "did not come back" in said
        await works(running)


@any_error
@pytest.mark.parametrize("hook", sorted(ALL_HOOKS.keys() - REQUEST_HOOKS.keys()))
async def test_what_a_hook_raises_that_fails_open_is_logged_by_name(hook, error, caplog):
    backend = good()
    if hook == "normalize_failure":
        backend.fails = BackendRefused(404, b"{}")
    plugin = bad(**{hook: implementation(hook, error, "waiting")})
    async with gateway([plugin, backend]) as running:
        answer = await running.post(request_body())
        listed = await running.client.get("/v1/models")
        await works(running)
    assert answer.status_code == (404 if hook == "normalize_failure" else 200)
    assert listed.json()["data"]
    assert f"plugin `bad`, hook `{hook}`: " in caplog.text


@any_error
async def test_what_a_backend_raises_is_told_by_name(error, caplog):
    class Breaks(Good):
        send = count = models = raising(error)

    plugin = Breaks(NoOptions(), name="breaks")
    async with gateway([plugin]) as running:
        answer = await running.post(request_body())
        counted = await running.post(request_body(), "/v1/messages/count_tokens")
        assert (await running.client.get("/v1/models")).json()["data"] == []
        await works(running)
    if not isinstance(error, TimeoutError):  # of a backend it means that its server is late
        assert "plugin `breaks`, hook `send`: raised" in answer.json()["error"]["message"]
        assert "plugin `breaks`, hook `count`: raised" in counted.json()["error"]["message"]
    assert answer.status_code >= 500
    assert "`breaks`" in caplog.text


@any_error
@pytest.mark.parametrize("after", [0, 2, 4])
async def test_what_a_backends_stream_raises_is_told_by_name(after, error, caplog):
    class Breaks(Good):
        async def send(self, request, attempt):
            return Reply.streamed(Stream(events(), error, after))

    if isinstance(error, StopAsyncIteration):
        pytest.skip("it is the end of a stream")
    async with gateway([Breaks(NoOptions(), name="breaks")]) as running:
        answer = await running.post(request_body())
        assert answer.status_code >= 500
        with pytest.raises((httpx2.RemoteProtocolError, httpx2.HTTPStatusError)):
            await running.stream("hello")
        await works(running)
    if not (isinstance(error, TimeoutError) and after < 2):
        assert "plugin `breaks`, hook `send`: raised" in caplog.text


def layered(error=None, after=0, on_close=None, gives=None):
    """A plugin with a layer that passes events on, and fails."""

    def transform_stream(self, stream, exchange):
        class Passing(Stream):
            async def __anext__(self):
                if self._error is not None and self._at == self._after:
                    raise self._error
                self._at += 1
                item = await anext(stream)
                return item if gives is None else gives

        return Passing([], error, after, on_close)

    return bad(transform_stream=transform_stream)


@any_error
@pytest.mark.parametrize("after", [0, 3])
async def test_what_a_stream_layer_raises_cuts_the_stream_and_is_told_by_name(after, error, caplog):
    if isinstance(error, StopAsyncIteration):
        pytest.skip("it is the end of a stream")
    async with gateway([layered(error, after), good()]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("hello")
        answer = await running.post(request_body())
        assert answer.status_code == 500
        assert "plugin `bad`, hook `transform_stream`" in answer.json()["error"]["message"]
        await works(running)
    cut = [r for r in caplog.records if r.getMessage().startswith("stream cut")]
    assert "plugin `bad`, hook `transform_stream`: raised" in cut[0].getMessage()


@any_error
async def test_what_a_stream_layer_raises_when_it_is_closed_harms_nobody(error, caplog):
    async with gateway([layered(on_close=error), good()]) as running:
        told = await running.stream("hello")
        await works(running)
    assert told[-1][0] == "message_stop"
    assert "plugin `bad`, hook `transform_stream`: raised" in caplog.text


@any_error
async def test_what_transform_stream_itself_raises_leaves_the_layer_out(error, caplog):
    def transform_stream(self, stream, exchange):
        raise error

    async with gateway([bad(transform_stream=transform_stream), good()]) as running:
        told = await running.stream("hello")
    assert told[-1][0] == "message_stop"
    assert "plugin `bad`, hook `transform_stream`: raised" in caplog.text


@pytest.mark.parametrize("returned", ["text", [1], 7, object()], ids=lambda value: str(type(value)))
async def test_a_layer_that_is_none_is_left_out_and_named(returned, caplog):
    plugin = bad(transform_stream=lambda self, stream, exchange: returned)
    async with gateway([plugin, good()]) as running:
        told = await running.stream("hello")
    assert told[-1][0] == "message_stop"
    assert "plugin `bad`, hook `transform_stream`: returned" in caplog.text


async def test_a_layer_that_gives_what_is_no_event_is_named(caplog):
    async with gateway([layered(gives={"type": "ping"}), good()]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("hello")
    assert "plugin `bad`, hook `transform_stream`: gave dict" in caplog.text


@any_error
async def test_events_that_a_hook_made_are_named_after_it(error, caplog):
    async def around_attempt(self, send, request, attempt, exchange):
        await send(request, attempt)
        return Reply.streamed(Stream(events(), error, 3))

    if isinstance(error, StopAsyncIteration):
        pytest.skip("it is the end of a stream")
    async with gateway([bad(around_attempt=around_attempt), good()]) as running:
        with pytest.raises(httpx2.RemoteProtocolError):
            await running.stream("hello")
        await works(running)
    assert "plugin `bad`, hook `around_attempt`: raised" in caplog.text


@any_error
async def test_what_a_route_raises_is_told_by_name(error):
    async def page(request):
        raise error

    plugin = bad(register_routes=lambda self, gateway: [HttpRoute("/page", page)])
    async with gateway([plugin, good()]) as running:
        answer = await running.client.get("/page")
        assert answer.status_code == 500
        assert "plugin `bad`, hook `register_routes`: raised" in answer.json()["error"]["message"]
        await works(running)


@any_error
async def test_what_a_plugin_raises_at_start_refuses_the_start_by_name(error):
    @asynccontextmanager
    async def lifespan(self, gateway):
        raise error
        yield

    def at_load(self, *_):
        raise error

    for name in ("register_backends", "register_routes", "register_dialects"):
        takes = "self, gateway" if name == "register_routes" else "self"
        space = {"at_load": at_load}
        exec(f"def {name}({takes}): at_load(self)", space)
        with pytest.raises(PluginError, match=f"plugin `bad`: hook `{name}` raised"):
            Snapshot(CONFIG, [bad(**{name: space[name]}), good()])

    def at_once(self, gateway):
        raise error

    for hook in (lifespan, at_once):
        app = App(CONFIG, Snapshot(CONFIG, [bad(lifespan=hook), good()]))
        with pytest.raises(BaseExceptionGroup) as failed:
            async with app._lifespan(None):
                pass
        (found,) = failed.value.exceptions
        assert isinstance(found, PluginError)
        assert "plugin `bad`: hook `lifespan` " in str(found)


@any_error
@pytest.mark.parametrize("where", ["background", "stop"])
async def test_what_a_plugin_raises_beside_requests_is_named_and_closes_nothing(
    where, error, caplog
):
    go = anyio.Event()

    @asynccontextmanager
    async def lifespan(self, gateway):
        async def background():
            await go.wait()
            raise error

        if where == "stop":
            yield
            raise error
        async with anyio.create_task_group() as group:
            group.start_soon(background)
            yield

    if where == "background" and isinstance(error, SystemExit | KeyboardInterrupt):
        pytest.skip("asyncio raises it in its loop, too: see the test with a process")
    async with gateway([bad(lifespan=lifespan), good()]) as running:
        go.set()
        await anyio.wait_all_tasks_blocked()
        assert (await running.post(request_body())).status_code == 200
    if not isinstance(error, asyncio.CancelledError) or where == "stop":
        assert "plugin `bad`: what its `lifespan` holds open failed" in caplog.text


@any_error
async def test_what_a_function_raises_that_is_called_when_a_client_leaves_is_contained(error):
    waiting = anyio.Event()
    cancelled = anyio.Event()

    def fails(stop):
        raise error

    async def around_attempt(self, send, request, attempt, exchange):
        exchange.on_leave = fails
        waiting.set()
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with gateway([bad(around_attempt=around_attempt), good()]) as running:
        async with await anyio.connect_tcp("127.0.0.1", running.port) as client:
            body = orjson.dumps(request_body())
            await client.send(
                b"POST /v1/messages HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
                b"plugway-token: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (running.token.encode(), len(body), body)
            )
            await waiting.wait()
        with anyio.fail_after(5):
            await cancelled.wait()
        await works(running)


async def test_a_real_cancellation_is_no_defect():
    seen = []

    async def work():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(is_defect(error))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with anyio.move_on_after(0.01):
        await work()
    assert seen == [False, False]


def test_a_coroutine_that_is_thrown_away_may_end():
    seen = []

    async def work():
        try:
            await asyncio.Future()
        except GeneratorExit as error:
            seen.append(is_defect(error))
            raise

    loop = asyncio.new_event_loop()
    coroutine = work()

    async def start():
        coroutine.send(None)

    loop.run_until_complete(start())
    coroutine.close()
    loop.close()
    assert seen == [False]


PROGRAM = """
import asyncio, sys
from plugway import Plugin, NoOptions, hookimpl
from plugway.http.app import App
from plugway.config.config import parse_config
from plugway.http.server import run
from plugway.http.snapshot import Snapshot

async def ends(error):
    raise error

def ends_at_once(error):
    raise error

class Bad(Plugin[NoOptions]):
    @hookimpl
    async def finished(self, exchange, outcome):
        sys.exit(3)

    @hookimpl
    async def answer(self, request, exchange):
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(ends(SystemExit(4)))
        loop.call_soon(ends_at_once, KeyboardInterrupt())
        loop.call_soon(ends_at_once, SystemExit(5))
        await asyncio.sleep(0.05)
        sys.exit(6)

config = parse_config("server: {token: t}\\nplugins: []", "test")
app = App(config, Snapshot(config, [Bad(NoOptions(), name="bad")]))

async def announce(port):
    print("port", port, flush=True)

sys.exit(run(app, host="127.0.0.1", port=0, drain_seconds=1, announce=announce))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_outlives_every_exit_of_a_plugin_and_ends_by_a_signal(number):
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[1])
        for _ in range(3):
            answer = httpx2.post(
                f"http://127.0.0.1:{port}/v1/messages",
                json=request_body(),
                headers={"plugway-token": "t"},
                trust_env=False,
            )
            assert answer.status_code == 500
            assert "plugin `bad`, hook `answer`: raised SystemExit." in answer.text
        process.send_signal(number)
        _, errors = process.communicate(timeout=10)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 0, errors
    assert "a task in the background raised" in errors

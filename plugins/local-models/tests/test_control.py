"""`plugway models ps | load | unload | memory` reach every backend of a gateway that holds models."""

import asyncio
import json
import math
import shutil
import socket
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from typer.testing import CliRunner

from plugway import BackendUnavailable, RequestRejected
from plugway_local_models import Decision, LoadedModel, MemoryReport, control_socket
from plugway_local_models._commands import models_app
from plugway_local_models._control import ask_gateways, control_folder

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture(autouse=True)
def short_folder(monkeypatch):
    folder = Path(tempfile.mkdtemp())  # the path of a socket has at most about 100 bytes
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    yield
    shutil.rmtree(folder)


class Engine:
    def __init__(self, *names, aliases=()):
        self.names, self.held, self.aliases = names, [], dict(aliases)

    async def load(self, model):
        name = await self.name_of(model)
        if name not in self.names:
            raise RequestRejected(f"model: there is no `{model}`", status=404)
        self.held = [LoadedModel(name, size=3 << 20, idle_seconds=7.04)]

    async def unload(self, model):
        kept = [held for held in self.held if held.model != model]
        gone, self.held = len(self.held) > len(kept), kept
        return gone

    async def loaded(self):
        return self.held

    async def needs(self, model):
        return 0

    async def name_of(self, model):
        return self.aliases.get(model, model)


class Broken(Engine):
    async def loaded(self):
        raise BackendUnavailable("connection refused")


class Arbiter:
    def loading(self, backend, model, size, note):
        raise AssertionError

    async def obtainable(self, backend, model):
        return 0

    async def report(self):
        return MemoryReport(64 << 20, 5 << 20, 2 << 20, decisions=[Decision(4.2, "unloaded `a/m`")])


class Gateway:
    def __init__(self, **parts):
        self.parts = parts

    def find(self, kind):
        return [(name, one) for name, one in self.parts.items() if isinstance(one, kind)]


async def run(*words):
    done = await anyio.to_thread.run_sync(CliRunner().invoke, models_app, list(words))
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


async def test_all_owners_are_listed_together():
    first, second = Engine("m"), Engine("n")
    await first.load("m")
    await second.load("n")
    async with control_socket(Gateway(a=first, b=second)):
        code, out, _ = await run("ps", "--json")
    assert code == 0
    assert [(row["instance"], row["model"]) for row in json.loads(out)] == [("a", "m"), ("b", "n")]
    assert json.loads(out)[0]["needs_bytes"] == 3 << 20


async def test_a_model_is_loaded_where_it_is_known():
    first, second = Engine("m"), Engine("n", aliases={"default": "n"})
    async with control_socket(Gateway(a=first, b=second)):
        assert (await run("load", "n"))[2] == "b: n is ready"
        assert (await run("load", "b/default"))[2] == "b: n is ready"
        code, _, err = await run("load", "x")
        assert code == 1
        assert "a: model: there is no `x`" in err
        assert (await run("unload", "a/n"))[0] == 1
        assert (await run("unload", "default"))[0] == 0
    assert not first.held + second.held


async def test_a_backend_that_cannot_list_its_models_hides_no_other():
    engine = Engine("m")
    await engine.load("m")
    async with control_socket(Gateway(bad=Broken(), good=engine)):
        _, out, err = await run("ps")
    assert err == "bad: connection refused"
    assert "3 MiB" in out
    assert "None" not in out


async def test_the_decisions_of_the_plugin_that_makes_room_are_shown():
    async with control_socket(Gateway(a=Engine("m"), memory=Arbiter())):
        _, out, err = await run("ps")
        assert not err
        _, memory, _ = await run("memory", "--json")
    assert "memory: 64 MiB total, 5 MiB available, 2 MiB reserve" in out
    assert "4 s ago: unloaded `a/m`" in out
    assert json.loads(memory)[0]["decisions"][0]["what"] == "unloaded `a/m`"


async def test_without_that_plugin_it_is_said():
    async with control_socket(Gateway(a=Engine("m"))):
        code, _, err = await run("memory")
    assert code == 1
    assert "does not list the plugin `memory`" in err


async def test_a_gateway_has_one_socket_and_a_reload_has_its_own():
    old, new = Gateway(a=Engine("m")), Gateway(a=Engine("m"))
    async with control_socket(old):
        async with control_socket(old):
            assert len(list(control_folder().iterdir())) == 1
        assert len(await anyio.to_thread.run_sync(ask_gateways, {"do": "ps"})) == 1
        async with control_socket(new):
            assert len(list(control_folder().iterdir())) == 2
    assert not list(control_folder().iterdir())


@pytest.mark.parametrize("sent", [b"not json\n", b"[]\n", b'{"do": "fly"}\n', b"{}\n"])
async def test_what_is_not_a_command_gets_an_error(sent):
    async with control_socket(Gateway(a=Engine("m"))):
        (path,) = control_folder().iterdir()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(sent)
        assert "error" in json.loads(await reader.readline())
        writer.close()


# What backends and sockets can do wrong


class Odd(Engine):
    """Raises whatever its code raises."""

    async def load(self, model):
        raise RuntimeError(model)

    async def unload(self, model):
        raise KeyError(model)

    async def loaded(self):
        raise ZeroDivisionError


async def test_a_backend_with_a_defect_hides_no_other_and_leaves_no_command_without_answer():
    engine = Engine("m")
    async with control_socket(Gateway(odd=Odd(), good=engine)):
        assert (await run("load", "m"))[2] == "good: m is ready"
        _, out, err = await run("ps")
        assert "3 MiB" in out
        assert "ZeroDivisionError" in err
        assert (await run("unload", "m"))[0] == 0
        assert not engine.held
        code, _, err = await run("unload", "m")
        assert code == 1
        assert "KeyError" in err, "whether that one has it is not known"


async def test_a_server_that_is_not_running_keeps_no_model_of_another_in_memory():
    class Down(Engine):
        async def name_of(self, model):
            raise BackendUnavailable("connection refused")

    engine = Engine("m")
    await engine.load("m")
    async with control_socket(Gateway(down=Down(), good=engine)):
        assert (await run("unload", "m"))[0] == 0
        assert not engine.held
        assert (await run("load", "m"))[2] == "good: m is ready"


@pytest.mark.parametrize(
    "odd",
    [
        LoadedModel("m", size=1 << 70),
        LoadedModel("m", size=-1),
        LoadedModel("m", size=math.nan, idle_seconds=math.inf),
        LoadedModel("\udcff.gguf"),
        LoadedModel("a/b\x1b[2J[bold]\n", state="\x07"),
        LoadedModel(True, size=True, requests=-3),
    ],
)
async def test_whatever_a_backend_lists_is_shown(odd):
    engine = Engine()
    engine.held = [odd]
    async with control_socket(Gateway(a=engine)):
        code, out, _ = await run("ps")
        assert (code, "\x1b" in out) == (0, False)
        code, out, _ = await run("ps", "--json")
        assert (code, len(json.loads(out))) == (0, 1)


async def test_ten_thousand_models_are_listed():
    engine = Engine()
    engine.held = [LoadedModel(f"m{number}") for number in range(10_000)]
    async with control_socket(Gateway(a=engine)):
        assert len(json.loads((await run("ps", "--json"))[1])) == 10_000


@contextmanager
def answering(data):
    """A socket in the folder of gateways that answers every command with `data`, if any."""
    folder = control_folder()
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "1-a.sock"))
        listening.listen()

        def serve():
            line, _ = listening.accept()
            with line:
                line.recv(1_000)
                line.sendall(data)
                if not data:
                    line.recv(1)  # until the other end leaves

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join(5)


@pytest.mark.parametrize(
    "data",
    [b"\n", b"garbage", b"[]", b"null", b"7", b'{"models": [{}]}', b'{"models": [3]}', b"\xff\xfe"],
)
async def test_what_is_not_an_answer_is_reported_with_its_place(data):
    with answering(data):
        code, _, err = await run("ps")
    assert code == 1
    assert "1-a.sock sent an invalid answer" in err


async def test_one_of_two_gateways_that_answers_nonsense_hides_not_the_other():
    engine = Engine("m")
    await engine.load("m")
    async with control_socket(Gateway(a=engine)):
        with answering(b"garbage"):
            code, out, err = await run("ps")
    assert code == 0
    assert "3 MiB" in out
    assert "1-a.sock sent an invalid answer" in err


async def test_a_deeply_nested_answer_is_none():
    with answering(b"[" * 200_000):
        assert "invalid answer" in (await run("ps"))[2]


def test_a_gateway_that_hangs_is_reported_after_the_time():
    with answering(b""):
        (answer,) = ask_gateways({"do": "ps"}, 0.01)
    assert "did not answer within 0.01 s" in answer["error"]


def test_only_the_socket_of_a_dead_gateway_is_removed():
    folder = control_folder()
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(folder / "1-dead.sock"))
    (folder / "2-file.sock").write_text("somebody's")
    (folder / "3-folder.sock").mkdir()
    assert ask_gateways({"do": "ps"}) == []
    assert {path.name for path in folder.iterdir()} == {"2-file.sock", "3-folder.sock"}

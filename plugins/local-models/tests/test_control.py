"""`plugway models ps | load | unload | memory` reach every backend of a gateway that holds models."""

import asyncio
import json
import shutil
import tempfile
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
